"""Connected organisations: acme is the parent of north and south, solo is nobody's, globex has three children."""

import pytest

from kosminar.api.scope import is_own, resolve
from kosminar.core.access import Hierarchy
from kosminar.core.errors import Code, Complaint

ACME, NORTH, SOUTH, SOLO, GLOBEX = 1, 2, 3, 4, 5
STRANGER = 6

ORGANISATIONS = {
    ACME: Hierarchy(organisation_id=ACME, child_ids=(NORTH, SOUTH)),
    NORTH: Hierarchy(organisation_id=NORTH, parent_id=ACME),
    SOLO: Hierarchy(organisation_id=SOLO),
    GLOBEX: Hierarchy(organisation_id=GLOBEX, child_ids=(7, 8, 9)),
}
NOT_CONNECTED, ALL_REFUSED, UNKNOWN = (
    Code.ORGANISATIONS_NOT_CONNECTED,
    Code.ALL_SCOPE_UNSUPPORTED,
    Code.INVALID_INPUT,
)


def answer(caller: int, scope: str | None, *named: str, reading: bool, plural: bool) -> tuple[int, ...] | Code:
    headers = {} if scope is None else {"data-scope": scope}
    headers |= dict(zip(("data-scope-org", "data-scope-orgs", "connected-orgs"), named, strict=False))
    found = resolve(headers, ORGANISATIONS[caller], reading=reading, plural=plural)
    return found.code if isinstance(found, Complaint) else found


def posted(caller: int, scope: str | None, *named: str) -> tuple[int, ...] | Code:
    return answer(caller, scope, *named, reading=False, plural=False)


def read(caller: int, scope: str | None, *named: str) -> tuple[int, ...] | Code:
    return answer(caller, scope, *named, reading=True, plural=True)


@pytest.mark.parametrize("caller", ORGANISATIONS)
@pytest.mark.parametrize("scope", [None, "SELF", "self", " Self "])
def test_self_is_the_caller_and_reads_no_ids(caller: int, scope: str | None) -> None:
    assert posted(caller, scope, "nonsense", "4711") == read(caller, scope, "nonsense") == (caller,)


@pytest.mark.parametrize("scope", ["NONE", "", "SELF,OTHER", "SELFISH", "0", "*"])
def test_an_unknown_scope_is_invalid_input(scope: str) -> None:
    assert posted(ACME, scope, str(NORTH)) == read(ACME, scope, str(NORTH)) == UNKNOWN


def test_other_posts_to_the_one_child_named() -> None:
    assert posted(ACME, "OTHER", str(NORTH)) == (NORTH,)
    assert posted(ACME, "other", f" {SOUTH} ") == (SOUTH,)
    assert posted(ACME, "OTHER", f"{SOUTH},{SOUTH}") == (SOUTH,)
    assert posted(ACME, "OTHER", f"{NORTH},{SOUTH}") == NOT_CONNECTED


@pytest.mark.parametrize("named", ["", ",", "x", "2.0", "+2", "-2", "2,", "²", "٢", "2 3", "9" * 30, "2,x", "2;3"])
def test_other_without_an_id_or_with_something_else_is_not_connected(named: str) -> None:
    assert posted(ACME, "OTHER", named) == read(ACME, "OTHER", named) == NOT_CONNECTED


def test_other_without_any_header_of_ids_is_not_connected() -> None:
    assert posted(ACME, "OTHER") == read(ACME, "OTHER") == NOT_CONNECTED


@pytest.mark.parametrize("named", [ACME, STRANGER, GLOBEX, 4711])
def test_a_parent_reaches_its_children_only(named: int) -> None:
    assert posted(ACME, "OTHER", str(named)) == read(ACME, "OTHER", str(named)) == NOT_CONNECTED
    assert read(ACME, "OTHER", f"{NORTH},{named}") == NOT_CONNECTED


def test_a_parent_reads_two_children_and_not_three() -> None:
    assert read(ACME, "OTHER", f"{SOUTH}, {NORTH}") == (SOUTH, NORTH)
    assert read(GLOBEX, "OTHER", "7,8") == (7, 8)
    assert read(GLOBEX, "OTHER", "7,8,9") == NOT_CONNECTED


def test_a_child_reads_itself_under_other_and_posts_nowhere() -> None:
    assert read(NORTH, "OTHER", str(NORTH)) == (NORTH,)
    assert posted(NORTH, "OTHER", str(NORTH)) == NOT_CONNECTED


@pytest.mark.parametrize("named", [ACME, SOUTH, STRANGER])
def test_a_child_reaches_neither_parent_nor_sibling_by_name(named: int) -> None:
    assert read(NORTH, "OTHER", str(named)) == posted(NORTH, "OTHER", str(named)) == NOT_CONNECTED


def test_who_is_connected_to_nobody_reaches_nobody() -> None:
    assert read(SOLO, "OTHER", str(SOLO)) == posted(SOLO, "OTHER", str(SOLO)) == NOT_CONNECTED
    assert read(SOLO, "ALL") == (SOLO,)


def test_all_reads_the_family_of_up_to_two_children() -> None:
    assert read(ACME, "ALL") == (ACME, NORTH, SOUTH)
    assert read(NORTH, "all") == (NORTH, ACME)
    assert read(GLOBEX, "ALL") == NOT_CONNECTED


@pytest.mark.parametrize("caller", ORGANISATIONS)
def test_all_posts_nowhere(caller: int) -> None:
    assert posted(caller, "ALL") == ALL_REFUSED


def test_the_message_about_all_is_the_published_one() -> None:
    found = resolve({"data-scope": "ALL"}, ORGANISATIONS[ACME], reading=False, plural=False)

    assert found == Complaint(ALL_REFUSED, "Datascope 'ALL' is not supported for this 'API'")


def test_what_reads_one_organisation_takes_one() -> None:
    assert answer(ACME, "ALL", reading=True, plural=False) == ALL_REFUSED
    assert answer(ACME, "OTHER", f"{NORTH},{SOUTH}", reading=True, plural=False) == NOT_CONNECTED
    assert answer(ACME, "OTHER", str(NORTH), reading=True, plural=False) == (NORTH,)
    assert answer(NORTH, "OTHER", str(NORTH), reading=True, plural=False) == (NORTH,)


@pytest.mark.parametrize("name", ["data-scope-org", "data-scope-orgs", "connected-orgs"])
def test_three_header_names_mean_the_same(name: str) -> None:
    headers = {"data-scope": "OTHER", name: str(NORTH)}

    assert resolve(headers, ORGANISATIONS[ACME], reading=False, plural=False) == (NORTH,)


def test_two_headers_must_agree() -> None:
    assert read(ACME, "OTHER", f"{NORTH},{SOUTH}", f"{SOUTH},{NORTH}") == (NORTH, SOUTH)
    assert posted(ACME, "OTHER", str(NORTH), f"{NORTH},{NORTH}") == (NORTH,)
    assert posted(ACME, "OTHER", str(NORTH), str(SOUTH)) == NOT_CONNECTED
    assert posted(ACME, "OTHER", str(NORTH), str(NORTH), "x") == NOT_CONNECTED
    assert posted(ACME, "OTHER", str(NORTH), "") == NOT_CONNECTED


def test_only_self_needs_no_hierarchy() -> None:
    assert is_own({})
    assert is_own({"data-scope": "sElF"})
    assert not is_own({"data-scope": "ALL"})
    assert not is_own({"data-scope": ""})
