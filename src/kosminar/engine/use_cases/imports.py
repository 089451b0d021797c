"""The import: a CSV file of customers or activities, streamed through the same way in as a request.

A file may be larger than memory: lines are read, worked and forgotten a chunk at a time, with a few chunks under way.
Every record gets its own result; a faulty one is reported and the others go on. What a record is, and what becomes of
lines that a quote swallowed, is csv_lines.py's. Safe to run again after being killed: customers that exist are left
alone, and an activity's id is a mapped column or made from the file's content and the line's number, so that it is
counted once.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog

from kosminar.core import customer
from kosminar.core.activity import TRANSACTION
from kosminar.core.customer import NewCustomer, Registration
from kosminar.core.customer import Status as CustomerStatus
from kosminar.core.errors import MESSAGES, Code, Fault, invalid
from kosminar.engine.change import ActivityOutcome, Request, Status
from kosminar.engine.csv_lines import ATTRIBUTE_PREFIX, ImportRefused, Line, Lines
from kosminar.engine.house import House
from kosminar.engine.intake import read_activity
from kosminar.engine.use_cases import clock
from kosminar.engine.use_cases import customers as registration

LOG: Final = structlog.get_logger()

CHUNK_SIZE: Final = 1_000
# Long records make shorter chunks, so that memory has a bound in bytes too.
CHUNK_BYTES: Final = 1 << 22
# Enough to keep every lane busy while lines are read; memory holds no more than these.
CHUNKS_UNDER_WAY: Final = 4
HASH_BLOCK_BYTES: Final = 1 << 20

ACTIVITY_FIELDS: Final = ("id", "customerId", "type", "occurredAt")
NAMES: Final = ("firstName", "lastName")
CUSTOMER_FIELDS: Final = ("customerId", "externalId", "mobile", "email", *NAMES)


class LineStatus(StrEnum):
    """What became of a line; `late` is recorded and counts for nothing."""

    DONE = "done"
    REPEATED = "repeated"
    LATE = "late"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LineResult:
    """`line_number` counts from 1 with the header; a quoted cell over several lines is where it begins."""

    line_number: int
    status: LineStatus
    code: int | None = None
    message: str | None = None


def file_hash(path: Path) -> str:
    """SHA-256 of the content, hexadecimal: the same file is the same import, wherever it lies."""
    digest = hashlib.sha256()
    with path.open("rb") as binary:
        while block := binary.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


async def import_activities(
    house: House, organisation_id: int, path: Path, mapping: Mapping[str, str]
) -> AsyncIterator[tuple[LineResult, int]]:
    """The result of every line, in order, with the bytes of the file read so far."""
    lines = Lines(path, ACTIVITY_FIELDS, mapping, attributes=True, plausible=_has_customer_id)
    _require(lines, "customerId", "occurredAt")
    zone = await house.zones.of(organisation_id)
    prefix = file_hash(path)[:32]

    async def work(chunk: Sequence[Line]) -> list[LineResult]:
        read = [_activity_item(line, prefix) for line in chunk]
        activities = [read_activity(item, "", zone) if isinstance(item, dict) else item for item in read]
        outcomes = iter(
            await house.writer.submit(
                Request(organisation_id, *one, asked_by="import", request_id=f"import {prefix}")
                for one in activities
                if isinstance(one, tuple)
            )
        )
        return [
            _activity_result(line, next(outcomes)) if isinstance(one, tuple) else _refused(line, one)
            for line, one in zip(chunk, activities, strict=True)
        ]

    async for result in _work_off(lines, work, under_way=CHUNKS_UNDER_WAY, import_id=prefix):
        yield result


async def import_customers(
    house: House, organisation_id: int, path: Path, mapping: Mapping[str, str]
) -> AsyncIterator[tuple[LineResult, int]]:
    """The result of every line, in order, with the bytes of the file read so far."""
    lines = Lines(path, CUSTOMER_FIELDS, mapping, attributes=False, plausible=_may_be_customer, prose=NAMES)

    async def work(chunk: Sequence[Line]) -> list[LineResult]:
        now = await clock.instant(house.pool, organisation_id, wall=house.wall())
        read = [_customer(line) for line in chunk]
        faultless = [new for new in read if isinstance(new, NewCustomer)]
        outcomes = iter(await registration.register(house.pool, organisation_id, faultless, now, meters=house.meters))
        return [
            _customer_result(line, next(outcomes)) if isinstance(one, NewCustomer) else _refused(line, one)
            for line, one in zip(chunk, read, strict=True)
        ]

    # One chunk at a time: two at once could wait for each other's identifiers.
    async for result in _work_off(lines, work, under_way=1, import_id=file_hash(path)[:32]):
        yield result


def _require(lines: Lines, *names: str) -> None:
    present = lines.columns()
    for name in names:
        if name not in present:
            raise ImportRefused(f"No column is {name}; name one with --map column={name}.")


async def _work_off(
    lines: Lines, work: Callable[[Sequence[Line]], Awaitable[list[LineResult]]], *, under_way: int, import_id: str
) -> AsyncIterator[tuple[LineResult, int]]:
    """Chunks are begun in order and answered in order; a customer's lines so keep theirs."""
    running: deque[tuple[asyncio.Task[list[LineResult]], int]] = deque()
    try:
        for chunk in _chunks(lines):
            running.append((asyncio.ensure_future(work(chunk)), lines.position))
            # Lets the new chunk reach the writer before the next one is read.
            await asyncio.sleep(0)
            if len(running) >= under_way:
                task, position = running.popleft()
                for result in await task:
                    yield result, position
                LOG.debug("import_chunk_worked", import_id=import_id, position=position)
        while running:
            task, position = running.popleft()
            for result in await task:
                yield result, position
        LOG.debug("import_worked", import_id=import_id, position=lines.position)
    finally:
        for task, _ in running:
            task.cancel()


