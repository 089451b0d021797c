"""Rule 4 of ADR-0041: nothing is decided from a command tag, the driver's "INSERT 0 5".

On a distributed database it counts the rows that were proposed, of which some may have been there. RETURNING counts.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.structure.sql_tree import statements

import kosminar
from kosminar.store.queries import load

SOURCE = Path(kosminar.__file__).parent

# The methods of asyncpg that answer with a command tag, and of ours (Query.run) the one that calls them.
ANSWER_WITH_A_TAG = {
    "execute",
    "executemany",
    "copy_from_query",
    "copy_from_table",
    "copy_records_to_table",
    "copy_to_table",
    "get_statusmsg",
}
READS_ROWS = re.compile(r'QUERIES\["([a-z_]+)"\]\s*\.(?:rows|row|value)\(')
# A part of a save of which every row must be written (store/saving.py).
COUNTS_ROWS = re.compile(r'Part\(QUERIES\["([a-z_]+)"\].*\blost=')


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), path.read_text(encoding="utf-8")


def tag_readers(text: str) -> list[int]:
    """The lines on which a method that answers with a tag is named, but for a plain `await ...execute(...)`."""
    tree = ast.parse(text)
    dropped = {
        id(node.value.value.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Await) and isinstance(node.value.value, ast.Call)
    }
    return sorted(node.lineno for node in ast.walk(tree) if _answers_with_a_tag(node) and id(node) not in dropped)


def _answers_with_a_tag(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Subscript(value=ast.Name(id="QUERIES")), attr="run"):
            return True
        case ast.Attribute(attr=name):
            return name in ANSWER_WITH_A_TAG
    return False


def test_no_command_tag_is_read_anywhere() -> None:
    assert [(path, line) for path, text in sources() for line in tag_readers(text)] == []


def test_the_two_places_that_execute_are_seen() -> None:
    executing = {path for path, text in sources() if re.search(r"\.execute\(", text)}

    assert executing == {"store/queries.py", "store/migration.py"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("await connection.execute(sql)", []),
        ('await QUERIES["save"].run(connection)', []),
        ("await loop.run(connection)", []),
        ("done = await connection.execute(sql)", [2]),
        ("return await connection.execute(sql)", [2]),
        ("assert await connection.execute(sql) == 'UPDATE 1'", [2]),
        ("await note(await connection.executemany(sql, rows))", [2]),
        ("return connection.execute(sql)", [2]),
        ("execute = connection.execute", [2]),
        ('written = await QUERIES["save"].run(connection)', [2]),
        ("await gather(QUERIES['save'].run(connection))", [2]),
        ("return statement.get_statusmsg()", [2]),
        ("count = await connection.copy_records_to_table('fact', records=rows)", [2]),
    ],
)
def test_whatever_does_more_with_it_than_to_wait_is_found(line: str, found: list[int]) -> None:
    assert tag_readers(f"async def one():\n    {line}\n") == found


def test_what_is_counted_comes_from_a_select_or_from_returning() -> None:
    """Rows that a statement does not return would be counted as none, whatever it did."""
    reading = {name for _, text in sources() for use in (READS_ROWS, COUNTS_ROWS) for name in use.findall(text)}
    queries = [query for path in (SOURCE / "store/sql").glob("*.sql") for query in load(path.stem).values()]

    silent = []
    for query in queries:
        ((kind, fields),) = statements(query.text)[0].items()
        if query.name in reading and kind != "SelectStmt" and "returningList" not in fields:
            silent.append(query.name)
    assert {"save_rewards", "insert_idempotency_results", "lease_queue", "take_probe", "park_expired"} <= reading
    assert silent == []
