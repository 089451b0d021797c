"""Connected organisations: which organisations a request reads or changes, from its scope headers.

A parent reaches its children, a child reaches its parent by reading under ALL only, and nobody reaches a stranger
(decisions 1, 3, 32). Pure: the hierarchy comes in. The table in prose: docs/decisions.md, rules 3 and 32.
"""

from collections.abc import Mapping
from typing import Final

from kosminar.core.access import Hierarchy
from kosminar.core.errors import Code, Complaint, invalid

SCOPE: Final = "data-scope"
# Three names of one thing; endpoint pages, scope page and oldest samples each use another.
ORGANISATIONS: Final = ("data-scope-org", "data-scope-orgs", "connected-orgs")
SELF, OTHER, ALL = "SELF", "OTHER", "ALL"

# Of children that one call may read.
CHILDREN_MAX = 2

NOT_CONNECTED: Final = Complaint.of(Code.ORGANISATIONS_NOT_CONNECTED)


def is_own(headers: Mapping[str, str]) -> bool:
    """Whether the headers ask for the caller's own organisation, for which no hierarchy need be known."""
    return _scope(headers) == SELF


def resolve(
    headers: Mapping[str, str], hierarchy: Hierarchy, *, reading: bool, plural: bool
) -> tuple[int, ...] | Complaint:
    """The organisations that are meant, or what is wrong with the headers (names in lower case).

    An operation that is not plural answers for one organisation at a time, even where it reads.

    >>> acme = Hierarchy(organisation_id=1, child_ids=(2, 3))
    >>> resolve({"data-scope": "OTHER", "data-scope-org": "3"}, acme, reading=False, plural=False)
    (3,)
    >>> resolve({"data-scope": "ALL"}, acme, reading=True, plural=True)
    (1, 2, 3)
    """
    scope = _scope(headers)
    if scope == SELF:
        return (hierarchy.organisation_id,)
    if scope == ALL:
        return _all(hierarchy) if plural else Complaint.of(Code.ALL_SCOPE_UNSUPPORTED)
    if scope != OTHER:
        return invalid("DATA-SCOPE", f"must be one of {SELF}, {OTHER}, {ALL}")
    named = _named(headers)
    if not named or not set(named) <= set(_others(hierarchy, reading=reading)):
        return NOT_CONNECTED
    return named if len(named) <= (CHILDREN_MAX if plural else 1) else NOT_CONNECTED


def _scope(headers: Mapping[str, str]) -> str:
    return headers.get(SCOPE, SELF).strip().upper()


def _all(hierarchy: Hierarchy) -> tuple[int, ...] | Complaint:
    if len(hierarchy.child_ids) > CHILDREN_MAX:
        return NOT_CONNECTED
    parent = () if hierarchy.parent_id is None else (hierarchy.parent_id,)
    return (hierarchy.organisation_id, *hierarchy.child_ids, *parent)


def _others(hierarchy: Hierarchy, *, reading: bool) -> tuple[int, ...]:
    """Whom OTHER may name: a parent its children; a child itself, and that only where it reads."""
    if hierarchy.parent_id is not None:
        return (hierarchy.organisation_id,) if reading else ()
    return hierarchy.child_ids


def _named(headers: Mapping[str, str]) -> tuple[int, ...]:
    """The ids given, each once; none if the headers disagree or one is no id."""
    given = [_ids(headers[name]) for name in ORGANISATIONS if name in headers]
    return given[0] if given and all(set(one) == set(given[0]) for one in given) else ()


def _ids(text: str) -> tuple[int, ...]:
    items = [item.strip() for item in text.split(",")]
    if not all(item.isascii() and item.isdecimal() and len(item) <= len(str(2**63)) for item in items):
        return ()
    return tuple(dict.fromkeys(int(item) for item in items))
