"""Rule 8 of ADR-0041, and which buckets lie together. Functions stand in for Citus, which cannot be installed here."""

from importlib.resources import files

import asyncpg
import pytest
from tests.store.citus_stand_in import stand_in

from kosminar.core.bucket import BUCKET_COUNT
from kosminar.store.distribution import ONE_GROUP, Groups, load_groups
from kosminar.store.statements import split

pytestmark = pytest.mark.asyncio

SCRIPT = (files("kosminar.store") / "distribution.sql").read_text(encoding="utf-8")

TABLES = """
SELECT t.relname AS name, 'bucket' = ANY(ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = t.oid)) AS bucketed
  FROM pg_class AS t
 WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')
"""
KEYS = """
SELECT conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)
  FROM pg_constraint
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace
 ORDER BY 1, 2
"""


async def distribute(connection: asyncpg.Connection, script: str = SCRIPT) -> None:
    for statement in split(script):
        await connection.execute(statement)


async def test_reference_and_distributed_tables_are_all_tables_but_migration(connection: asyncpg.Connection) -> None:
    await stand_in(connection)

    await distribute(connection)

    tables = {row["name"]: row["bucketed"] for row in await connection.fetch(TABLES)}
    found = {
        row["logicalrelid"]: row["partmethod"] == "h"
        for row in await connection.fetch("SELECT logicalrelid::text, partmethod FROM pg_dist_partition")
    }
    assert tables.pop("migration") is False
    assert found == tables


async def test_distributed_tables_lie_together_in_shards_of_buckets(connection: asyncpg.Connection) -> None:
    await stand_in(connection)

    await distribute(connection)

    rows = await connection.fetch(
        "SELECT logicalrelid::text, shard_count, colocated_with FROM pg_dist_partition WHERE partmethod = 'h'"
    )
    assert {(row["shard_count"], row["colocated_with"]) for row in rows if row["logicalrelid"] == "customer"} == {
        (32, "default")
    }
    assert {(row["shard_count"], row["colocated_with"]) for row in rows if row["logicalrelid"] != "customer"} == {
        (None, "customer")
    }


async def test_every_foreign_key_is_as_it_was(connection: asyncpg.Connection) -> None:
    before = [tuple(row) for row in await connection.fetch(KEYS)]
    await stand_in(connection)

    await distribute(connection)

    assert [tuple(row) for row in await connection.fetch(KEYS)] == before


async def test_a_key_between_tables_that_are_not_distributed_yet_would_be_refused(
    connection: asyncpg.Connection,
) -> None:
    await stand_in(connection)
    kept = "ALTER TABLE standing DROP CONSTRAINT standing_of_a_customer;"
    assert kept in SCRIPT

    with pytest.raises(asyncpg.RaiseError, match="cannot distribute customer: foreign key standing_of_a_customer"):
        await distribute(connection, SCRIPT.replace(kept, ""))


async def test_on_one_postgresql_all_buckets_lie_together(connection: asyncpg.Connection) -> None:
    assert await load_groups(connection) == ONE_GROUP
    assert ONE_GROUP.count == 1
    assert {ONE_GROUP.group_of(bucket) for bucket in range(BUCKET_COUNT)} == {0}


async def test_citus_alone_parts_no_buckets_before_the_tables_are_distributed(connection: asyncpg.Connection) -> None:
    await stand_in(connection)

    assert (await load_groups(connection)).numbers == ONE_GROUP.numbers


async def test_where_citus_is_the_parts_of_a_save_are_not_joined(connection: asyncpg.Connection) -> None:
    found = [await load_groups(connection)]
    await stand_in(connection)
    found.append(await load_groups(connection))
    await distribute(connection)
    found.append(await load_groups(connection))

    assert [groups.joined for groups in found] == [True, False, False]


async def test_on_citus_the_buckets_of_a_shard_lie_together(connection: asyncpg.Connection) -> None:
    await stand_in(connection)
    await distribute(connection)

    groups = await load_groups(connection)

    shards = {bucket: 102008 + bucket * 7 % 32 for bucket in range(BUCKET_COUNT)}
    assert groups == Groups.of_shards(shards)
    assert groups.count == 32
    for bucket in range(BUCKET_COUNT):
        assert [other for other in shards if groups.group_of(other) == groups.group_of(bucket)] == [
            other for other in shards if shards[other] == shards[bucket]
        ]
