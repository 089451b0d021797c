"""What a statement must keep to so that the same text runs on one PostgreSQL and on a distributed one (ADR-0041).

A rule is a function from a statement's tree and the tables to complaints, one for each place that breaks it. *Bucket
tables* are those whose primary key starts with `bucket`: a distributed database keeps them in shards by it. All other
tables are *definitions*, of which every node has a copy. The trees are explained in sql_tree.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.structure.sql_tree import Common, Leg, Node, Relation, column, find, legs, parameter, texts, values

KEY = "bucket"


@dataclass(frozen=True)
class Tables:
    """The tables of the schema, without `migration`, which belongs to the database that was migrated."""

    bucketed: frozenset[str]
    definitions: frozenset[str]


Rule = Callable[[Node, Tables], list[str]]

# ---------------------------------------------------------------- which relations have a bucket that is known


def known_buckets(leg: Leg, tables: Tables) -> set[str]:
    """The aliases of a leg whose rows are all of the buckets that a parameter names.

    Either `bucket = :bucket` or `bucket = ANY(:buckets)` holds for them, or they are joined by bucket to one of those.
    """
    if leg.known is None:
        # A lateral subselect asks for the leg that it stands in, and is answered with what has been found so far.
        leg.known = set()
        while more := (_named_by_conditions(leg, tables) | _given_by_subselects(leg, tables)) - leg.known:
            leg.known |= more
    return leg.known


def _named_by_conditions(leg: Leg, tables: Tables) -> set[str]:
    named = set()
    for one, other in leg.equalities():
        relation = _whose_bucket(one, leg, tables)
        if relation is None or not _is_of(relation, leg):
            continue
        if parameter(other) is not None or _is_known(other, leg, tables):
            named.add(relation.alias)
    return named


def _given_by_subselects(leg: Leg, tables: Tables) -> set[str]:
    return {
        relation.alias
        for relation in leg.relations
        if relation.subselect is not None
        and _gives_known_bucket(relation.subselect, leg, relation.common, tables, name=KEY)
    }


def _is_of(relation: Relation, leg: Leg) -> bool:
    return any(own is relation for own in leg.relations)


def _is_known(node: Node, leg: Leg, tables: Tables) -> bool:
    """Whether a node is the bucket of a relation whose bucket is known, in this leg or in one around it."""
    relation = _whose_bucket(node, leg, tables)
    if relation is None:
        return False
    at: Leg | None = leg
    while at is not None and not _is_of(relation, at):
        at = at.outer
    return at is not None and relation.alias in known_buckets(at, tables)


def _whose_bucket(node: Node, leg: Leg, tables: Tables) -> Relation | None:
    """The relation whose column `bucket` a node is, found as PostgreSQL finds it: from the inside out."""
    named = column(node)
    if named is None or named[1] != KEY:
        return None
    at: Leg | None = leg
    while at is not None:
        candidates = [
            relation
            for relation in at.relations
            if (named[0] == relation.alias if named[0] is not None else _has_bucket(relation, tables))
        ]
        if candidates:
            assert len(candidates) == 1, f"name the relation: {[one.alias for one in candidates]} have a bucket"
            return candidates[0]
        at = at.outer
    return None


def _has_bucket(relation: Relation, tables: Tables) -> bool:
    if relation.subselect is not None:
        return any(_output_name(one) in (KEY, "*") for one in _outputs(relation.subselect))
    return relation.table in tables.bucketed or KEY in relation.columns


def _gives_known_bucket(
    query: Node, outer: Leg, common: Common, tables: Tables, *, name: str | None = None, position: int | None = None
) -> bool:
    """Whether a query's column, by name or by position, is a bucket that is known in each of its heads."""
    return all(_leg_gives(head, tables, name, position) for head in _head_legs(query, outer, common))


def _head_legs(query: Node, outer: Leg, common: Common) -> list[Leg]:
    fields = _heads(query)
    return [leg for leg in legs(query, outer, common=common) if any(leg.fields is one for one in fields)]


def _leg_gives(leg: Leg, tables: Tables, name: str | None, position: int | None) -> bool:
    known = known_buckets(leg, tables)
    if leg.kind in ("UpdateStmt", "DeleteStmt", "InsertStmt"):
        outputs = leg.fields.get("returningList", [])
    else:
        outputs = leg.fields.get("targetList", [])
    for index, output in enumerate(outputs):
        value = output["ResTarget"].get("val", {})
        if _output_name(output) == "*":
            alias = texts(value["ColumnRef"]["fields"][:-1])
            return all(one.alias in known for one in leg.relations if not alias or one.alias == alias[0])
        if index == position if position is not None else _output_name(output) == name:
            return parameter(value) is not None or _is_known(value, leg, tables)
    return False


