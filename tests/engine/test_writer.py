"""The writer's promises: order within a customer, shared commits, faults that stay with their request, nothing by half.

What batches do to each other is provoked with locks held by a connection beside them, never with sleeps.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tests.conftest import Wall
from tests.definitions import POINTS, month
from tests.engine.brand import BEFORE, Brand, found, milestone

from kosminar.core.activity import Activity
from kosminar.core.bucket import bucket_of_customer
from kosminar.core.decide import UnEnrol
from kosminar.core.errors import Code
from kosminar.engine.change import ActivityOutcome, EnrolmentChange, EnrolmentOutcome, Request, Status
from kosminar.engine.retry import NotSaved
from kosminar.engine.writer import BATCH_SIZE_MAX, Writer

pytestmark = pytest.mark.asyncio

CUSTOMER_IDS = range(1, 41)
ACCEPTED = ActivityOutcome(Status.ACCEPTED)


@pytest_asyncio.fixture
async def brand(pool: asyncpg.Pool) -> Brand:
    return await found(pool, "acme", [milestone("Spring", POINTS)], customer_ids=CUSTOMER_IDS)


@asynccontextmanager
async def writing(database_url: str, wall: Wall, *, lane_count: int = 2) -> AsyncIterator[Writer]:
    """A writer on a pool of its own, as wiring.py makes one."""
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=lane_count) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=lane_count) as writer,
    ):
        yield writer


@pytest_asyncio.fixture
async def writer(database_url: str, wall: Wall) -> AsyncIterator[Writer]:
    async with writing(database_url, wall) as writer:
        yield writer


def buy(brand: Brand, customer_id: int, activity_id: str) -> Request:
    return brand.buy(customer_id, activity_id, BEFORE, "1")


async def trail_of(pool: asyncpg.Pool, customer_id: int) -> list[str]:
    rows = await pool.fetch(
        "SELECT activity_id FROM journal WHERE customer_id = $1 AND kind = 'activity' ORDER BY number", customer_id
    )
    return [row["activity_id"] for row in rows]


async def waiting_for_a_lock(pool: asyncpg.Pool, count: int = 1) -> list[int]:
    """The process numbers of the connections that wait for a lock, once there are so many."""
    while True:
        rows = await pool.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if len(rows) >= count:
            return [row["pid"] for row in rows]


# ---------------------------------------------------------------- order and load


async def test_one_customers_requests_are_worked_in_the_order_given(pool, brand, writer) -> None:
    ids = [f"a{number}" for number in range(BATCH_SIZE_MAX + 100)]
    others = [buy(brand, customer_id, "other") for customer_id in CUSTOMER_IDS if customer_id != 1]

    first = writer.submit([buy(brand, 1, one) for one in ids])
    await asyncio.gather(first, writer.submit(others))

    assert await trail_of(pool, 1) == ids


async def test_each_of_many_callers_keeps_its_own_order(pool, brand, writer) -> None:
    async def call(caller: int) -> None:
        for number in range(10):
            await writer.submit([buy(brand, 1, f"{caller}-{number}-{part}") for part in range(3)])

    await asyncio.gather(*(call(caller) for caller in range(12)))

    trail = await trail_of(pool, 1)
    for caller in range(12):
        own = [one for one in trail if one.startswith(f"{caller}-")]
        assert own == [f"{caller}-{number}-{part}" for number in range(10) for part in range(3)]


async def test_a_request_sees_what_the_one_before_it_did(brand, writer) -> None:
    outcomes = await writer.submit(
        [
            brand.un_enrol(1, "Spring"),
            brand.enrol(1, "Spring"),
            brand.enrol(1, "Spring"),
            brand.un_enrol(1, "Spring"),
            brand.un_enrol(1, "Spring"),
            buy(brand, 1, "a"),
            buy(brand, 1, "a"),
        ]
    )

    calls = [(o.errors, o.warnings) for o in outcomes if isinstance(o, EnrolmentOutcome)]
    assert calls == [
        ((Code.NEVER_ENROLLED,), ()),
        ((), ()),
        ((Code.ALREADY_ENROLLED,), ()),
        ((), ()),
        ((), (Code.ALREADY_UN_ENROLLED,)),
    ]
    assert outcomes[5:] == [ACCEPTED, ActivityOutcome(Status.DUPLICATE)]


async def test_under_load_a_commit_is_shared_and_no_batch_is_too_large(pool, brand, writer) -> None:
    requests = [buy(brand, 1 + number % len(CUSTOMER_IDS), f"a{number}") for number in range(3 * BATCH_SIZE_MAX)]

    outcomes = await asyncio.gather(*(writer.submit_one(request) for request in requests))

    assert set(outcomes) == {ACCEPTED}
    # Rows of one transaction have the same xmin.
    rows = await pool.fetch("SELECT count(*) FROM journal GROUP BY xmin::text")
    sizes = [row["count"] for row in rows]
    assert sum(sizes) == len(requests)
    assert max(sizes) <= BATCH_SIZE_MAX
    assert len(sizes) <= 10


async def test_a_request_alone_waits_for_nobody(pool, brand, writer) -> None:
    for number in range(3):
        assert await writer.submit_one(buy(brand, 1, f"a{number}")) == ACCEPTED

    assert await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM journal") == 3


async def test_a_waiting_customer_keeps_only_its_own_lane_waiting(pool, brand, writer) -> None:
    def lane(customer_id: int) -> int:
        return bucket_of_customer(brand.organisation_id, customer_id) % 2

    other = next(customer_id for customer_id in CUSTOMER_IDS if lane(customer_id) != lane(1))
    async with pool.acquire() as beside, beside.transaction():
        await beside.execute("SELECT 1 FROM customer WHERE customer_id = 1 FOR UPDATE")
        held_up = asyncio.create_task(writer.submit_one(buy(brand, 1, "a")))
        await waiting_for_a_lock(pool)

        assert await writer.submit_one(buy(brand, other, "a")) == ACCEPTED
        assert not held_up.done()

    assert await held_up == ACCEPTED


# ---------------------------------------------------------------- faults and refusals


@pytest.mark.parametrize(
    "poison",
    [
        Activity("\ud800", "transaction", BEFORE, {}),
        Activity("a", "\ud800", BEFORE, {}),
        Activity("a", "transaction", BEFORE, {"shop": "\ud800"}),
        Activity("a", "transaction", BEFORE, {"shop": "\0"}),
        Activity("a\0", "transaction", BEFORE, {}),
        Activity("a" * 101, "transaction", BEFORE, {}),
        Activity("a", "transaction", BEFORE.replace(tzinfo=None), {}),
    ],
    ids=["id", "type", "attribute", "NUL", "NUL in the id", "a long id", "an instant without zone"],
)
async def test_what_got_past_the_reader_and_cannot_be_stored_harms_nobody_else(pool, brand, writer, poison) -> None:
    await writer.submit(brand.enrol(customer_id, "Spring") for customer_id in CUSTOMER_IDS)
    neighbours = [brand.buy(customer_id, "fine", BEFORE) for customer_id in CUSTOMER_IDS]
    poisonous = Request(brand.organisation_id, 7, poison)

    with capture_logs() as logs:
        sent = [writer.submit_one(request) for request in [*neighbours[:20], poisonous, *neighbours[20:]]]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)

    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["request_failed"]
    assert outcomes.pop(20) == ActivityOutcome(Status.REJECTED, Code.INTERNAL_ERROR)
    assert outcomes == [ACCEPTED] * len(CUSTOMER_IDS)
    assert await pool.fetchval("SELECT count(*) FROM journal WHERE activity_id <> 'fine'") == 0
    assert await writer.submit_one(buy(brand, 7, "the lane goes on")) == ACCEPTED


async def test_a_customer_id_that_no_column_holds_harms_nobody_else(brand, writer) -> None:
    with capture_logs():
        outcomes = await asyncio.gather(
            *(writer.submit_one(buy(brand, customer_id, "fine")) for customer_id in (*range(1, 10), 2**63)),
            return_exceptions=True,
        )

    assert outcomes.pop() == ActivityOutcome(Status.REJECTED, Code.INTERNAL_ERROR)
    assert outcomes == [ACCEPTED] * 9


async def test_a_refusal_is_one_callers_answer_and_nothing_of_it_is_kept(pool, brand, writer) -> None:
    stranger = await found(pool, "globex", [milestone("Spring")], customer_ids=[1, 99])
    unknown = EnrolmentChange(999_999, UnEnrol(999_999))
    foreign = Request(brand.organisation_id, 1, stranger.enrol(1, "Spring").change)

    outcomes = await writer.submit(
        [
            buy(brand, 1, "fine"),
            buy(brand, 99, "of nobody here"),
            Request(brand.organisation_id, 1, unknown),
            foreign,
            brand.un_enrol(2, "Spring"),
            brand.buy(1, "tomorrow", BEFORE + timedelta(days=1)),
            brand.buy(1, "fine", BEFORE, "2"),
            brand.enrol(3, "Spring"),
        ]
    )

    missing = EnrolmentOutcome(errors=(Code.UNKNOWN_TARGET_GROUP, Code.UNKNOWN_TARGET))
    assert outcomes[:7] == [
        ACCEPTED,
        ActivityOutcome(Status.REJECTED, Code.UNKNOWN_CUSTOMER),
        missing,
        missing,
        EnrolmentOutcome(errors=(Code.NEVER_ENROLLED,)),
        ActivityOutcome(Status.REJECTED, Code.ACTIVITY_IN_THE_FUTURE),
        ActivityOutcome(Status.REJECTED, Code.ACTIVITY_ID_REUSED),
    ]
    assert outcomes[7].errors == ()
    assert await pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'activity'") == 1
    assert await pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'enrol'") == 1
    rows = await pool.fetch("SELECT customer_id, sequence FROM customer WHERE sequence > 0 ORDER BY customer_id")
    assert [tuple(row) for row in rows] == [(1, 1), (3, 1)]


# ---------------------------------------------------------------- losing the database


TABLES = ("journal", "standing", "reward")


async def everything(pool: asyncpg.Pool) -> dict[str, int]:
    counts = {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    return {**counts, "numbered": await pool.fetchval("SELECT count(*) FROM customer WHERE sequence > 0")}


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("table", ["customer", "standing", "journal", "reward"])
async def test_a_connection_lost_mid_way_leaves_nothing_half_saved(pool, brand, writer, table, joined) -> None:
    """Whether a batch is saved by one statement, which is all or nothing by itself, or part by part."""
    writer.groups = replace(writer.groups, joined=joined)
    await pool.execute("UPDATE organisation SET clock_at = $1", month(1))
    requests = [
        request
        for customer_id in (1, 2, 3)
        for request in (brand.enrol(customer_id, "Spring"), brand.buy(customer_id, "a", month(1)))
    ]
    async with pool.acquire() as beside, beside.transaction():
        # The batch comes as far as this table and waits there.
        await beside.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        sent = [asyncio.create_task(writer.submit_one(request)) for request in requests]
        lane_count = len({bucket_of_customer(brand.organisation_id, r.customer_id) % 2 for r in requests})
        for pid in await waiting_for_a_lock(pool, lane_count):
            await pool.execute("SELECT pg_terminate_backend($1)", pid)
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotSaved] * len(requests)

    assert await everything(pool) == dict.fromkeys((*TABLES, "numbered"), 0)
    again = await asyncio.gather(*(writer.submit_one(request) for request in requests))
    assert [outcome for outcome in again if isinstance(outcome, EnrolmentOutcome) and outcome.errors] == []
    assert await pool.fetchval("SELECT count(*) FROM reward WHERE state = 'issued'") == 3


class Wire:
    """A socket before the database's that can be cut, and mended again."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.path = folder / ".s.PGSQL.5432"
        self.beyond = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / self.path.name
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def mend(self) -> None:
        self.server = await asyncio.start_unix_server(self.connect, self.path)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.beyond)
        self.writers += [writer, far_writer]
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def cut(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()
        for writer in self.writers:
            with suppress(OSError):
                await writer.wait_closed()
        self.writers.clear()
        await self.server.wait_closed()
        self.path.unlink(missing_ok=True)


async def test_no_database_at_all_is_not_saved_either(database_url, pool, brand, wall) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # Sockets have short names.
    wire = Wire(folder, database_url)
    await wire.mend()
    async with (
        asyncpg.create_pool(database_url, host=str(folder), min_size=0, max_size=2) as lane_pool,
        Writer(lane_pool, wall=wall, lane_count=2) as writer,
    ):
        assert await writer.submit_one(buy(brand, 1, "a")) == ACCEPTED
        await wire.cut()
        # At once, and again when the pool has heard of it.
        for _ in range(3):
            outcomes = await asyncio.gather(
                *(writer.submit_one(buy(brand, c, "b")) for c in (1, 2, 3)), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [NotSaved] * 3

        await wire.mend()
        assert await writer.submit([buy(brand, c, "b") for c in (1, 2, 3)]) == [ACCEPTED] * 3
    await wire.cut()
    folder.rmdir()
    assert await trail_of(pool, 1) == ["a", "b"]


async def test_a_deadlock_is_tried_again(pool, brand, writer) -> None:
    def place(customer_id: int) -> int:
        return bucket_of_customer(brand.organisation_id, customer_id)

    # Two customers of one lane; the batch locks the first, then the second.
    first, second = sorted((c for c in CUSTOMER_IDS if place(c) % 2 == 0), key=lambda c: (place(c), c))[:2]
    lock = "SELECT 1 FROM customer WHERE customer_id = $1 FOR UPDATE"
    async with pool.acquire() as beside, beside.transaction():
        # We never look for deadlocks, so it is the batch that finds itself in one.
        await beside.execute("SET LOCAL deadlock_timeout = '1min'")
        await beside.execute(lock, second)
        sent = asyncio.create_task(writer.submit([buy(brand, first, "a"), buy(brand, second, "a")]))
        await waiting_for_a_lock(pool)
        await beside.execute(lock, first)

    assert await sent == [ACCEPTED, ACCEPTED]


async def test_two_writers_on_one_database_take_turns(database_url, pool, brand, wall) -> None:
    async with writing(database_url, wall, lane_count=3) as one, writing(database_url, wall, lane_count=2) as other:
        sent = [
            writer.submit_one(buy(brand, customer_id, f"{name}-{number}"))
            for number in range(25)
            for customer_id in CUSTOMER_IDS[:8]
            for name, writer in (("one", one), ("other", other))
        ]
        outcomes = await asyncio.gather(*sent)

    assert set(outcomes) == {ACCEPTED}
    for customer_id in CUSTOMER_IDS[:8]:
        trail = await trail_of(pool, customer_id)
        for name in ("one", "other"):
            assert [t for t in trail if t.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(25)]
        sequences = await pool.fetch(
            "SELECT number FROM journal WHERE customer_id = $1 AND kind = 'activity' ORDER BY 1", customer_id
        )
        assert [row["number"] for row in sequences] == list(range(1, 51))


async def test_the_same_activity_through_two_writers_counts_once(database_url, pool, brand, wall) -> None:
    async with writing(database_url, wall) as one, writing(database_url, wall) as other:
        for number in range(20):
            outcomes = await asyncio.gather(*(w.submit_one(buy(brand, 1, f"a{number}")) for w in (one, other)))
            assert sorted(o.status for o in outcomes) == [Status.ACCEPTED, Status.DUPLICATE]

    assert len(await trail_of(pool, 1)) == 20


# ---------------------------------------------------------------- stopping


async def test_stopping_finishes_what_was_accepted(database_url, pool, brand, wall) -> None:
    async with pool.acquire() as beside, writing(database_url, wall) as writer:
        transaction = beside.transaction()
        await transaction.start()
        await beside.execute("SELECT 1 FROM customer FOR UPDATE")
        sent = [asyncio.create_task(writer.submit_one(buy(brand, c, "a"))) for c in CUSTOMER_IDS]
        await waiting_for_a_lock(pool)
        # The writer is asked to stop before the lock is given back.
        giving_back = asyncio.create_task(transaction.commit())

    await giving_back
    assert await asyncio.gather(*sent) == [ACCEPTED] * len(CUSTOMER_IDS)
    assert await pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'activity'") == len(CUSTOMER_IDS)


async def test_after_the_stop_nothing_is_accepted(database_url, pool, brand, wall) -> None:
    async with writing(database_url, wall) as writer:
        pass

    with pytest.raises(NotSaved):
        await writer.submit_one(buy(brand, 1, "a"))
    with pytest.raises(NotSaved):
        await writer.submit([buy(brand, 1, "a"), buy(brand, 2, "a")])
    assert await pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'activity'") == 0


async def test_a_caller_that_goes_away_stops_nothing(pool, brand, writer) -> None:
    async with pool.acquire() as beside, beside.transaction():
        await beside.execute("SELECT 1 FROM customer WHERE customer_id = 1 FOR UPDATE")
        leaving = asyncio.create_task(writer.submit_one(buy(brand, 1, "a")))
        staying = asyncio.create_task(writer.submit_one(buy(brand, 1, "b")))
        await waiting_for_a_lock(pool)
        leaving.cancel()

    assert await staying == ACCEPTED
    assert await trail_of(pool, 1) == ["a", "b"]


async def test_a_customers_time_never_runs_backwards(pool, wall, writer) -> None:
    globex = await found(pool, "globex", [milestone("Spring")], test_clock_at=None)
    noon: datetime = wall.now
    for minutes in (10, -20, 5):
        wall.advance(minutes=minutes)
        await writer.submit_one(globex.buy(1, f"a{minutes}", noon - timedelta(days=1)))

    rows = await pool.fetch("SELECT at FROM journal WHERE kind = 'activity' ORDER BY number")
    assert [row["at"] for row in rows] == [noon + timedelta(minutes=10)] * 3
