"""The rules for a distributed database see what they are to see: of each, statements that keep it and that break it."""

import pytest
from tests.structure.call_graph import queries_of, read_module
from tests.structure.distributed_rules import (
    Tables,
    an_insert_from_rows_joins_a_bucket_table,
    definitions_are_read_by_themselves,
    every_mention_names_its_bucket,
    every_parameter_has_a_type,
    no_array_of_rows,
    no_shape_that_is_refused,
    rows_are_locked_where_the_bucket_is_known,
)
from tests.structure.sql_tree import statements

TABLES = Tables(frozenset({"customer", "fact", "place"}), frozenset({"target"}))

ROWS = "unnest($1::smallint[], $2::bigint[]) AS k (bucket, id)"


def judged(rule, text: str) -> list[str]:
    (tree,) = statements(text)
    return rule(tree, TABLES)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM target",
        "SELECT 1 FROM fact WHERE bucket = $1 AND id = $2",
        "SELECT 1 FROM fact AS f WHERE $1::smallint = f.bucket",
        "SELECT 1 FROM fact AS f WHERE f.bucket = ANY($1::smallint[])",
        "SELECT 1 FROM fact AS f JOIN customer AS c ON c.bucket = f.bucket AND c.id = f.id WHERE f.bucket = $1",
        "SELECT 1 FROM fact AS f LEFT JOIN customer AS c ON c.bucket = f.bucket WHERE f.bucket = $1",
        f"SELECT 1 FROM {ROWS} JOIN fact AS f ON f.bucket = k.bucket WHERE f.bucket = ANY($3::smallint[])",
        "SELECT 1 FROM fact AS f WHERE f.bucket = $1 AND NOT EXISTS (SELECT FROM customer c WHERE c.bucket = f.bucket)",
        "SELECT ARRAY(SELECT 1 FROM fact AS f WHERE f.bucket = c.bucket) FROM customer AS c WHERE c.bucket = $1",
        "SELECT 1 FROM (SELECT bucket FROM fact WHERE bucket = $1) AS f JOIN customer AS c ON c.bucket = f.bucket",
        "SELECT 1 FROM (SELECT f.* FROM fact AS f WHERE bucket = $1) AS f JOIN customer AS c ON c.bucket = f.bucket",
        "SELECT 1 FROM (SELECT $1::smallint AS bucket) AS b JOIN customer AS c ON c.bucket = b.bucket",
        "WITH f AS (SELECT bucket FROM fact WHERE bucket = $1) SELECT 1 FROM f JOIN customer AS c ON c.bucket = f.bucket",
        "SELECT 1 FROM fact WHERE bucket = $1 UNION ALL SELECT 2 FROM customer WHERE bucket = $1",
        "UPDATE fact AS f SET id = 1 FROM customer AS c WHERE f.bucket = $1 AND c.bucket = f.bucket",
        "DELETE FROM fact AS f USING customer AS c WHERE c.bucket = $1 AND c.bucket = f.bucket",
        "INSERT INTO fact (id, bucket) VALUES ($1, $2), ($3, $4)",
        f"INSERT INTO fact (bucket, id) SELECT $3::smallint, k.id FROM {ROWS}",
        "INSERT INTO fact (id, bucket) SELECT c.id, c.bucket FROM customer AS c WHERE c.bucket = $1",
        (
            f"INSERT INTO fact (bucket, id) SELECT p.bucket, k.id FROM {ROWS} JOIN place AS p ON p.bucket = k.bucket "
            "WHERE p.bucket = ANY($1::smallint[])"
        ),
        "INSERT INTO fact (bucket) SELECT bucket FROM customer WHERE bucket = $1 UNION SELECT $1::smallint",
    ],
)
def test_rule_1_is_kept_where_a_parameter_names_the_bucket_in_the_leg_or_through_a_join_by_bucket(text: str) -> None:
    assert judged(every_mention_names_its_bucket, text) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("SELECT 1 FROM fact", 1),
        ("SELECT 1 FROM fact WHERE bucket BETWEEN 0 AND 255", 1),
        ("SELECT 1 FROM fact WHERE bucket = 7", 1),
        ("SELECT 1 FROM fact WHERE bucket = $1 + 1", 1),
        ("SELECT 1 FROM fact WHERE bucket <> $1", 1),
        ("SELECT 1 FROM fact WHERE bucket <> ALL($1::smallint[])", 1),
        ("SELECT 1 FROM fact WHERE bucket = $1 OR id = $2", 1),
        ("SELECT 1 FROM fact WHERE NOT (bucket = $1)", 1),
        ("SELECT 1 FROM fact WHERE (bucket, id) > ($1, $2)", 1),
        ("SELECT 1 FROM fact WHERE bucket = ($1::smallint[])[2]", 1),
        ("SELECT 1 FROM fact AS f JOIN customer AS c ON c.id = f.id WHERE f.bucket = $1", 1),
        ("SELECT 1 FROM fact AS f JOIN customer AS c ON c.bucket = f.bucket", 2),
        (f"SELECT 1 FROM {ROWS} JOIN fact AS f ON f.bucket = k.bucket", 1),
        ("SELECT 1 FROM fact AS f WHERE f.bucket = $1 AND EXISTS (SELECT FROM customer AS c WHERE c.id = f.id)", 1),
        ("SELECT ARRAY(SELECT 1 FROM fact AS f WHERE f.bucket = c.bucket) FROM customer AS c", 2),
        ("SELECT 1 FROM (SELECT id AS bucket FROM fact WHERE bucket = $1) f JOIN customer c ON c.bucket = f.bucket", 1),
        ("SELECT 1 FROM fact WHERE bucket = $1 UNION ALL SELECT 2 FROM customer", 1),
        (
            (
                "SELECT 1 FROM (SELECT bucket FROM fact WHERE bucket = $1 UNION SELECT bucket FROM customer) AS f "
                "JOIN place AS p ON p.bucket = f.bucket"
            ),
            2,
        ),
        ("WITH f AS (SELECT bucket FROM fact) SELECT 1 FROM f JOIN customer AS c ON c.bucket = f.bucket", 2),
        ("SELECT 1 FROM target AS t CROSS JOIN LATERAL (SELECT 1 FROM fact AS f WHERE f.bucket = t.bucket) AS x", 1),
        ("UPDATE fact SET id = 1 WHERE id = $1", 1),
        ("UPDATE fact SET bucket = $1 WHERE id = $2", 1),
        ("DELETE FROM fact AS f USING customer AS c WHERE c.bucket = $1 AND c.id = f.id", 1),
        ("INSERT INTO fact (bucket, id) VALUES ($1, $2), (3, $4)", 1),
        (f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS}", 1),
        ("INSERT INTO fact (bucket, id) SELECT r.* FROM unnest($1::fact[]) AS r", 1),
        ("INSERT INTO fact (bucket) SELECT bucket FROM customer WHERE bucket = $1 UNION SELECT 3", 1),
        (f"INSERT INTO fact (bucket, id) SELECT p.bucket, k.id FROM {ROWS} JOIN place AS p ON p.bucket = k.bucket", 2),
    ],
)
def test_rule_1_is_broken_by_every_mention_without(text: str, count: int) -> None:
    assert len(judged(every_mention_names_its_bucket, text)) == count


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM fact WHERE bucket = $1 ORDER BY id LIMIT $2 OFFSET 3",
        "SELECT 1 FROM target CROSS JOIN LATERAL (SELECT 1 FROM target LIMIT 1) AS t",
        f"SELECT 1 FROM {ROWS} CROSS JOIN LATERAL (SELECT min(id) FROM fact AS f WHERE f.bucket = k.bucket) AS f",
        "SELECT 1 FROM (SELECT id FROM fact WHERE bucket = $1 LIMIT 1) AS f",
        "WITH f AS (SELECT 1 AS one FROM fact WHERE bucket = $1) SELECT one FROM f",
        "WITH f AS (UPDATE fact SET id = $2 WHERE bucket = $1 RETURNING id) SELECT id FROM f",
        "WITH t AS (INSERT INTO target (id) VALUES ($2) RETURNING id) SELECT 1 FROM fact WHERE bucket = $1",
        "INSERT INTO fact (bucket, id) VALUES ($1, $2) ON CONFLICT (bucket) DO UPDATE SET id = EXCLUDED.id WHERE fact.id > 1",
        "INSERT INTO target (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = $2",
    ],
)
def test_rule_2_is_kept(text: str) -> None:
    assert judged(no_shape_that_is_refused, text) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            f"SELECT 1 FROM {ROWS} CROSS JOIN LATERAL (SELECT 1 FROM fact AS f WHERE f.bucket = k.bucket LIMIT 1) AS x",
            "LIMIT or OFFSET within LATERAL x",
        ),
        (
            f"SELECT 1 FROM {ROWS} CROSS JOIN LATERAL (SELECT 1 FROM fact AS f WHERE f.bucket = k.bucket OFFSET 0) AS x",
            "LIMIT or OFFSET within LATERAL x",
        ),
        (
            f"SELECT 1 FROM {ROWS} CROSS JOIN LATERAL (SELECT 1 FROM fact UNION SELECT 2 FROM fact LIMIT 1) AS x",
            "LIMIT or OFFSET within LATERAL x",
        ),
        (
            f"SELECT 1 FROM {ROWS}, LATERAL (SELECT 1 FROM (SELECT 1 FROM fact LIMIT 1) AS y) AS x",
            "LIMIT or OFFSET within LATERAL x",
        ),
        (
            "WITH f AS (INSERT INTO fact (bucket) VALUES ($1) RETURNING bucket) SELECT bucket FROM f",
            "INSERT INTO fact within WITH",
        ),
        ("WITH f (one) AS (SELECT 1 FROM fact WHERE bucket = $1) SELECT one FROM f", "columns behind the name of f"),
        (
            "INSERT INTO fact (bucket, id) VALUES ($1, $2) ON CONFLICT (bucket) DO UPDATE SET id = $2",
            "a parameter in ON CONFLICT of fact",
        ),
        (
            "INSERT INTO fact (bucket) VALUES ($1) ON CONFLICT (bucket) DO UPDATE SET id = 1 WHERE fact.id > $2::int + 1",
            "a parameter in ON CONFLICT of fact",
        ),
    ],
)
def test_rule_2_is_broken(text: str, complaint: str) -> None:
    assert judged(no_shape_that_is_refused, text) == [complaint]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO fact (bucket, id) VALUES ($1, $2)",
        "INSERT INTO target (id) SELECT id FROM unnest($1::bigint[]) AS k (id)",
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS} JOIN place AS p ON p.bucket = k.bucket",
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS}, place AS p WHERE k.bucket = p.bucket",
        "INSERT INTO fact (bucket, id) SELECT c.bucket, c.id FROM customer AS c WHERE c.bucket = $1",
    ],
)
def test_rule_3_is_kept_by_values_and_by_rows_that_a_bucket_table_is_joined_to_by_bucket(text: str) -> None:
    assert judged(an_insert_from_rows_joins_a_bucket_table, text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS}",
        f"INSERT INTO fact (bucket, id) SELECT $1, k.id FROM {ROWS}",
        "INSERT INTO fact (bucket, id) SELECT $1, $2",
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS} JOIN customer AS c ON c.id = k.id",
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS} JOIN place AS p ON p.bucket = $1",
        f"INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS} JOIN target AS t ON t.bucket = k.bucket",
        f"WITH f AS (INSERT INTO fact (bucket, id) SELECT k.bucket, k.id FROM {ROWS}) SELECT 1",
        (
            f"INSERT INTO fact (bucket, id) SELECT c.bucket, c.id FROM customer AS c WHERE c.bucket = $3 "
            f"UNION ALL SELECT k.bucket, k.id FROM {ROWS}"
        ),
    ],
)
def test_rule_3_is_broken_by_rows_of_unnest_or_none_alone(text: str) -> None:
    assert judged(an_insert_from_rows_joins_a_bucket_table, text) == [
        "INSERT INTO fact from rows that no bucket table is joined to"
    ]


