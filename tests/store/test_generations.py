"""When a generation begins and when not, and what jumps with it. A database that was restored says of its newest
generation that it began on another server; that is written here by hand, and is real in test_restored_ids.py and
test_failover.py.
"""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from tests.conftest import MIGRATED_AT
from tests.store.running import kosminar

from kosminar.core.period import numbered_id
from kosminar.engine import doctor
from kosminar.store import generations
from kosminar.store.definitions import ID_LIMIT
from kosminar.store.generations import ClockBehind, Comparison, Generation, Home
from kosminar.store.migration import migrate

NOW = datetime(2026, 11, 28, 9, 30, 0, 123456, tzinfo=UTC)
NUMBER = (NOW - MIGRATED_AT) // timedelta(microseconds=1)

# Of the catalogue, whatever anybody adds to it: every column and every sequence that numbers things.
IDENTITIES = """
SELECT table_name, column_name, pg_get_serial_sequence(quote_ident(table_name), column_name) AS sequence
  FROM information_schema.columns
 WHERE table_schema = 'public' AND (is_identity = 'YES' OR column_default LIKE 'nextval%')
"""
SEQUENCES = "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE schemaname = 'public'"


async def come_from_elsewhere(connection: asyncpg.Connection) -> None:
    """As if pg_restore had brought the database here from another server."""
    await connection.execute("UPDATE generation SET server_id = 1")


async def numbers(connection: asyncpg.Connection) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT generation FROM generation ORDER BY 1")]


@pytest_asyncio.fixture
async def plain(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The same connection as a role that owns the tables and may do nothing else, as at a provider's."""
    role = f"plain_{await connection.fetchval('SELECT pg_backend_pid()')}"
    await connection.execute(f"CREATE ROLE {role}")
    await connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    await connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    await connection.execute(f"SET ROLE {role}")
    yield connection
    await connection.execute("RESET ROLE")
    await connection.execute(f"DROP OWNED BY {role}")
    await connection.execute(f"DROP ROLE {role}")


# ---------------------------------------------------------------- when one begins


@pytest.mark.asyncio
async def test_the_first_generation_is_made_with_the_schema_and_knows_its_server(
    connection: asyncpg.Connection,
) -> None:
    compared = await generations.compare(connection)

    assert compared is not None
    assert compared.newest == Generation(0, MIGRATED_AT, compared.here)
    assert compared.here.timeline == 1


@pytest.mark.asyncio
async def test_on_the_same_server_none_begins(connection: asyncpg.Connection) -> None:
    assert await generations.keep(connection, now=NOW) is None
    assert await numbers(connection) == [0]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "elsewhere", ["server_id = server_id + 1", "timeline = timeline + 1", "table_id = table_id + 1"]
)
async def test_on_another_server_or_timeline_one_begins_once(connection: asyncpg.Connection, elsewhere: str) -> None:
    await connection.execute(f"UPDATE generation SET {elsewhere}")

    begun = [await generations.keep(connection, now=NOW + timedelta(hours=hours)) for hours in range(3)]

    assert begun == [NUMBER, None, None]
    assert await numbers(connection) == [0, NUMBER]


@pytest.mark.asyncio
async def test_of_many_that_notice_at_once_one_begins_it(database_url: str) -> None:
    connections = [await asyncpg.connect(database_url) for _ in range(8)]
    await come_from_elsewhere(connections[0])

    begun = await asyncio.gather(
        *(generations.keep(one, now=NOW + timedelta(seconds=n)) for n, one in enumerate(connections))
    )

    assert len([number for number in begun if number is not None]) == 1
    assert len(await numbers(connections[0])) == 2
    await asyncio.gather(*(one.close() for one in connections))


@pytest.mark.asyncio
async def test_migrating_begins_one_where_it_is_due(connection: asyncpg.Connection) -> None:
    await come_from_elsewhere(connection)

    await migrate(connection, now=NOW)

    assert await numbers(connection) == [0, NUMBER]


@pytest.mark.asyncio
async def test_a_database_older_than_generations_begins_with_0_unless_it_was_restored() -> None:
    first, restored = (Comparison(None, Home(1, 1, timeline), read_only=False) for timeline in (1, 2))

    assert (first.copied, restored.copied) == (False, True)
    assert first.incomplete