def _heads(query: Node) -> list[Node]:
    """The fields of the SELECTs that a query unites, or of the query itself."""
    ((_, fields),) = query.items()
    if fields.get("op", "SETOP_NONE") == "SETOP_NONE":
        return [fields]
    return [*_heads({"SelectStmt": fields["larg"]}), *_heads({"SelectStmt": fields["rarg"]})]


def _outputs(query: Node) -> list[Node]:
    first = _heads(query)[0]
    outputs: list[Node] = first.get("returningList", first.get("targetList", []))
    return outputs


def _output_name(output: Node) -> str:
    fields = output["ResTarget"]
    if "name" in fields:
        return str(fields["name"])
    value = fields.get("val", {})
    if "ColumnRef" in value and "A_Star" in value["ColumnRef"]["fields"][-1]:
        return "*"
    named = column(value)
    return named[1] if named else ""


# ---------------------------------------------------------------- the rules


def every_mention_names_its_bucket(tree: Node, tables: Tables) -> list[str]:
    """Rule 1: a mention of a bucket table has `bucket = :parameter` or `= ANY(:parameter)` in its leg.

    A join by bucket with a relation that has it counts, in the same leg or in one around it. A join with the rows of
    `unnest` does not, for a distributed database does not look into them: it wants `= ANY` as well.
    """
    complaints = []
    for leg in legs(tree):
        known = known_buckets(leg, tables)
        complaints += [
            f"{relation.table} AS {relation.alias}: no parameter says which bucket"
            for relation in leg.relations
            if relation.table in tables.bucketed and relation.alias not in known
        ]
        if leg.kind == "InsertStmt" and leg.target in tables.bucketed and not _inserts_known_bucket(leg, tables):
            complaints.append(f"INSERT INTO {leg.target}: no parameter says which bucket")
    return complaints


def _inserts_known_bucket(leg: Leg, tables: Tables) -> bool:
    names = [one["ResTarget"]["name"] for one in leg.fields.get("cols", ())]
    assert KEY in names, f"an INSERT INTO {leg.target} names its columns"
    source = leg.fields["selectStmt"]
    rows = source["SelectStmt"].get("valuesLists")
    if rows is not None:
        return all(parameter(row["List"]["items"][names.index(KEY)]) is not None for row in rows)
    return _gives_known_bucket(source, leg, leg.common, tables, position=names.index(KEY))


def no_shape_that_is_refused(tree: Node, tables: Tables) -> list[str]:
    """Rule 2: no LIMIT or OFFSET within LATERAL, no INSERT within WITH, no columns behind a CTE's name, no parameter
    in what ON CONFLICT does.
    """
    if not _mentions(tree, tables.bucketed):
        return []
    complaints = [
        f"LIMIT or OFFSET within LATERAL {fields['alias']['aliasname']}"
        for fields in find(tree, "RangeSubselect")
        if fields.get("lateral") and [*values(fields, "limitCount"), *values(fields, "limitOffset")]
    ]
    for leg in legs(tree):
        if leg.kind == "InsertStmt" and leg.within_with and leg.target in tables.bucketed:
            complaints.append(f"INSERT INTO {leg.target} within WITH")
        conflict = leg.fields.get("onConflictClause", {})
        does = [conflict.get("targetList", []), conflict.get("whereClause", {})]
        if leg.target in tables.bucketed and find(does, "ParamRef"):
            complaints.append(f"a parameter in ON CONFLICT of {leg.target}")
    return complaints + [
        f"columns behind the name of {expression['ctename']}"
        for expression in find(tree, "CommonTableExpr")
        if "aliascolnames" in expression
    ]


def an_insert_from_rows_joins_a_bucket_table(tree: Node, tables: Tables) -> list[str]:
    """Rule 3: an INSERT ... SELECT into a bucket table reads or joins a bucket table by bucket, never `unnest` alone.

    A distributed database then runs it as one task in the shard, and a violated key keeps its SQLSTATE.
    """
    complaints = []
    for leg in legs(tree):
        if leg.kind != "InsertStmt" or leg.target not in tables.bucketed:
            continue
        source = leg.fields["selectStmt"]
        if "valuesLists" in source["SelectStmt"]:
            continue
        if not all(_joins_by_bucket(head, tables) for head in _head_legs(source, leg, leg.common)):
            complaints.append(f"INSERT INTO {leg.target} from rows that no bucket table is joined to")
    return complaints


def _joins_by_bucket(leg: Leg, tables: Tables) -> bool:
    others = len(leg.relations) > 1
    for one, other in leg.equalities():
        relation = _whose_bucket(one, leg, tables)
        if relation is None or relation.table not in tables.bucketed:
            continue
        against = _whose_bucket(other, leg, tables)
        if (against is not None and against.alias != relation.alias) or (not others and parameter(other) is not None):
            return True
    return False


