"""The one mapper between a standing and its rows.

A customer in a group is one row of `standing`: columns for what SQL asks, and a document for the rest. Where the group
has one target, its latest progress is in columns. A period's progress leaves the standing for a row of `ended_period`
once the period has ended and a later one has progress: so a standing holds what runs and the latest, however many
periods there were. What the document holds is checked here, whenever it is read; the columns by the database.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise
from operator import is_not
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from kosminar.core import number_set
from kosminar.core.kind import milestone
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import Method, Progress, Run, Standing, Stretch, TargetStanding


class StandingDamaged(Exception):
    """What is stored of a customer in a group is no standing; says what is wrong with it."""


class StandingRow(NamedTuple):
    """A row of `standing` without its key, in the order of the table's columns."""

    version: int
    wakes_at: datetime | None
    likeness: int | None
    enrolled: bool
    left_at: datetime | None
    period_number: int | None
    run: int | None
    value_thousandths: int | None
    target_value_thousandths: int | None
    achieved_at: datetime | None
    achieved_recorded_at: datetime | None
    rewarded: bool
    forfeited: bool
    settled: bool
    document: str


class EndedRow(NamedTuple):
    """A row of `ended_period` without the customer and the group, in the order of the table's columns."""

    target_id: int
    period_number: int
    run: int
    value_thousandths: int
    target_value_thousandths: int
    achieved_at: datetime | None
    achieved_recorded_at: datetime | None
    days: tuple[date, ...]
    rewarded: bool
    forfeited: bool
    settled: bool
    awaits_end: bool


def ended_row_of(columns: Sequence[Any]) -> EndedRow:
    """From what the driver gives, in which days are a list."""
    return EndedRow._make((*columns[:7], tuple(columns[7]), *columns[8:]))


class EndedKey(NamedTuple):
    """An ended period of a target, in one run."""

    target_id: int
    period_number: int
    run: int


# ---------------------------------------------------------------- the document


