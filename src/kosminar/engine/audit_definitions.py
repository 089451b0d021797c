"""What the audit finds in definitions: damaged documents, and names, due instants and ids that contradict them.

Rows of customers name targets, periods, levels and rewards by ids that only documents have; that these exist is looked
after by the recount (engine/recount.py). Here are the documents themselves, and the tables that are written with them:
names, so that no two are alike, and due instants, by which the closer finds what falls due.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from kosminar.core.definition import name_key
from kosminar.engine.difference import Difference
from kosminar.store import programmes
from kosminar.store.programmes import StoredVersion
from kosminar.store.queries import Connection

GivenIds: TypeAlias = dict[int, tuple[int, int]]
"""Of each id of a group, target, level or reward: the organisation and the group that it was found in first."""


async def differences(connection: Connection, organisation_id: int, given: GivenIds) -> list[Difference]:
    """Of one organisation, in the snapshot of the connection; `given` is carried from one organisation to the next."""
    newest = (await programmes.fetch_edition(connection, organisation_id)).version
    versions = await programmes.list_versions(connection, organisation_id)
    groups: dict[int, list[StoredVersion]] = {}
    for version in versions:
        groups.setdefault(version.target_group_id, []).append(version)
    current = [of_group[-1] for of_group in groups.values()]
    telling = _Telling(organisation_id)
    return [
        *(each for of_group in groups.values() for each in _of_versions(telling, of_group, newest)),
        *_of_ids(telling, current, given),
        *_of_names(telling, current, await programmes.list_names(connection, organisation_id)),
        *_of_due_instants(telling, current, set(await programmes.list_due_instants(connection, organisation_id))),
    ]


class _Telling:
    """Makes differences of one organisation."""

    def __init__(self, organisation_id: int) -> None:
        self.organisation_id = organisation_id

    def of(self, what: str, expected: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> Difference:
        return Difference(self.organisation_id, None, None, None, what, expected, found)


def _of_versions(telling: _Telling, of_group: Sequence[StoredVersion], newest: int) -> Iterator[Difference]:
    for stored in of_group:
        what = f"definition of target group {stored.target_group_id}, version {stored.version}"
        if stored.document is None:
            yield telling.of(what, {"fault": "none"}, {"fault": stored.fault})
        if stored.version > newest:
            yield telling.of(what, None, {"version": f"{stored.version}, above the organisation's {newest}"})
    first = of_group[0]
    if first.deactivated_at is not None:
        what = f"definition of target group {first.target_group_id}, version {first.version}"
        yield telling.of(what, {"deactivated_at": None}, {"deactivated_at": first.deactivated_at})


def _of_ids(telling: _Telling, current: Sequence[StoredVersion], given: GivenIds) -> Iterator[Difference]:
    for stored in current:
        here = (telling.organisation_id, stored.target_group_id)
        for id_ in (stored.target_group_id, *(stored.document.ids() if stored.document is not None else ())):
            if (other := given.setdefault(id_, here)) != here:
                what = f"id {id_} in the definition of target group {stored.target_group_id}"
                yield telling.of(what, None, {"given to": f"target group {other[1]} of organisation {other[0]}"})


def _of_names(
    telling: _Telling, current: Sequence[StoredVersion], stored: Mapping[tuple[str, str], int]
) -> Iterator[Difference]:
    expected: dict[tuple[str, str], int] = {}
    for version in current:
        if version.document is not None:
            expected["group", name_key(version.document.name)] = version.target_group_id
            for target in version.document.targets:
                expected["target", name_key(target.name)] = version.target_group_id
    damaged = {version.target_group_id for version in current if version.document is None}
    for kind, key in sorted(expected.keys() | stored.keys()):
        due, found = expected.get((kind, key)), stored.get((kind, key))
        if due != found and not (due is None and found in damaged):
            yield telling.of(f"name {key!r} of a {kind}", _held_by(due), _held_by(found))


def _held_by(target_group_id: int | None) -> Mapping[str, Any] | None:
    return None if target_group_id is None else {"target_group_id": target_group_id}


def _of_due_instants(telling: _Telling, current: Sequence[StoredVersion], stored: set[Any]) -> Iterator[Difference]:
    """One too many is harmless: the closer looks, and nothing is due."""
    for version in current:
        for number, period in enumerate(version.document.window.periods if version.document else (), start=1):
            if period.due_at not in stored:
                what = f"due instant of period {number} of target group {version.target_group_id}"
                yield telling.of(what, {"due_at": period.due_at}, None)
