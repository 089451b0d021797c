"""Migrations are frozen from the release that they came with, because databases remember their checksums."""

import re
import shutil
from pathlib import Path

import pytest
from tests.structure.frozen import FOLDER, UNRELEASED, faults, listed, refresh

CHANGELOG = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
RELEASES = dict(re.findall(r"^## \[(.+)\] - (\S+)$", CHANGELOG, re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations as they are, released in 0.1.0, and one newer."""
    shutil.copytree(FOLDER, tmp_path / "migrations")
    refresh(tmp_path / "migrations", "0.1.0")
    (tmp_path / "migrations" / "9000_newer.sql").write_text("SELECT 1;\n")
    refresh(tmp_path / "migrations")
    assert faults(tmp_path / "migrations") == []
    return tmp_path / "migrations"


def test_no_released_migration_has_changed_and_the_others_are_listed() -> None:
    assert faults(FOLDER) == []


def test_a_migration_is_frozen_by_a_release_that_the_changelog_dates() -> None:
    frozen_by = {line.release for line in listed(FOLDER)} - {UNRELEASED}

    assert frozen_by <= {release for release, date in RELEASES.items() if date != UNRELEASED}


def test_when_everything_is_released_every_migration_is_frozen() -> None:
    pending = [line.name for line in listed(FOLDER) if line.release == UNRELEASED]

    assert pending == [] or UNRELEASED in RELEASES.values(), "run `make migrations RELEASE=...`"


def test_a_released_migration_that_changed_is_found_and_no_refresh_hides_it(folder: Path) -> None:
    file = folder / "0001_foundation.sql"
    file.write_text(file.read_text() + "-- One more word.\n")

    refresh(folder)

    assert faults(folder) == [
        "0001_foundation was released in 0.1.0 and has changed: put it back, and add a migration."
    ]


def test_a_released_migration_that_was_removed_is_found(folder: Path) -> None:
    (folder / "0002_deliveries.sql").unlink()

    refresh(folder)

    assert "0002_deliveries was released in 0.1.0 and is no longer at place 2: put it back." in faults(folder)


def test_released_migrations_that_changed_places_are_found(folder: Path) -> None:
    (folder / "0001_foundation.sql").rename(folder / "0009_foundation.sql")

    refresh(folder)

    assert "0001_foundation was released in 0.1.0 and is no longer at place 1: put it back." in faults(folder)


def test_a_migration_before_a_released_one_is_found(folder: Path) -> None:
    (folder / "0000_earlier.sql").write_text("SELECT 1;\n")

    refresh(folder)

    assert "0001_foundation was released in 0.1.0 and is no longer at place 1: put it back." in faults(folder)


def test_an_unreleased_migration_may_change_and_is_then_refreshed(folder: Path) -> None:
    (folder / "9000_newer.sql").write_text("SELECT 2;\n")
    assert faults(folder) == ["checksums.txt is not up to date: run `make migrations`."]

    refresh(folder)

    assert faults(folder) == []