class _Run(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    number: int
    starts_at: datetime | None
    ends_at: datetime | None
    met: str
    reached: tuple[int, ...]
    broken_number: int


class _Part(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Of one target. `days` are those of the progress in columns: the first one, and how far each is from it."""

    stretches: tuple[Stretch, ...] = ()
    progress: tuple[Progress, ...] = ()
    days: tuple[date, str] | None = None
    runs: tuple[_Run, ...] = ()


# By target id, so that a target that is added leaves what was written readable.
_DOCUMENT: Final = msgspec.json.Decoder(dict[int, _Part])
_ENCODER: Final = msgspec.json.Encoder()
_BITS: Final = "="
# Up to so many characters, a set stays readable.
_RANGES_LENGTH: Final = 64


def written_set(numbers: int) -> str:
    """A set of numbers as text: ranges, or, where these are long and that is shorter, its bits in base 64.

    >>> written_set(number_set.of([1, 2, 3, 7]))
    '1-3 7'
    """
    ranges = " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in _ranges(numbers))
    size = (numbers.bit_length() + 7) // 8
    # Three bytes are four characters.
    if len(ranges) <= max(_RANGES_LENGTH, size * 4 // 3 + 1):
        return ranges
    return _BITS + base64.b64encode(numbers.to_bytes(size, "little")).decode().rstrip("=")


def read_set(text: str) -> int:
    """The set of numbers that was written so; raises ValueError for any other text.

    >>> list(number_set.numbers_in(read_set("1-3 7")))
    [1, 2, 3, 7]
    """
    if text.startswith(_BITS):
        bits = text.removeprefix(_BITS)
        numbers = int.from_bytes(base64.b64decode(bits + "=" * (-len(bits) % 4), validate=True), "little")
    else:
        numbers = number_set.EMPTY
        for each in text.split():
            first, _, last = each.partition("-")
            numbers |= number_set.span(int(first), int(last or first))
    if written_set(numbers) != text:
        raise ValueError(f"not how a set of numbers is written: {text!r}")
    return numbers


def _ranges(numbers: int) -> Iterator[tuple[int, int]]:
    while numbers:
        first = number_set.smallest(numbers)
        # The smallest number that is not there ends the range.
        last = number_set.smallest(~(numbers >> first)) + first - 1
        yield first, last
        numbers = number_set.above(numbers, last)


# ---------------------------------------------------------------- from rows


def standing_of(programme: Programme, row: StandingRow | None, ended: Iterable[EndedRow] = ()) -> Standing:
    """The standing that these rows keep: of no row, the untouched one. `ended` holds those rows that were asked for.

    Raises StandingDamaged.
    """
    if row is None:
        return programme.untouched
    try:
        document = _DOCUMENT.decode(row.document)
    except msgspec.MsgspecError as error:
        raise StandingDamaged(f"its document: {error}") from error
    foreign = document.keys() - {target.target_id for target in programme.targets}
    if foreign:
        raise StandingDamaged(f"its document has targets that the group does not have: {sorted(foreign)}")
    apart: dict[int, list[Progress]] = {}
    for one in ended:
        apart.setdefault(one.target_id, []).append(_progress_of(one, one.days))
    parts = tuple(
        _part_of(programme, row, document.get(target.target_id, _NOTHING), apart.get(target.target_id, ()))
        for target in programme.targets
    )
    return Standing(parts, row.version, row.wakes_at)


_NOTHING: Final = _Part()


def _part_of(programme: Programme, row: StandingRow, part: _Part, apart: Sequence[Progress]) -> TargetStanding:
    progress = part.progress
    if row.period_number is not None:
        progress = (*progress, _progress_of(row, () if part.days is None else _days_of(*part.days)))
    elif part.days is not None:
        raise StandingDamaged("its document has days of no progress")
    _check_stretches(part.stretches)
    if apart:
        progress = tuple(sorted((*progress, *apart), key=_place))
    for earlier, later in pairwise(progress):
        if _place(earlier) >= _place(later):
            raise StandingDamaged(f"it has progress of period {later.period_number} twice, or not in order")
    runs = tuple([_run_of(run) for run in part.runs]) if part.runs else programme.kind.untouched().runs
    return TargetStanding(part.stretches, progress, runs)


def _progress_of(row: StandingRow | EndedRow, days: tuple[date, ...]) -> Progress:
    if row.period_number is None or row.run is None or row.value_thousandths is None:
        raise StandingDamaged("its latest progress has no run or no value")
    return Progress(
        row.period_number,
        row.run,
        row.value_thousandths,
        row.achieved_at,
        row.achieved_recorded_at,
        days,
        row.rewarded,
        row.forfeited,
        row.settled,
    )


def _days_of(first: date, offsets: str) -> tuple[date, ...]:
    try:
        numbers = read_set(offsets)
    except ValueError as error:
        raise StandingDamaged(f"its days: {error}") from error
    start = first.toordinal()
    return tuple([date.fromordinal(start + number) for number in number_set.numbers_in(numbers)])


def _run_of(run: _Run) -> Run:
    try:
        met = read_set(run.met)
    except ValueError as error:
        raise StandingDamaged(f"what run {run.number} met: {error}") from error
    if (run.number == 1) != (run.starts_at is None):
        raise StandingDamaged(f"run {run.number} must have a start, the first one must not")
    return Run(run.number, run.starts_at, run.ends_at, met, run.reached, run.broken_number)


def _check_stretches(stretches: Sequence[Stretch]) -> None:
    for stretch in stretches:
        over = stretch.ends_at
        if stretch.first_period_number < 1 or (over is not None and over < stretch.starts_at):
            raise StandingDamaged("an enrolment ends before it begins, or begins with no period")
        if stretch.method is Method.OPT_OUT and over != stretch.starts_at:
            raise StandingDamaged("an opt-out lasts")
    if any(stretch.ends_at is None for stretch in stretches[:-1]):
        raise StandingDamaged("an enrolment that another one follows has no end")


def _place(progress: Progress) -> tuple[int, int]:
    return progress.period_number, progress.run


# ---------------------------------------------------------------- to rows


def rows_of(
    programme: Programme, standing: Standing, at: datetime, apart: Collection[EndedKey] = ()
) -> tuple[StandingRow, list[EndedRow]]:
    """The row of a standing that is saved at that instant, and those of the ended periods that were loaded or leave it.

    `apart` are those of its periods that have a row of their own already.
    """
    return standing_row(programme, standing, at, apart), ended_rows(programme, standing, at, apart)


def ended_rows(
    programme: Programme, standing: Standing, at: datetime, apart: Collection[EndedKey] = ()
) -> list[EndedRow]:
    return [
        ended_row(target, progress)
        for target, part in zip(programme.targets, standing.targets, strict=True)
        for progress in _divide(programme, target, part, at, apart).ended
    ]


def standing_row(
    programme: Programme, standing: Standing, at: datetime, apart: Collection[EndedKey] = ()
) -> StandingRow:
    divided = [_divide(programme, *each, at, apart) for each in zip(programme.targets, standing.targets, strict=True)]
    latest = divided[0].latest if len(divided) == 1 else None
    parts = zip(programme.targets, standing.targets, divided, strict=True)
    document = {
        target.target_id: _document_part(programme, part, halves, in_columns=latest is not None)
        for target, part, halves in parts
        if part.stretches or part.progress
    }
    stretches = [part.stretches[-1] for part in standing.targets if part.stretches]
    ends = [stretch.ends_at for stretch in stretches if stretch.ends_at is not None]
    enrolled = len(ends) < len(stretches)
    likeness = None if latest is None else _likeness(programme, standing, divided[0])
    left_at = None if enrolled else max(ends, default=None)
    columns = _columns(programme.targets[0], latest)
    written = _ENCODER.encode(document).decode()
    return StandingRow(standing.version, standing.wakes_at, likeness, enrolled, left_at, *columns, written)


def ended_row(target: Target, progress: Progress) -> EndedRow:
    """The row of a period that has left its standing."""
    return EndedRow(
        target.target_id,
        progress.period_number,
        progress.run,
        progress.value,
        target.values[progress.period_number - 1],
        progress.achieved_at,
        progress.achieved_recorded_at,
        progress.days,
        progress.rewarded,
        progress.forfeited,
        progress.settled,
        milestone.awaits_end(target, progress),
    )


def only_value_moved(before: Standing, now: Standing) -> bool:
    """Whether nothing but the value of the latest progress of the one target differs: its column is all there is to write."""
    if len(now.targets) != 1 or now.version != before.version or now.wakes_at != before.wakes_at:
        return False
    was, part = before.targets[0], now.targets[0]
    # What was not touched is the same object.
    if part.stretches is not was.stretches or part.runs is not was.runs or len(part.progress) != len(was.progress):
        return False
    if not part.progress or any(map(is_not, part.progress[:-1], was.progress)):
        return False
    old, new = was.progress[-1], part.progress[-1]
    return new == Progress(
        old.period_number,
        old.run,
        new.value,
        old.achieved_at,
        old.achieved_recorded_at,
        old.days,
        old.rewarded,
        old.forfeited,
        old.settled,
    )


class _Divided(NamedTuple):
    """A target's progress: what stays in the document, the latest, and what has rows of its own."""

    running: Sequence[Progress]
    latest: Progress | None
    ended: Sequence[Progress]


def _divide(
    programme: Programme, target: Target, part: TargetStanding, at: datetime, apart: Collection[EndedKey]
) -> _Divided:
    if len(part.progress) < 2:
        return _Divided((), part.progress[0] if part.progress else None, ())
    *earlier, latest = part.progress
    running: list[Progress] = []
    ended: list[Progress] = []
    for progress in earlier:
        key = EndedKey(target.target_id, progress.period_number, progress.run)
        over = key in apart or programme.period(progress.period_number).ends_at <= at
        (ended if over else running).append(progress)
    return _Divided(running, latest, ended)


def _document_part(programme: Programme, part: TargetStanding, divided: _Divided, *, in_columns: bool) -> _Part:
    latest = divided.latest
    if in_columns:
        progress, days = tuple(divided.running), _written_days(latest)
    else:
        progress, days = (*divided.running, *(() if latest is None else (latest,))), None
    return _Part(part.stretches, progress, days, _written_runs(programme, part))


def _written_days(latest: Progress | None) -> tuple[date, str] | None:
    if latest is None or not latest.days:
        return None
    first = latest.days[0].toordinal()
    return latest.days[0], written_set(number_set.of(day.toordinal() - first for day in latest.days))


def _written_runs(programme: Programme, part: TargetStanding) -> tuple[_Run, ...]:
    if part.runs is programme.kind.untouched().runs:
        return ()
    return tuple(
        [
            _Run(run.number, run.starts_at, run.ends_at, written_set(run.met), run.reached, run.broken_number)
            for run in part.runs
        ]
    )


def _likeness(programme: Programme, standing: Standing, divided: _Divided) -> int | None:
    """Only where time changes something, and nothing that it may concern lies in the document."""
    if standing.wakes_at is None or divided.running or divided.latest is None:
        return None
    (target,), (part,) = programme.targets, standing.targets
    earlier = [progress for progress in divided.ended if milestone.awaits_end(target, progress)]
    return programme.kind.likeness(part, divided.latest, earlier)


_Columns: TypeAlias = tuple[
    int | None, int | None, int | None, int | None, datetime | None, datetime | None, bool, bool, bool
]


def _columns(target: Target, latest: Progress | None) -> _Columns:
    if latest is None:
        return None, None, None, None, None, None, False, False, False
    return (
        latest.period_number,
        latest.run,
        latest.value,
        target.values[latest.period_number - 1],
        latest.achieved_at,
        latest.achieved_recorded_at,
        latest.rewarded,
        latest.forfeited,
        latest.settled,
    )
