"""What is tried again and what is raised: PostgreSQL itself reports each error, by its code."""

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from kosminar.engine.meters import Meters
from kosminar.engine.retry import ATTEMPT_COUNT_MAX, Interrupted, NotSaved, Overtaken, in_attempts

pytestmark = pytest.mark.asyncio

DEADLOCK, SERIALIZATION, NO_LOCK = "40P01", "40001", "55P03"
DISK_FULL, CHECK, NO_NUMBER = "53100", "23514", "22003"


@pytest_asyncio.fixture
async def pool(database_url):
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        yield pool


class Work:
    """Fails as often as it has failures: a code that PostgreSQL reports, or an exception of ours."""

    def __init__(self, *failures: str | Exception) -> None:
        self.failures = list(failures)
        self.attempt_count = 0

    async def __call__(self, connection: asyncpg.Connection) -> str:
        self.attempt_count += 1
        if not self.failures:
            return "done"
        failure = self.failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        async with connection.transaction():
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{failure}'; END $$")
        raise AssertionError("PostgreSQL raises")


async def run(pool: asyncpg.Pool, work: Work, meters: Meters | None = None) -> str:
    return await in_attempts(pool, work, retried_event="work_retried", meters=meters or Meters())


@pytest.mark.parametrize("failure", [DEADLOCK, SERIALIZATION, NO_LOCK, Interrupted(), Overtaken()])
async def test_work_that_another_transaction_interrupts_is_done_again_logged_and_counted(pool, failure) -> None:
    work, meters = Work(failure), Meters()

    with capture_logs() as logs:
        assert await run(pool, work, meters) == "done"

    assert work.attempt_count == 2
    assert [(line["event"], line["attempt"], line["log_level"]) for line in logs] == [("work_retried", 1, "info")]
    assert meters.registry.get_sample_value("kosminar_writer_batch_retries_total") == 1


@pytest.mark.parametrize("failure", [DEADLOCK, SERIALIZATION, NO_LOCK, Interrupted()])
async def test_ten_attempts_are_made_and_no_eleventh(pool, failure) -> None:
    nearly, once_too_often = (Work(*[failure] * count) for count in (ATTEMPT_COUNT_MAX - 1, ATTEMPT_COUNT_MAX))

    assert await run(pool, nearly) == "done"
    with pytest.raises(NotSaved, match="deadlocks"):
        await run(pool, once_too_often)

    assert ATTEMPT_COUNT_MAX == 10
    assert (nearly.attempt_count, once_too_often.attempt_count) == (10, 10)


async def test_an_attempt_that_was_overtaken_is_not_counted(pool) -> None:
    work = Work(*[Overtaken()] * 25, *[DEADLOCK] * (ATTEMPT_COUNT_MAX - 1))

    assert await run(pool, work) == "done"


async def test_a_database_that_refuses_is_not_asked_again(pool) -> None:
    work = Work(DISK_FULL)

    with pytest.raises(NotSaved, match="could not take the change") as caught:
        await run(pool, work)

    assert isinstance(caught.value.__cause__, asyncpg.DiskFullError)
    assert work.attempt_count == 1


async def test_a_connection_that_breaks_is_not_saved_and_the_next_work_has_another_connection(pool) -> None:
    async def end_the_session(connection: asyncpg.Connection) -> None:
        connection.terminate()
        await connection.execute("SELECT 1")

    with pytest.raises(NotSaved, match="could not be reached"):
        await in_attempts(pool, end_the_session, retried_event="work_retried", meters=Meters())

    assert await run(pool, Work()) == "done"


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        pytest.param(CHECK, asyncpg.CheckViolationError, id="a constraint"),
        pytest.param(NO_NUMBER, asyncpg.DataError, id="a value"),
        pytest.param(KeyError("ours"), KeyError, id="our own mistake"),
    ],
)
async def test_what_a_request_or_we_ourselves_caused_is_raised_as_it_is(pool, failure, raised) -> None:
    work = Work(failure)

    with pytest.raises(raised):
        await run(pool, work)

    assert work.attempt_count == 1
