"""What must be true of one customer's standings: what they say, where it lies, and when each is to wake.

Part of the recount (recount.py), which has lived the customer's order again. What a standing says is compared part by
part, wherever it is stored; then the columns that SQL asks, which follow from it.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from kosminar.core import number_set
from kosminar.core.amount import decimal_of
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import Progress, Run, Standing, Stretch, TargetStanding
from kosminar.engine.difference import Difference, Telling
from kosminar.store.recount import OrganisationState, Place, StandingRows
from kosminar.store.rows import EndedKey, EndedRow, StandingDamaged, StandingRow, ended_row, standing_of, standing_row


class EnrolmentRow(NamedTuple):
    """What an enrolled stretch says."""

    method: str
    starts_at: datetime
    ends_at: datetime | None
    first_period_number: int


class ProgressRow(NamedTuple):
    """What a period's progress says."""

    value: Decimal
    achieved_at: datetime | None
    achieved_recorded_at: datetime | None
    days: tuple[date, ...]
    rewarded: bool
    forfeited: bool
    settled: bool


class RunRow(NamedTuple):
    """What a run of a streak says."""

    starts_at: datetime | None
    ends_at: datetime | None
    met: tuple[int, ...]
    reached: tuple[int, ...]
    broken_number: int


Part: TypeAlias = EnrolmentRow | ProgressRow | RunRow

# Those that follow from what a standing says, from where it lies and from the definition.
_DERIVED: Final = ("likeness", "enrolled", "left_at", "period_number", "run", "target_value_thousandths")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Recounted(NamedTuple):
    """A standing as it must be, and the version of the definitions under which it changed last."""

    standing: Standing
    version: int


def of_standings(
    telling: Telling,
    groups: Mapping[int, Programme],
    state: OrganisationState,
    recounted: Mapping[int, Recounted],
    stored: Mapping[int, StandingRows],
) -> Iterator[Difference]:
    """Group by group, by id; `recounted` has those that something happened to, `stored` those that have rows."""
    for group_id in sorted(recounted.keys() | stored.keys()):
        programme, rows = groups.get(group_id), stored.get(group_id, StandingRows())
        if programme is None:
            what = f"standing in target group {group_id}, which the organisation does not have"
            found = {"ended periods": len(rows.ended)} if rows.standing is None else rows.standing._asdict()
            yield telling.of(what, None, found)
            continue
        expected = recounted.get(group_id)
        yield from _of_group(telling, programme, state, expected, rows)


def _of_group(
    telling: Telling, programme: Programme, state: OrganisationState, expected: Recounted | None, rows: StandingRows
) -> Iterator[Difference]:
    what = f"standing in target group {programme.target_group_id} ({programme.name})"
    targets = {target.target_id for target in programme.targets}
    for row in rows.ended:
        if row.target_id not in targets or row.period_number > len(programme.periods):
            yield telling.of(f"{what}, an ended period of nothing there is", None, row._asdict())
            return
    if rows.standing is None and rows.ended:
        yield telling.of(f"{what}, ended periods without it", None, {"ended periods": len(rows.ended)})
        return
    if expected is None and rows.standing is not None:
        yield telling.of(what, None, rows.standing._asdict())
        return
    try:
        found = standing_of(programme, rows.standing, rows.ended)
    except StandingDamaged as error:
        yield telling.of(what, {"readable": True}, {"readable": str(error)})
        return
    wanted = programme.untouched if expected is None else expected.standing
    said = list(_of_parts(telling, programme, wanted, found))
    yield from said
    if expected is not None and rows.standing is not None:
        yield from _of_columns(telling, programme, wanted, rows.standing, rows.ended, what, alone=not said)
        yield from _of_waking(telling, programme, state, expected, rows.standing, what)


# ---------------------------------------------------------------- what it says