@pytest.mark.asyncio
async def test_before_the_schema_has_generations_a_connection_is_left_alone(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)

    assert await generations.keep(connection, now=NOW) is None
    await connection.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("setting", ["default_transaction_read_only"])
async def test_on_a_read_only_server_nothing_is_written(database_url: str, setting: str) -> None:
    writing = await asyncpg.connect(database_url)
    await come_from_elsewhere(writing)
    reading = await asyncpg.connect(database_url, server_settings={setting: "on"})

    assert await generations.keep(reading, now=NOW) is None
    assert await numbers(reading) == [0]
    await reading.close()
    await writing.close()


@pytest.mark.asyncio
async def test_a_machine_whose_clock_is_behind_begins_none_and_says_so(connection: asyncpg.Connection) -> None:
    await come_from_elsewhere(connection)
    await connection.execute("UPDATE generation SET began_at = $1", NOW)

    with pytest.raises(ClockBehind, match=r"Set the clock \(NTP\)"):
        await generations.keep(connection, now=NOW - timedelta(microseconds=1))

    assert await numbers(connection) == [0]
    assert await generations.keep(connection, now=NOW) == NUMBER


@pytest.mark.asyncio
async def test_two_that_begin_within_a_microsecond_of_each_other_differ(connection: asyncpg.Connection) -> None:
    begun = [
        await generations.begin(connection, now=NOW),
        await generations.begin(connection, now=NOW + timedelta(microseconds=1)),
    ]

    assert begun == [NUMBER, NUMBER + 1]
    with pytest.raises(ClockBehind):
        await generations.begin(connection, now=NOW + timedelta(microseconds=1))


# ---------------------------------------------------------------- what jumps


@pytest.mark.asyncio
async def test_every_identity_of_the_catalogue_jumps(connection: asyncpg.Connection) -> None:
    owned = {row["sequence"]: row["column_name"] for row in await connection.fetch(IDENTITIES)}
    sequences = {row[0] for row in await connection.fetch(SEQUENCES)}

    await generations.begin(connection, now=NOW)
    given = {name: await connection.fetchval("SELECT nextval($1::text::regclass)", name) for name in sequences}

    assert sequences - owned.keys() == {"public.generated_customer_id", "public.definition_id"}
    assert {name for name, number in given.items() if number != NUMBER} == {"public.definition_id"}
    # 256 times lower, so that a group's id with a period's number fits in 2^53.
    assert given["public.definition_id"] == NUMBER >> 8
    assert NUMBER < 2**53