def definitions_are_read_by_themselves(tree: Node, tables: Tables) -> list[str]:
    """Rule 5: no statement reads definitions and a bucket table: a shard's node may answer from a copy that is old."""
    read = _mentions(tree, tables.definitions)
    if not read or not _mentions(tree, tables.bucketed):
        return []
    return [f"{', '.join(sorted(read))} together with a bucket table"]


def every_parameter_has_a_type(tree: Node, tables: Tables) -> list[str]:
    """A parameter of a statement on bucket tables is cast, unless a column next to it says its type.

    That is: compared with a column or a row of columns, put into a column by VALUES or SET, or the number of a LIMIT.
    """
    if not _mentions(tree, tables.bucketed):
        return []
    typed = {id(fields["arg"]["ParamRef"]) for fields in find(tree, "TypeCast") if _is_bare(fields["arg"])}
    typed |= {
        id(one["ParamRef"]) for key in ("limitCount", "limitOffset") for one in values(tree, key) if _is_bare(one)
    }
    for fields in find(tree, "A_Expr"):
        typed |= _typed_by_comparison(fields)
    for leg in legs(tree):
        typed |= {id(one["ParamRef"]) for one in _put_into_columns(leg) if _is_bare(one)}
    untyped = [fields["number"] for fields in find(tree, "ParamRef") if id(fields) not in typed]
    return [f"${number} has no type: cast it" for number in untyped]


def _is_bare(node: Any) -> bool:
    return isinstance(node, dict) and "ParamRef" in node


def _typed_by_comparison(fields: Node) -> set[int]:
    """The parameters of a comparison whose other side is a column, or the column at the same place of a row."""
    comparison = texts(fields.get("name", [])) in (["="], ["<>"], ["<"], ["<="], [">"], [">="], ["BETWEEN"])
    if not comparison or fields["kind"] not in ("AEXPR_OP", "AEXPR_BETWEEN", "AEXPR_IN"):
        return set()
    left, right = fields.get("lexpr", {}), fields.get("rexpr", {})
    if "RowExpr" in left and "RowExpr" in right:
        pairs = list(zip(left["RowExpr"]["args"], right["RowExpr"]["args"], strict=True))
    elif isinstance(right, dict) and "List" in right:
        pairs = [(left, one) for one in right["List"]["items"]]
    else:
        pairs = [(left, right)]
    return {
        id(one["ParamRef"])
        for pair in pairs
        for one, other in (pair, pair[::-1])
        if _is_bare(one) and column(other) is not None
    }


def _put_into_columns(leg: Leg) -> list[Node]:
    if leg.kind == "UpdateStmt":
        return [one["ResTarget"]["val"] for one in leg.fields["targetList"]]
    if leg.kind == "InsertStmt":
        rows = leg.fields["selectStmt"]["SelectStmt"].get("valuesLists", [])
        return [item for row in rows for item in row["List"]["items"]]
    return []


def no_array_of_rows(tree: Node, tables: Tables) -> list[str]:
    """No parameter is an array of a table's rows: on a distributed database the driver takes seconds to look it up."""
    names = {texts(fields["names"])[-1] for fields in values(tree, "typeName") if "arrayBounds" in fields}
    return [f"an array of {name}" for name in sorted(names & (tables.bucketed | tables.definitions))]


def rows_are_locked_where_the_bucket_is_known(tree: Node, tables: Tables) -> list[str]:
    """FOR UPDATE and its like on a bucket table only where a parameter says which bucket."""
    complaints = []
    for leg in legs(tree):
        locked = leg.fields.get("lockingClause", [])
        named = {one["RangeVar"]["relname"] for lock in locked for one in lock["LockingClause"].get("lockedRels", ())}
        known = known_buckets(leg, tables)
        complaints += [
            f"{relation.table} AS {relation.alias} is locked"
            for relation in leg.relations
            if locked
            and relation.table in tables.bucketed
            and (not named or relation.alias in named)
            and relation.alias not in known
        ]
    return complaints


def _mentions(tree: Node, tables: frozenset[str]) -> set[str]:
    read = {fields["relname"] for fields in find(tree, "RangeVar")}
    written = {leg.target for leg in legs(tree) if leg.target is not None}
    return (read | written) & tables


RULES: dict[str, Rule] = {
    "1": every_mention_names_its_bucket,
    "2": no_shape_that_is_refused,
    "3": an_insert_from_rows_joins_a_bucket_table,
    "types": every_parameter_has_a_type,
    "arrays": no_array_of_rows,
    "locks": rows_are_locked_where_the_bucket_is_known,
}
"""By the number of the record, or by a word where it has none. Rule 5 is for the Writer's statements alone."""
