"""SQL statements as PostgreSQL's own parser reads them, for the tests of what a distributed database can run.

A statement is a tree of *legs*: each SELECT, INSERT, UPDATE or DELETE, wherever it stands, with the relations that it
reads from or writes to and the conditions that hold for all of its rows. A leg knows the legs around it, because a
correlated subquery may name their relations. The trees are pgparse's: dictionaries with one key, the node's type.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pgparse

Node = dict[str, Any]

LEG_TYPES = ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt")


def statements(text: str) -> list[Node]:
    """The statements of a text, each as `{type: fields}`."""
    return [one["stmt"] for one in pgparse.parse(text)]


def pieces(text: str) -> list[str]:
    """The same statements as they are written, with the comments before each and without white space around."""
    data = text.encode()
    found = []
    for one in pgparse.parse(text):
        start = one.get("stmt_location", 0)
        end = start + one["stmt_len"] if "stmt_len" in one else len(data)
        found.append(data[start:end].decode().strip())
    return found


def walk(node: Any) -> Iterator[tuple[str, Node]]:
    """Each node below one, itself included, as its type and its fields, from the outside in."""
    if isinstance(node, list):
        for one in node:
            yield from walk(one)
    elif isinstance(node, dict):
        for name, fields in node.items():
            if name[0].isupper():
                yield name, fields
            yield from walk(fields)


def find(node: Any, kind: str) -> list[Node]:
    return [fields for name, fields in walk(node) if name == kind]


def values(node: Any, key: str) -> Iterator[Any]:
    """Each value under that key, anywhere below a node."""
    below = node.items() if isinstance(node, dict) else [("", one) for one in node] if isinstance(node, list) else ()
    for name, value in below:
        if name == key:
            yield value
        yield from values(value, key)


def texts(names: list[Node]) -> list[str]:
    return [name["String"].get("sval", "") for name in names]


def parameter(node: Any) -> int | None:
    """The number of a parameter, cast or not; None for everything else."""
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return node["ParamRef"]["number"] if isinstance(node, dict) and "ParamRef" in node else None


def column(node: Any) -> tuple[str | None, str] | None:
    """A column as (alias or None, name); None for everything else."""
    if not isinstance(node, dict) or "ColumnRef" not in node:
        return None
    *before, last = node["ColumnRef"]["fields"]
    if "String" not in last:
        return None
    return (texts(before)[-1] if before else None), last["String"]["sval"]


@dataclass
class Relation:
    """What a leg reads from or writes to, under the name by which the leg knows it."""

    alias: str
    table: str | None = None
    # The columns that a function's result is given; the query of a subselect or of a common table expression.
    columns: list[str] = field(default_factory=list)
    subselect: Node | None = None
    # The common table expressions that the subselect may name.
    common: "Common" = field(default_factory=dict)


@dataclass
class Expression:
    """A common table expression: its query, and those before it, which the query may name."""

    query: Node
    common: "Common"


Common = dict[str, Expression]


@dataclass
class Leg:
    """One SELECT, INSERT, UPDATE or DELETE."""

    kind: str
    fields: Node
    outer: "Leg | None" = None
    # The common table expressions that this leg may name, those of legs around it too.
    common: Common = field(default_factory=dict)
    within_with: bool = False
    # The aliases that are found to have a known bucket; None before the first look.
    known: set[str] | None = None

    @cached_property
    def relations(self) -> list[Relation]:
        found = [self._named(self.fields["relation"])] if self.kind in ("UpdateStmt", "DeleteStmt") else []
        for item in (*self.fields.get("fromClause", ()), *self.fields.get("usingClause", ())):
            found += self._flat(item)
        return found

    @cached_property
    def target(self) -> str | None:
        """The table that is written to."""
        return self.fields["relation"]["relname"] if self.kind != "SelectStmt" else None

    @cached_property
    def conditions(self) -> list[Node]:
        """What holds for every row: the parts of WHERE and of each ON that are joined by AND."""
        whole = [self.fields.get("whereClause")]
        for item in (*self.fields.get("fromClause", ()), *self.fields.get("usingClause", ())):
            whole += self._joined(item)
        return [part for condition in whole if condition for part in _conjuncts(condition)]

    def equalities(self) -> Iterator[tuple[Node, Node]]:
        """Of each `one = other` that holds for every row both sides, either way round; `= ANY` as well, one way."""
        for condition in self.conditions:
            fields = condition.get("A_Expr", {})
            if texts(fields.get("name", [])) != ["="]:
                continue
            if fields["kind"] in ("AEXPR_OP", "AEXPR_OP_ANY"):
                yield fields["lexpr"], fields["rexpr"]
            if fields["kind"] == "AEXPR_OP":
                yield fields["rexpr"], fields["lexpr"]

    def _flat(self, item: Node) -> list[Relation]:
        (kind, fields), *_ = item.items()
        if kind == "JoinExpr":
            return [*self._flat(fields["larg"]), *self._flat(fields["rarg"])]
        alias = fields.get("alias", {})
        columns = texts(alias.get("colnames", []))
        if kind == "RangeVar":
            return [self._named(fields)]
        if kind == "RangeSubselect":
            return [
                Relation(
                    alias["aliasname"],
                    columns=columns,
                    subselect=fields["subquery"],
                    common=self.common,
                )
            ]
        assert kind == "RangeFunction", f"unknown in FROM: {kind}"
        return [Relation(alias.get("aliasname", ""), columns=columns)]

    def _named(self, fields: Node) -> Relation:
        name = fields["relname"]
        alias = fields.get("alias", {}).get("aliasname", name)
        if name in self.common:
            return Relation(alias, subselect=self.common[name].query, common=self.common[name].common)
        return Relation(alias, table=name)

    def _joined(self, item: Node) -> list[Node]:
        if "JoinExpr" not in item:
            return []
        fields = item["JoinExpr"]
        assert not fields.get("isNatural"), "say ON, so that a join names its columns"
        assert "usingClause" not in fields, "say ON, so that a join names its columns"
        return [fields.get("quals", {}), *self._joined(fields["larg"]), *self._joined(fields["rarg"])]


def _conjuncts(condition: Node) -> list[Node]:
    fields = condition.get("BoolExpr", {})
    if fields.get("boolop") != "AND_EXPR":
        return [condition]
    return [part for one in fields["args"] for part in _conjuncts(one)]


def legs(node: Any, outer: Leg | None = None, **place: Any) -> Iterator[Leg]:
    """Every leg of a statement, from the outside in. UNION and its like are no legs, but what they unite is."""
    if isinstance(node, list):
        for one in node:
            yield from legs(one, outer, **place)
    if not isinstance(node, dict):
        return
    for name, fields in node.items():
        if name in LEG_TYPES or (name in ("larg", "rarg") and "op" in fields):
            yield from _legs_of(name if name in LEG_TYPES else "SelectStmt", fields, outer, place)
        else:
            yield from legs(fields, outer, **place)


def _legs_of(kind: str, fields: Node, outer: Leg | None, place: dict[str, Any]) -> Iterator[Leg]:
    common = dict(place.get("common", {}))
    for one in fields.get("withClause", {}).get("ctes", ()):
        expression = one["CommonTableExpr"]
        yield from legs(expression["ctequery"], outer, **{**place, "common": dict(common), "within_with": True})
        common[expression["ctename"]] = Expression(expression["ctequery"], dict(common))
    rest = {name: value for name, value in fields.items() if name != "withClause"}
    place = {**place, "common": common}
    if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
        yield from legs(rest, outer, **place)
        return
    leg = Leg(kind, fields, outer, **place)
    yield leg
    yield from legs(rest, leg, **place)