@pytest.mark.asyncio
async def test_of_ten_thousand_generations_each_has_room_for_definitions_below_2_to_the_43(
    connection: asyncpg.Connection,
) -> None:
    """Spread over the 71 years for which there is room; the years are the bound, and not how many there are."""
    seventy_one_years = timedelta(days=25_915)
    numbers = [(n + 1) * seventy_one_years // 10_000 // timedelta(microseconds=1) for n in range(10_000)]
    floors = [generations.floor_of_definitions(number) for number in numbers]

    assert numbered_id(floors[-1], 1_000) < 2**53
    assert (
        floors[-1]
        < ID_LIMIT
        == 1 + await connection.fetchval("SELECT max_value FROM pg_sequences WHERE sequencename = 'definition_id'")
    )
    # From one generation to the next, three and a half thousand a second for two days and a half.
    assert min(later - earlier for earlier, later in pairwise(floors)) > 3_500 * 86_400 * 2.5


@pytest.mark.asyncio
async def test_the_sequence_of_definitions_ends_before_its_ids_outgrow_javascript(
    connection: asyncpg.Connection,
) -> None:
    await connection.execute("SELECT setval('definition_id', $1)", ID_LIMIT - 2)

    assert await connection.fetchval("SELECT nextval('definition_id')") == ID_LIMIT - 1
    with pytest.raises(asyncpg.SequenceGeneratorLimitExceededError):
        await connection.fetchval("SELECT nextval('definition_id')")


@pytest.mark.asyncio
async def test_ids_that_are_higher_already_stay_so_and_those_one_lower_jump(connection: asyncpg.Connection) -> None:
    await connection.execute("SELECT setval('generated_customer_id', $1)", NUMBER)
    await connection.execute("SELECT setval('definition_id', $1)", (NUMBER >> 8) - 1)

    await generations.begin(connection, now=NOW)

    assert await connection.fetchval("SELECT nextval('generated_customer_id')") == NUMBER + 1
    assert await connection.fetchval("SELECT nextval('definition_id')") == NUMBER >> 8


@pytest.mark.asyncio
async def test_ids_have_jumped_when_the_generation_is_seen(database_url: str, connection: asyncpg.Connection) -> None:
    other = await asyncpg.connect(database_url)
    async with connection.transaction():
        await generations.begin(connection, now=NOW)
        seen_meanwhile = await numbers(other)
        given_meanwhile = await other.fetchval("SELECT nextval('definition_id')")

    assert seen_meanwhile == [0]
    assert given_meanwhile == NUMBER >> 8
    await other.close()


# ---------------------------------------------------------------- a server that does not tell which one it is


@pytest.mark.asyncio
async def test_an_ordinary_role_notices_a_copy(plain: asyncpg.Connection) -> None:
    await come_from_elsewhere(plain)

    assert await generations.keep(plain, now=NOW) == NUMBER


@pytest.mark.asyncio
async def test_where_the_server_does_not_tell_nothing_begins_and_doctor_says_what_to_do(
    plain: asyncpg.Connection,
) -> None:
    await plain.execute("RESET ROLE")
    await plain.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await plain.execute(f"SET ROLE plain_{await plain.fetchval('SELECT pg_backend_pid()')}")
    await come_from_elsewhere(plain)

    assert await generations.keep(plain, now=NOW) is None
    assert await generations.begin(plain, now=NOW) == NUMBER
    check = await doctors(plain)
    assert check.healthy
    assert re.search(r"does not tell which one it is.*--new-generation", check.found)


@pytest.mark.asyncio
async def test_a_server_that_tells_later_on_is_noted_without_a_new_generation(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE generation SET server_id = NULL, timeline = NULL")

    assert await generations.keep(connection, now=NOW) is None

    compared = await generations.compare(connection)
    assert compared is not None
    assert compared.newest == Generation(0, MIGRATED_AT, compared.here)


@pytest.mark.asyncio
async def test_doctor_names_a_copy_whose_generation_has_not_begun(connection: asyncpg.Connection) -> None:
    before = await doctors(connection)
    await come_from_elsewhere(connection)
    copied = await doctors(connection)

    assert (before.healthy, before.found) == (True, "0")
    assert not copied.healthy
    assert "kosminar migrate" in copied.advice


async def doctors(connection: asyncpg.Connection) -> doctor.Check:
    (check,) = [one for one in await doctor.examine(connection, now=NOW) if one.name == "generation"]
    return check


# ---------------------------------------------------------------- copies within one server


def test_a_dump_is_noticed_in_whatever_server_it_is_restored(
    database_server, database_url: str, tmp_path: Path
) -> None:
    """Here in the very server that it came from, as after a table was dropped by mistake."""
    name = database_server.create_database("template0")
    copy = database_server.url(name)
    programs = Path(asyncio.run(asked(database_url, "SELECT setting FROM pg_config() WHERE name = 'BINDIR'")))
    dump = ["pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", database_url]
    restore = [
        "pg_restore",
        "--no-owner",
        "--clean",
        "--if-exists",
        f"--dbname={copy}",
        tmp_path / "dump",
    ]
    for program, *arguments in (dump, restore):
        subprocess.run([programs / program, *arguments], check=True)

    async def kept() -> tuple[int | None, list[int]]:
        connection = await asyncpg.connect(copy)
        begun = await generations.keep(connection, now=NOW)
        found = await numbers(connection)
        await connection.close()
        return begun, found

    assert asyncio.run(kept()) == (NUMBER, [0, NUMBER])
    database_server.drop_database(name)


def test_a_copy_that_looks_like_its_origin_begins_one_by_hand(database_server, database_url: str) -> None:
    """What docs/operations.md says of copies by cp, by snapshot and by CREATE DATABASE ... TEMPLATE."""
    name = database_server.create_database(urlsplit(database_url).path.removeprefix("/"))
    copy = database_server.url(name)

    noticed = kosminar("migrate", "--database-url", copy)
    before = asyncio.run(asked(copy, "SELECT count(*) FROM generation"))
    kosminar("migrate", "--new-generation", "--database-url", copy)
    after = asyncio.run(asked(copy, "SELECT count(*) FROM generation"))
    database_server.drop_database(name)

    assert "up to date" in noticed
    assert (before, after) == (1, 2)


async def asked(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
