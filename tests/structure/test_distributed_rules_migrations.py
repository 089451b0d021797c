"""Rule 7 of ADR-0041: a migration is what a distributed database takes too, statement by statement.

ADD COLUMN brings no CHECK, UNIQUE or REFERENCES of its own: a constraint is a statement. Foreign keys between bucket
tables have names and stand at the end of their file, because tables are distributed before they refer to each other.
That files are sent statement by statement is tested in tests/store/test_statements.py.
"""

from collections.abc import Iterator

import pytest
from tests.structure.sql_tree import Node, statements, texts

from kosminar.store.migration import all_migrations

IN_A_COLUMN = {
    "CONSTR_CHECK": "CHECK",
    "CONSTR_UNIQUE": "UNIQUE",
    "CONSTR_PRIMARY": "PRIMARY KEY",
    "CONSTR_FOREIGN": "REFERENCES",
}

# What stands so from before the rule; the list may only shrink, and goes when the first migration is rewritten.
BREACHES = {
    "0001_foundation: reward refers to customer within CREATE TABLE",
    "0002_deliveries: customer.notification_number is added with CHECK",
    "0002_deliveries: delivery refers to notification within CREATE TABLE",
    "0002_deliveries: idempotency_result refers to idempotency_key within CREATE TABLE",
    "0002_deliveries: notification refers to customer within CREATE TABLE",
    "0002_deliveries: webhook_queue refers to customer within CREATE TABLE",
}


def breaches(files: list[tuple[str, str]]) -> list[str]:
    """In the order of the files, which name each other's tables."""
    found: list[str] = []
    keys: dict[str, list[str]] = {}
    for name, text in files:
        trees = statements(text)
        keys |= primary_keys(trees)
        bucketed = {table for table, columns in keys.items() if columns[0] == "bucket"}
        found += [f"{name}: {breach}" for breach in (*added_columns(trees), *foreign_keys(trees, bucketed))]
    return found


def primary_keys(trees: list[Node]) -> dict[str, list[str]]:
    """The columns of the primary keys that CREATE TABLE declares, for a column or for the table."""
    keys = {}
    for fields in (tree["CreateStmt"] for tree in trees if "CreateStmt" in tree):
        for element in fields["tableElts"]:
            if element.get("Constraint", {}).get("contype") == "CONSTR_PRIMARY":
                keys[fields["relation"]["relname"]] = texts(element["Constraint"]["keys"])
            for constraint in element.get("ColumnDef", {}).get("constraints", ()):
                if constraint["Constraint"]["contype"] == "CONSTR_PRIMARY":
                    keys[fields["relation"]["relname"]] = [element["ColumnDef"]["colname"]]
    return keys


def alterations(tree: Node) -> Iterator[tuple[str, Node]]:
    """Each command of an ALTER TABLE, with the table."""
    fields = tree.get("AlterTableStmt", {})
    for command in fields.get("cmds", ()):
        yield fields["relation"]["relname"], command["AlterTableCmd"]


def added_columns(trees: list[Node]) -> Iterator[str]:
    for tree in trees:
        for table, command in alterations(tree):
            column = command.get("def", {}).get("ColumnDef", {})
            for constraint in column.get("constraints", ()):
                word = IN_A_COLUMN.get(constraint["Constraint"]["contype"])
                if command["subtype"] == "AT_AddColumn" and word is not None:
                    yield f"{table}.{column['colname']} is added with {word}"


def foreign_keys(trees: list[Node], bucketed: set[str]) -> Iterator[str]:
    """What is wrong with those between bucket tables, wherever they are declared."""
    for tree in trees:
        for table, to in created_references(tree):
            if {table, to} <= bucketed:
                yield f"{table} refers to {to} within CREATE TABLE"
    others_follow = False
    for tree in reversed(trees):
        between = [key for key in added_references(tree) if {key[0], key[1]} <= bucketed]
        for table, to, name in between:
            if not name:
                yield f"{table} refers to {to} without a name"
            if others_follow:
                yield f"{table} refers to {to} before the end"
        others_follow = others_follow or not between


def created_references(tree: Node) -> Iterator[tuple[str, str]]:
    fields = tree.get("CreateStmt", {})
    for element in fields.get("tableElts", ()):
        columns = element.get("ColumnDef", {}).get("constraints", [])
        for constraint in [element, *columns]:
            if constraint.get("Constraint", {}).get("contype") == "CONSTR_FOREIGN":
                yield fields["relation"]["relname"], constraint["Constraint"]["pktable"]["relname"]


def added_references(tree: Node) -> Iterator[tuple[str, str, str]]:
    for table, command in alterations(tree):
        constraint = command.get("def", {}).get("Constraint", {})
        if constraint.get("contype") == "CONSTR_FOREIGN":
            yield table, constraint["pktable"]["relname"], constraint.get("conname", "")


def test_every_migration_keeps_the_rules_for_a_distributed_database_or_is_listed() -> None:
    found = breaches([(one.name, one.sql) for one in all_migrations()])

    assert sorted(found) == sorted(BREACHES)


CUSTOMER = "CREATE TABLE customer (bucket int, id int, PRIMARY KEY (bucket, id));"
TARGET = "CREATE TABLE target (id int PRIMARY KEY);"
FACT = "CREATE TABLE fact (bucket int, id int, target_id int REFERENCES target, PRIMARY KEY (bucket, id));"
KEY = "ALTER TABLE fact ADD CONSTRAINT fact_has_a_customer FOREIGN KEY (bucket, id) REFERENCES customer;"


@pytest.mark.parametrize(
    "text",
    [
        CUSTOMER + TARGET + FACT + KEY,
        CUSTOMER + TARGET + FACT + KEY + KEY.replace("has_a", "has_its"),
        CUSTOMER + "ALTER TABLE customer ADD COLUMN name text NOT NULL DEFAULT '';",
        CUSTOMER + "ALTER TABLE customer ADD CONSTRAINT named CHECK (id > 0); SELECT 1;",
        TARGET + FACT.replace("bucket int, ", "") + KEY.replace("customer;", "target;") + TARGET,
    ],
)
def test_constraints_of_their_own_and_named_keys_at_the_end_keep_the_rules(text: str) -> None:
    assert breaches([("one", text)]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ALTER TABLE a ADD COLUMN b int CHECK (b > 0)", ["a.b is added with CHECK"]),
        (
            "ALTER TABLE a ADD COLUMN b int UNIQUE, ADD c int REFERENCES d",
            ["a.b is added with UNIQUE", "a.c is added with REFERENCES"],
        ),
        (
            CUSTOMER + FACT.replace("REFERENCES target", "REFERENCES customer"),
            ["fact refers to customer within CREATE TABLE"],
        ),
        (
            CUSTOMER + FACT.replace("target, PRI", "target, FOREIGN KEY (bucket, id) REFERENCES customer, PRI"),
            ["fact refers to customer within CREATE TABLE"],
        ),
        (
            CUSTOMER + FACT + KEY.replace("CONSTRAINT fact_has_a_customer ", ""),
            ["fact refers to customer without a name"],
        ),
        (CUSTOMER + FACT + KEY + TARGET, ["fact refers to customer before the end"]),
    ],
)
def test_a_constraint_in_a_column_and_a_key_elsewhere_break_them(text: str, found: list[str]) -> None:
    assert breaches([("one", text)]) == [f"one: {breach}" for breach in found]


def test_a_table_of_an_earlier_file_is_known() -> None:
    inline = FACT.replace("REFERENCES target", "REFERENCES customer")

    assert breaches([("one", CUSTOMER), ("two", inline)]) == ["two: fact refers to customer within CREATE TABLE"]
