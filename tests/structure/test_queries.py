"""Every statement in store/sql: it prepares, it is used once, it says whose rows it means, and it knows the bucket."""

import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from tests.store.citus_stand_in import stand_in

import kosminar.store
from kosminar.store.queries import Query, load

STORE = Path(kosminar.store.__file__).parent
QUERIES = {path.stem: load(path.stem) for path in sorted((STORE / "sql").glob("*.sql"))}
NAMED = [(noun, query) for noun, queries in QUERIES.items() for query in queries.values()]

# What says whose rows a statement means. Lock keys are made of the organisation's id; whole rows carry it.
ORGANISATION = {"organisation_id", "organisation_ids", "key", "keys", "rows"}

# Statements that cross organisations, or name none. A new one is a visible decision.
SYSTEM_SCOPE = {
    "find_api_user": "Who signs in names no organisation.",
    "find_oauth_client": "Who signs in names no organisation.",
    "find_secret_of_api_user": "Who signs in names no organisation.",
    "find_secret_of_oauth_client": "Who signs in names no organisation.",
    "insert_signing_key": "One key signs for all organisations.",
    "list_signing_keys": "One key signs for all organisations.",
    "list_verifying_keys": "One key signs for all organisations.",
    "has_citus": "Reads no table of ours.",
    "list_shards": "Reads no table of ours.",
    "plan_as_usual": "How a connection plans is no organisation's.",
    "plan_sums_by_hash": "How a connection plans is no organisation's.",
    "plan_by_key": "How a connection plans is no organisation's.",
    "retire_signing_keys": "One key signs for all organisations.",
    "insert_organisation": "There is no organisation before it.",
    "list_organisations": "The closer looks round everywhere at start.",
    "list_organisations_due": "The closer follows every organisation's clock.",
    "list_customer_page": "The audit walks through every customer of the house.",
    "list_identifier_page": "The audit walks through every identifier of the house.",
    "list_strays": "The audit looks for what belongs to nobody.",
    "count_customers": "The audit says how far it is through the house.",
    "take_generated_customer_ids": "One sequence for the house, so that no id is given twice.",
    "take_definition_ids": "One sequence for the house, so that no id is given twice.",
    "find_oldest_period_end": "The metrics tell of the house, and of no organisation.",
    "count_waiting_deliveries": "The metrics tell of the house, and of no organisation.",
    "find_oldest_delivery": "The metrics tell of the house, and of no organisation.",
    "find_oldest_due_queue": "The metrics tell of the house, and of no organisation.",
    "list_endpoints_due": "The courier looks round everywhere.",
    "list_removed_endpoints": "The housekeeper looks round everywhere.",
    "take_counter_changes": "One job adds the changes of every organisation.",
    "purge_idempotency_keys": "Old keys of every organisation are forgotten.",
    "ping": "Reads no table.",
    "fetch_server_facts": "Reads no table of ours.",
    "fetch_recovery": "Reads no table of ours.",
    "compare_generation": "The generation is the house's.",
    "find_newest_generation": "The generation is the house's.",
    "stay_read_only": "Reads no table.",
    "raise_identities": "Ids of every organisation jump together.",
    "insert_generation": "The generation is the house's.",
    "save_server_of_generation": "The generation is the house's.",
    "find_hindrance": "Reads no table.",
    "create_migration_table": "The schema is the house's.",
    "find_migration_table": "The schema is the house's.",
    "list_migrations": "The schema is the house's.",
    "insert_migration": "The schema is the house's.",
}
# Where a whole table is meant, bucket by bucket or not.
EVERY_BUCKET = {"count_customers": "Counts all of them."}


@pytest_asyncio.fixture
async def bucketed(connection: asyncpg.Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'bucket'"
    )
    return {row["table_name"] for row in rows}


def uses(noun: str) -> Iterator[tuple[str, str]]:
    """Of every module of the store: where it names a query."""
    for path in sorted(STORE.glob("*.py")):
        text = path.read_text()
        if f'load("{noun}")' in text:
            yield from ((path.stem, name) for name in re.findall(r'QUERIES\["([a-z_]+)"\]', text))


@pytest.mark.asyncio
async def test_every_query_prepares_against_the_migrated_schema(connection: asyncpg.Connection) -> None:
    # One asks what Citus alone has.
    await stand_in(connection)
    for noun, query in NAMED:
        for text in {query.text, query.plain}:
            try:
                statement = await connection.prepare(text)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{noun}.{query.name}: {error}")
            assert len(statement.get_parameters()) == len(query.parameters), query.name


@pytest.mark.parametrize("noun", QUERIES)
def test_each_query_is_used_in_exactly_one_module_and_none_is_unknown(noun: str) -> None:
    modules: dict[str, set[str]] = {}
    for module, name in uses(noun):
        modules.setdefault(name, set()).add(module)

    assert {name: len(where) for name, where in modules.items()} == dict.fromkeys(QUERIES[noun], 1)


def test_a_name_is_a_query_once_in_the_house_and_tells_its_purpose() -> None:
    names = [query.name for _, query in NAMED]

    assert sorted(names) == sorted(set(names))
    assert [query.name for _, query in NAMED if not query.purpose.endswith(".")] == []


def test_each_query_says_whose_rows_it_means_or_is_on_the_short_list() -> None:
    crossing = {query.name for _, query in NAMED if ORGANISATION.isdisjoint(query.parameters)}

    assert crossing == SYSTEM_SCOPE.keys()


def test_system_scope_is_announced_where_rows_of_organisations_are_read() -> None:
    announced = {query.name for _, query in NAMED if query.purpose.startswith("System scope:")}

    assert announced <= SYSTEM_SCOPE.keys()


def tables_of(query: Query, known: set[str]) -> set[str]:
    return set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)\b", query.text)) & known


@pytest.mark.asyncio
async def test_a_statement_on_customer_keyed_tables_names_the_bucket(bucketed: set[str]) -> None:
    lacking = {
        query.name for _, query in NAMED if tables_of(query, bucketed) and not re.search(r"\bbucket\b", query.text)
    }

    assert lacking == EVERY_BUCKET.keys()


@pytest.mark.asyncio
async def test_a_join_with_a_customer_keyed_table_is_by_bucket(bucketed: set[str]) -> None:
    """Two of them are joined in one place of a distributed database only if both name the bucket."""
    for _, query in NAMED:
        for table, alias, condition in re.findall(
            r"JOIN\s+([a-z_]+)\s+AS\s+([a-z]+)\s+ON\s+(.*?)(?=\n\s*(?:WHERE|ORDER|LEFT|JOIN|GROUP|LIMIT|$)|\Z)",
            query.text,
            re.DOTALL,
        ):
            if table in bucketed:
                assert re.search(rf"\b{alias}\.bucket\s*=", condition), query.name


def test_no_query_asks_the_database_for_the_time() -> None:
    clocks = r"\b(now\(\)|current_timestamp|clock_timestamp|statement_timestamp|current_date|localtime)"

    asking = {query.name for _, query in NAMED if re.search(clocks, query.text, re.IGNORECASE)}

    assert asking == {"fetch_server_facts"}