def test_rule_5_is_broken_by_definitions_beside_a_bucket_table_anywhere_in_the_statement() -> None:
    rule = definitions_are_read_by_themselves

    assert judged(rule, "SELECT 1 FROM target") == []
    assert judged(rule, "SELECT 1 FROM fact WHERE bucket = $1") == []
    for text in (
        "SELECT 1 FROM fact AS f JOIN target AS t ON t.id = f.id WHERE f.bucket = $1",
        "SELECT (SELECT max(id) FROM target) FROM fact WHERE bucket = $1",
        "WITH f AS (SELECT 1 FROM fact WHERE bucket = $1) SELECT 1 FROM f UNION ALL SELECT id FROM target",
        "INSERT INTO fact (bucket, id) SELECT $1, id FROM target",
    ):
        assert judged(rule, text) == ["target together with a bucket table"]


@pytest.mark.parametrize(
    ("text", "untyped"),
    [
        ("SELECT 1 FROM fact WHERE bucket = $1 AND (bucket, id) > ($2, $3) AND id BETWEEN $4 AND $5 LIMIT $6", []),
        ("SELECT 1 FROM fact WHERE bucket = $1 AND id IN ($2, $3)", []),
        ("INSERT INTO fact (bucket, id) VALUES ($1, $2)", []),
        ("UPDATE fact SET id = $1 WHERE bucket = $2", []),
        ("SELECT $1 FROM target", []),
        ("SELECT $1 FROM fact WHERE bucket = $2::smallint", [1]),
        ("SELECT 1 FROM fact WHERE bucket = $1 AND ($2 IS NULL OR id = $2)", [2]),
        ("SELECT 1 FROM fact WHERE bucket = $1 AND id = $2 + 1", [2]),
        ("SELECT 1 FROM fact WHERE bucket = $1 AND $2 = 'a'", [2]),
        ("SELECT 1 FROM fact WHERE bucket = $1 AND id = ANY($2)", [2]),
        ("UPDATE fact SET id = COALESCE($1, id) WHERE bucket = $2", [1]),
        (f"INSERT INTO fact (bucket, id) SELECT $3, k.id FROM {ROWS}", [3]),
        ("SELECT 1 FROM fact WHERE bucket = $1 UNION SELECT $2::int FROM fact WHERE bucket = $1 LIMIT $3", []),
    ],
)
def test_a_parameter_is_cast_where_no_column_says_its_type(text: str, untyped: list[int]) -> None:
    assert judged(every_parameter_has_a_type, text) == [f"${number} has no type: cast it" for number in untyped]


