"""SQL stands in files, and values reach it as parameters only: read from the source, so that new code is held to it too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import kosminar
from kosminar.store.queries import parse

SOURCE = Path(kosminar.__file__).parent

# The driver's methods whose first argument is SQL, or which make SQL of names.
DRIVER_METHODS = {
    "execute",
    "executemany",
    "fetch",
    "fetchrow",
    "fetchval",
    "fetchmany",
    "prepare",
    "cursor",
    "copy_from_query",
    "copy_from_table",
    "copy_to_table",
    "copy_records_to_table",
    "add_listener",
}
# Where the driver is called with SQL, and what it gets there.
RUNS_SQL = {
    ("store/queries.py", "self.text"): "A named query of a file, its parameters bound by number.",
    ("store/saving.py", "share.part.query.text"): "The same, of a part of a save that is sent by itself.",
    ("store/saving.py", "text"): "Several of them in one WITH, their parameters numbered on.",
    ("store/migration.py", "statement"): "A migration file, as it stands, statement by statement.",
}
STATEMENT = re.compile(
    r"^\s*(?:WITH\s+\w+\s+AS|SELECT\s|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|TRUNCATE\s|"
    r"(?:CREATE|ALTER|DROP)\s+(?:TABLE|INDEX|DATABASE|ROLE|SCHEMA|SEQUENCE|FUNCTION|EXTENSION|TYPE|VIEW)\b|"
    r"GRANT\s+\w+\s+ON|COPY\s+\w+\s+(?:FROM|TO)|LISTEN\s|NOTIFY\s|SET\s+(?:LOCAL\s+)?\w+\s*(?:=|TO)|LOCK\s+TABLE)",
)
# Texts that are SQL outside the files, and why no value of a caller can be in them.
OUTSIDE = {
    "store/embedded_server.py": {"CREATE DATABASE kosminar\n"},
}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8"))


def constants(tree: ast.Module) -> dict[str, str]:
    """The module's names for texts that are written out."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def docstrings(tree: ast.Module) -> set[int]:
    """Of every text that is a statement of its own: it tells, and is never run."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def rendered(node: ast.JoinedStr, known: dict[str, str]) -> str:
    """An f-string with its constants put in, and a mark for everything that is not one."""
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
            parts.append(known.get(part.value.id, "<value>"))
        else:
            parts.append("<value>")
    return "".join(parts)


def texts(tree: ast.Module) -> Iterator[str]:
    """Every text of a module that is not a docstring: literals, f-strings, and what is put together of them."""
    known, told = constants(tree), docstrings(tree)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield rendered(node, known)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told | inner:
            yield node.value


def test_the_driver_is_given_sql_where_it_is_said_and_nowhere_else() -> None:
    found = {
        (module, ast.unparse(node.args[0]))
        for module, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
        if node.func.attr in DRIVER_METHODS
        # Our own functions of these names are called on modules of the store and get a connection first.
        if ast.unparse(node.args[0]) not in ("connection", "self._connection")
    }

    assert found == RUNS_SQL.keys()


def test_no_text_outside_the_sql_files_is_sql() -> None:
    found = {
        module: statements
        for module, tree in trees()
        if (statements := {text for text in texts(tree) if STATEMENT.match(text)})
    }

    assert found == OUTSIDE


def test_the_loader_puts_numbers_where_the_names_stood_and_nothing_else() -> None:
    statement = parse("-- one\n-- Tells.\nSELECT :b::text, :a FROM t WHERE x = :b\n")["one"]

    assert statement.text == "SELECT $1::text, $2 FROM t WHERE x = $1"
    assert statement.parameters == ("b", "a")


def test_no_sql_file_builds_a_statement_at_run_time() -> None:
    """EXECUTE and format() in the database would undo what binding does."""
    building = re.compile(r"\bEXECUTE\b|\bquery_to_xml\b|\bdblink\b|\bDO\s+\$", re.IGNORECASE)
    found = []
    for path in sorted([*(SOURCE / "store/sql").glob("*.sql"), *(SOURCE / "store/migrations").glob("*.sql")]):
        statements = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        if building.search(statements):
            found.append(path.name)

    assert found == []


def test_a_statement_put_together_would_be_found() -> None:
    """The eye that looks must see: the ways in which SQL is usually built."""
    ways = [
        'f"SELECT * FROM t WHERE id = {given}"',
        '"DELETE FROM t WHERE id = " + given',
        '"UPDATE t SET a = %s" % given',
        '"INSERT INTO t VALUES ({})".format(given)',
        'f"SET LOCAL work_mem = {given}"',
    ]

    assert [any(STATEMENT.match(text) for text in texts(ast.parse("x = " + way))) for way in ways] == [True] * 5
