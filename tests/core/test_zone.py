"""Names of zones: what IANA lists, and none of the files beside."""

import pytest

from kosminar.core.zone import zone_named


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC", "Europe/Paris", "Australia/Lord_Howe", "America/Argentina/Ushuaia"])
def test_an_iana_name_is_a_zone(name: str) -> None:
    assert zone_named(name).key == name


NO_ZONES = """
America europe/paris Mars/Base +05:30 ../etc/passwd /etc/localtime localtime Factory posixrules right/UTC posix/UTC
tzdata.zi
"""


@pytest.mark.parametrize("name", ["", " ", "Europe/Paris ", "x" * 10_000, *NO_ZONES.split()])
def test_anything_else_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone_named(name)