def test_an_array_of_a_tables_rows_is_found_and_an_array_of_numbers_is_none() -> None:
    assert judged(no_array_of_rows, "SELECT 1 FROM unnest($1::bigint[], $2::numeric(18, 3)[])") == []
    assert judged(no_array_of_rows, "SELECT 1 FROM unnest($1::fact[])") == ["an array of fact"]
    assert judged(no_array_of_rows, "SELECT CAST($1 AS target[])") == ["an array of target"]


def test_a_row_is_locked_only_where_a_parameter_names_its_bucket() -> None:
    rule = rows_are_locked_where_the_bucket_is_known
    joined = f"SELECT 1 FROM {ROWS} JOIN customer AS c ON c.bucket = k.bucket"

    assert judged(rule, "SELECT 1 FROM customer WHERE bucket = $1 FOR UPDATE") == []
    assert judged(rule, f"{joined} WHERE c.bucket = ANY($3::smallint[]) FOR UPDATE OF c") == []
    assert judged(rule, "SELECT 1 FROM target FOR UPDATE") == []
    assert judged(rule, joined) == []
    for lock in ("FOR UPDATE", "FOR UPDATE OF c", "FOR KEY SHARE SKIP LOCKED"):
        assert judged(rule, f"{joined} {lock}") == ["customer AS c is locked"]


def test_queries_are_found_through_functions_classes_and_modules_and_not_through_annotations() -> None:
    engine = """
from shop.store import customers
from shop.store.facts import Facts as Trail
from shop.store.others import Other

class Writer:
    def work(self, other: Other) -> Other:
        return prepare()

def prepare():
    return [customers.lock, Trail]

def unused():
    return customers.drop
"""
    customers = """
def lock():
    return QUERIES["lock"].run, _more()

def _more():
    return QUERIES["more"]

def drop():
    return QUERIES["drop"]
"""
    facts = """
class Facts:
    def save(self):
        QUERIES["save"]
"""
    others = """
class Other:
    def save(self):
        QUERIES["other"]
"""
    texts = {"engine": engine, "store.customers": customers, "store.facts": facts, "store.others": others}
    modules = {f"shop.{name}": read_module(text) for name, text in texts.items()}

    assert queries_of(modules, ("shop.engine", "Writer")) == {"lock", "more", "save"}
