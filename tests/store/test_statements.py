"""A migration's text is split into the statements that PostgreSQL's own parser finds in it."""

from collections.abc import Iterator

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import MIGRATED_AT, Server
from tests.structure.sql_tree import pieces

from kosminar.store.migration import all_migrations, migrate
from kosminar.store.statements import split

STATEMENTS = [
    "SELECT 1",
    "SELECT 'a;b'",
    "SELECT 'it''s; -- no comment'",
    "SELECT 'a backslash \\', ';'",
    "SELECT E'it\\'s; ''so''; \\\\', e';'",
    'SELECT 1 AS "a;""b"',
    "SELECT $$;'$$",
    "SELECT $a$;$$;$b$;$a$",
    "SELECT $é1$;$é1$",
    "DO $body$ BEGIN PERFORM 1; PERFORM '$$'; END $body$",
    "SELECT price$1 FROM (SELECT 2 AS price$1) AS a$b$c",
    "SELECT 1 -- ; '",
    "SELECT 1 /* ; /* nested ; */ ' ; */ + 2",
    "SELECT 4 - -- two\n 2",
    "CREATE RULE r AS ON UPDATE TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "SELECT 'é', U&'d\\0061t;'",
    "SELECT date'2026-01-01'",
    "",
]
BETWEEN = [";", " ;\n", ";-- ; a comment\n", ";/* ; */", "\n;;\n", "; /* /* ; */ */ ; "]
BEFORE = ["", "-- Why; '\n", "/* $$ ; */ ", "\n\n"]


@given(
    st.lists(st.tuples(st.sampled_from(BEFORE), st.sampled_from(STATEMENTS), st.sampled_from(BETWEEN))), st.booleans()
)
def test_the_statements_are_those_of_postgresqls_parser(parts: list[tuple[str, str, str]], ended: bool) -> None:
    text = "".join(before + statement + "\n" + between for before, statement, between in parts)
    text += "" if ended else "SELECT 'the last'"

    assert split(text) == pieces(text)


@pytest.mark.parametrize("text", ["", "  \n", "-- Nothing.", "/* Nothing; */ ;; -- ;", ";"])
def test_a_text_of_comments_is_no_statement(text: str) -> None:
    assert split(text) == []


@pytest.mark.parametrize(
    "text", ["SELECT 'open; ", 'SELECT "open; ', "SELECT $a$ open; $$;", "SELECT 1 /* open /* ; */;"]
)
def test_what_is_never_closed_stays_one_statement_which_postgresql_refuses(text: str) -> None:
    assert split(text) == [text.strip()]


@pytest.mark.parametrize("sql", [one.sql for one in all_migrations()], ids=[one.name for one in all_migrations()])
def test_every_migration_is_split_as_postgresql_reads_it(sql: str) -> None:
    assert split(sql) == pieces(sql)
    assert split(sql)


@pytest.fixture
def bare_database_url(database_server: Server) -> Iterator[str]:
    name = database_server.create_database("template0")
    yield database_server.url(name)
    database_server.drop_database(name)


@pytest.mark.asyncio
async def test_a_migration_is_sent_statement_by_statement(bare_database_url: str) -> None:
    sent: list[str] = []
    connection = await asyncpg.connect(bare_database_url)
    connection.add_query_logger(lambda query: sent.append(query.query))

    await migrate(connection, now=MIGRATED_AT)
    # The driver tells of a query once it has gone on.
    await connection.fetchval("SELECT 1")
    await connection.close()

    assert [query for query in sent if len(pieces(query)) > 1] == []
    for one in all_migrations():
        assert [statement for statement in split(one.sql) if sent.count(statement) != 1] == []