def _of_parts(telling: Telling, programme: Programme, wanted: Standing, found: Standing) -> Iterator[Difference]:
    for target, expected, there in zip(programme.targets, wanted.targets, found.targets, strict=True):
        if expected == there:
            continue
        parts, stored = dict(_parts(programme, target, expected)), dict(_parts(programme, target, there))
        for place in sorted(parts.keys() | stored.keys()):
            if parts.get(place) != stored.get(place):
                yield telling.of_row(
                    telling.named(place), parts.get(place), stored.get(place), target_id=target.target_id
                )


def _parts(programme: Programme, target: Target, part: TargetStanding) -> Iterator[tuple[Place, Part]]:
    for number, stretch in enumerate(part.stretches, start=1):
        yield Place("enrolment", target.target_id, (number,)), _enrolment(stretch)
    for progress in part.progress:
        place = programme.period_id(progress.period_number), progress.run
        yield Place("progress", target.target_id, place), _progress(progress)
    for run in part.runs:
        yield Place("streak", target.target_id, (run.number,)), _run(run)


def _enrolment(stretch: Stretch) -> EnrolmentRow:
    return EnrolmentRow(stretch.method.value, stretch.starts_at, stretch.ends_at, stretch.first_period_number)


def _progress(progress: Progress) -> ProgressRow:
    return ProgressRow(
        decimal_of(progress.value),
        progress.achieved_at,
        progress.achieved_recorded_at,
        progress.days,
        progress.rewarded,
        progress.forfeited,
        progress.settled,
    )


def _run(run: Run) -> RunRow:
    return RunRow(run.starts_at, run.ends_at, tuple(number_set.numbers_in(run.met)), run.reached, run.broken_number)


# ---------------------------------------------------------------- what follows from it


def _of_columns(
    telling: Telling,
    programme: Programme,
    wanted: Standing,
    row: StandingRow,
    ended: list[EndedRow],
    what: str,
    *,
    alone: bool,
) -> Iterator[Difference]:
    """The columns that SQL asks; where the standing says something else already, only its ended periods are looked at."""
    apart = {EndedKey(one.target_id, one.period_number, one.run) for one in ended}
    if alone:
        should = standing_row(programme, Standing(wanted.targets, row.version, row.wakes_at), _NEVER, apart)
        names = [name for name in _DERIVED if getattr(should, name) != getattr(row, name)]
        if names:
            columns = [{name: getattr(one, name) for name in names} for one in (should, row)]
            yield telling.of(what, *columns)
    for one in ended:
        target, part = programme.target(one.target_id), wanted.targets[programme.index_of(one.target_id)]
        progress = part.find_progress(one.period_number, one.run)
        named = telling.named(Place("progress", one.target_id, (programme.period_id(one.period_number), one.run)))
        if programme.period(one.period_number).ends_at > telling.customer.changed_at:
            yield telling.of(f"{named}, which has not ended", None, one._asdict(), target_id=one.target_id)
        elif progress is not None:
            due = ended_row(target, progress)
            derived = ("target_value_thousandths", "awaits_end")
            differing = [name for name in derived if getattr(due, name) != getattr(one, name)]
            if differing:
                columns = [{name: getattr(side, name) for name in differing} for side in (due, one)]
                yield telling.of(named, *columns, target_id=one.target_id)


def _of_waking(
    telling: Telling,
    programme: Programme,
    state: OrganisationState,
    expected: Recounted,
    row: StandingRow,
    what: str,
) -> Iterator[Difference]:
    """When time must look at it, worked out under the version of its last change or a later one.

    When a group changes, nothing is written of its customers until the closer comes by; then none who waits is left.
    """
    seen, known = programme.as_of(expected.version), programme.as_of(row.version)
    assert seen is not None, "it changed when the group was there"
    if known is None or known.version != row.version or row.version < seen.version:
        yield telling.of(what, {"version": seen.version}, {"version": row.version})
        return
    wakes_at = known.standing_of(expected.standing.targets).wakes_at
    if row.wakes_at != wakes_at:
        yield telling.of(what, {"wakes_at": wakes_at}, {"wakes_at": row.wakes_at})
    elif wakes_at is not None and row.version < programme.version <= state.settled_version:
        yield telling.of(what, {"version": programme.version}, {"version": row.version})