def _has_customer_id(fields: Mapping[str, str]) -> bool:
    return isinstance(_id(fields.get("customerId")), int)


def _may_be_customer(fields: Mapping[str, str]) -> bool:
    """A customer may come without an id, but not with one that is no number."""
    return "customerId" not in fields or _has_customer_id(fields)


def _chunks(lines: Lines) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    begins_at = 0
    for line in lines:
        chunk.append(line)
        if len(chunk) == CHUNK_SIZE or lines.position - begins_at >= CHUNK_BYTES:
            yield chunk
            chunk, begins_at = [], lines.position
    if chunk:
        yield chunk


def _activity_item(line: Line, prefix: str) -> dict[str, Any] | list[Fault]:
    if line.fault is not None:
        return [Fault("", line.fault)]
    plain = {name: cell for name, cell in line.fields.items() if not name.startswith(ATTRIBUTE_PREFIX)}
    attributes = {
        name.removeprefix(ATTRIBUTE_PREFIX): cell
        for name, cell in line.fields.items()
        if name.startswith(ATTRIBUTE_PREFIX)
    }
    defaults = {"id": f"{prefix}:{line.line_number}", "type": TRANSACTION}
    return {**defaults, **plain, "customerId": _id(plain.get("customerId")), "attributes": attributes}


def _customer(line: Line) -> NewCustomer | list[Fault]:
    if line.fault is not None:
        return [Fault("", line.fault)]
    new, faults = customer.read({**line.fields, "customerId": _id(line.fields.get("customerId"))})
    return faults or new


def _id(cell: str | None) -> int | str | None:
    """A cell holds digits where JSON has an integer; anything else is left for the reader to refuse."""
    return int(cell) if cell is not None and cell.isascii() and cell.isdecimal() and len(cell) <= 19 else cell


def _activity_result(line: Line, outcome: Any) -> LineResult:
    assert isinstance(outcome, ActivityOutcome)
    if outcome.status is Status.REJECTED:
        assert outcome.code is not None, "a rejection has its code"
        return LineResult(line.line_number, LineStatus.REFUSED, int(outcome.code), MESSAGES[outcome.code])
    if outcome.status is Status.DUPLICATE:
        return LineResult(line.line_number, LineStatus.REPEATED)
    if outcome.code is not None:
        return LineResult(line.line_number, LineStatus.LATE, int(outcome.code), MESSAGES[outcome.code])
    return LineResult(line.line_number, LineStatus.DONE)


def _customer_result(line: Line, outcome: Registration) -> LineResult:
    match outcome.status:
        case CustomerStatus.CREATED:
            return LineResult(line.line_number, LineStatus.DONE)
        case CustomerStatus.EXISTS:
            return LineResult(line.line_number, LineStatus.REPEATED)
        case CustomerStatus.REJECTED:
            assert outcome.code is not None, "a rejection has its code"
            return LineResult(line.line_number, LineStatus.REFUSED, int(outcome.code), outcome.message)


def _refused(line: Line, faults: list[Fault]) -> LineResult:
    message = "; ".join(invalid(fault.path, fault.message).message for fault in faults)
    return LineResult(line.line_number, LineStatus.REFUSED, int(Code.INVALID_INPUT), message)
