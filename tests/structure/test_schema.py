"""The rules of the schema, read off the migrated database: whose each row is, and what a distributed database needs."""

from typing import Any

import asyncpg
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio

# Tables that belong to no organisation. A new one is a visible decision.
OF_THE_HOUSE = {
    "migration": "What was applied to the schema.",
    "generation": "Whether the database is a copy concerns the whole house.",
    "signing_key": "One key signs every organisation's tokens.",
    "place": "The buckets, and nothing else.",
}
BUCKETED = {
    "customer",
    "customer_identifier",
    "journal",
    "standing",
    "ended_period",
    "reward",
    "notification",
    "delivery",
    "webhook_queue",
    "idempotency_key",
    "idempotency_result",
    "counter_change",
    "counter_total",
    "place",
}
# Of a group, and of no customer; and the buckets themselves.
OF_GROUPS = {"counter_change", "counter_total"}
NOT_OF_CUSTOMERS = OF_GROUPS | {"place"}
# An Idempotency-Key belongs to whoever calls; its bucket is the key's own.
OF_CALLERS = {"idempotency_key", "idempotency_result"}

COLUMNS = """
SELECT c.table_name, c.column_name, c.is_nullable = 'YES' AS nullable, c.column_default
  FROM information_schema.columns AS c
  JOIN information_schema.tables AS t
    ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE'
 WHERE c.table_schema = 'public'
 ORDER BY c.table_name, c.ordinal_position
"""
UNIQUE_INDEXES = """
SELECT x.indrelid::regclass::text AS table_name, i.relname AS name, x.indisprimary AS is_primary,
       ARRAY(SELECT coalesce(a.attname::text, '(expression)')
               FROM unnest(x.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
               LEFT JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number AND k.number > 0
              ORDER BY k.place) AS columns
  FROM pg_index AS x
  JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE x.indisunique AND i.relnamespace = 'public'::regnamespace
"""
FOREIGN_KEYS = """
SELECT c.conname AS name, c.conrelid::regclass::text AS from_table, c.confrelid::regclass::text AS to_table,
       ARRAY(SELECT a.attname::text
               FROM unnest(c.conkey) AS k
               JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k) AS columns
  FROM pg_constraint AS c
 WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
"""
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
RULES = "SELECT rulename FROM pg_rules WHERE schemaname = 'public'"
# Functions in defaults, other than the one behind an identity column, which has no default.
VOLATILE_DEFAULTS = """
SELECT d.adrelid::regclass::text AS table_name, pg_get_expr(d.adbin, d.adrelid) AS default_
  FROM pg_attrdef AS d
  JOIN pg_class AS c ON c.oid = d.adrelid AND c.relnamespace = 'public'::regnamespace
 WHERE EXISTS (SELECT 1
                 FROM pg_depend AS p
                 JOIN pg_proc AS f ON p.refclassid = 'pg_proc'::regclass AND f.oid = p.refobjid
                WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND f.provolatile <> 'i')
    OR pg_get_expr(d.adbin, d.adrelid) ~ '[(]|CURRENT|LOCAL'
"""


@pytest_asyncio.fixture
async def columns(connection: asyncpg.Connection) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for row in await connection.fetch(COLUMNS):
        tables.setdefault(row["table_name"], {})[row["column_name"]] = row
    return tables


async def test_every_table_belongs_to_an_organisation(columns: dict[str, dict[str, Any]]) -> None:
    strays = {name for name, its in columns.items() if "organisation_id" not in its}

    assert strays == OF_THE_HOUSE.keys()
    assert [name for name, its in columns.items() if name not in strays and its["organisation_id"]["nullable"]] == []


async def test_the_customer_keyed_tables_are_these_and_their_bucket_is_never_unknown(
    columns: dict[str, dict[str, Any]],
) -> None:
    assert {name for name, its in columns.items() if "bucket" in its} == BUCKETED
    assert [name for name in BUCKETED if columns[name]["bucket"]["nullable"]] == []
    # What speaks of one customer lives in that customer's bucket.
    assert {name for name, its in columns.items() if "customer_id" in its} == BUCKETED - OF_CALLERS - NOT_OF_CUSTOMERS


async def test_a_customer_keyed_tables_key_starts_with_bucket_and_every_unique_index_contains_it(
    connection: asyncpg.Connection,
) -> None:
    indexes = [row for row in await connection.fetch(UNIQUE_INDEXES) if row["table_name"] in BUCKETED]

    # A total of all days has no day, and a primary key takes no NULL.
    keys = {
        row["table_name"]: row["columns"] for row in indexes if row["is_primary"] or row["name"] == "counter_total_key"
    }
    assert keys.pop("place") == ["bucket"]
    named = BUCKETED - {"place"}
    assert {name: key[:2] for name, key in keys.items()} == {name: ["bucket", "organisation_id"] for name in named}
    assert [row["name"] for row in indexes if "bucket" not in row["columns"]] == []


async def test_a_unique_index_of_an_organisations_names_contains_the_organisation_or_what_belongs_to_it(
    connection: asyncpg.Connection,
) -> None:
    # A username says who signs in before any organisation is known; the rest hangs on a row that has one.
    owners = {"organisation_id", "target_group_id", "target_id", "access_group_id"}
    across = {"api_user_username_key", "oauth_client_client_key_key"}

    indexes = [row for row in await connection.fetch(UNIQUE_INDEXES) if not row["is_primary"]]

    assert {row["name"] for row in indexes if owners.isdisjoint(row["columns"])} == across


async def test_there_are_no_triggers_rules_or_volatile_defaults(connection: asyncpg.Connection) -> None:
    for query in (TRIGGERS, RULES, VOLATILE_DEFAULTS):
        assert [tuple(row) for row in await connection.fetch(query)] == []


async def test_no_foreign_key_points_from_an_unbucketed_table_to_a_bucketed_one(
    connection: asyncpg.Connection,
) -> None:
    keys = await connection.fetch(FOREIGN_KEYS)

    inward = [row["name"] for row in keys if row["to_table"] in BUCKETED and row["from_table"] not in BUCKETED]
    assert inward == []
    # From bucket to bucket only within one.
    between = [row for row in keys if row["to_table"] in BUCKETED]
    assert between
    assert [row["name"] for row in between if "bucket" not in row["columns"]] == []


async def test_every_customer_keyed_table_but_the_customer_hangs_on_the_customer(
    connection: asyncpg.Connection,
) -> None:
    keys = await connection.fetch(FOREIGN_KEYS)

    hanging = {"customer"}
    while more := {row["from_table"] for row in keys if row["to_table"] in hanging} - hanging:
        hanging |= more
    # An identifier lives in the bucket of its own value, so that no key can reach its customer. A journal entry is
    # only added where its customer is locked (ADR-0045).
    assert hanging == BUCKETED - {"customer_identifier", "journal"} - OF_CALLERS - NOT_OF_CUSTOMERS


async def test_instants_have_a_zone_and_no_column_is_a_binary_float(connection: asyncpg.Connection) -> None:
    found = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type IN ('timestamp without time zone', 'time without time zone', 'real', 'double precision')"
    )

    assert [tuple(row) for row in found] == []
