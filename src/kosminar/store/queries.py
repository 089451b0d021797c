"""Named queries: reads the .sql files beside the store modules and binds their named parameters.

A file is a row of blocks: `-- name`, a purpose line, the statement. `:name` in a statement becomes `$n` once, when the
file is loaded, so that the driver prepares one text for ever. A line that ends with `-- Citus` is a condition that only a
distributed database needs: PostgreSQL alone would try each bucket of a list for each row. Never builds SQL from values. tests/structure prepares
every query against the migrated schema and checks that each one is used.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

# Ends a line that is sent only where Citus is.
FOR_CITUS: Final = "-- Citus"

_NAME = re.compile(r"^-- ([a-z_]+)$")
# A colon that is not half of a cast `::type` and not inside a word.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z_]*)")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement; `parameters` are in the order of its $1, $2, ... `plain` is its text where Citus is absent."""

    name: str
    purpose: str
    text: str
    parameters: tuple[str, ...]
    plain: str

    async def run(self, connection: Connection, **values: Any) -> None:
        """Executes it. What it changed is counted by RETURNING and `rows`: a distributed database's command tag, which
        the driver would answer, counts the rows proposed (docs/decisions/0041).
        """
        await connection.execute(self.text, *self.arguments(values))

    async def rows(self, connection: Connection, **values: Any) -> list[Any]:
        return list(await connection.fetch(self.text, *self.arguments(values)))

    async def row(self, connection: Connection, **values: Any) -> Any:
        return await connection.fetchrow(self.text, *self.arguments(values))

    async def value(self, connection: Connection, **values: Any) -> Any:
        return await connection.fetchval(self.text, *self.arguments(values))

    def arguments(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """The values in the order of the parameters."""
        assert values.keys() == set(self.parameters), f"{self.name} takes {self.parameters}, not {tuple(values)}"
        return [values[name] for name in self.parameters]


_ENCODER: Final = msgspec.json.Encoder()


def array(values: Iterable[Any]) -> str:
    """An array as PostgreSQL reads it, for a parameter `:names::text::type[]`: of a list the driver looks at each element.

    Of numbers, instants, truth values and None, and of texts of ours. Not of what a person wrote: a control character is
    escaped by JSON in a way that an array does not know.

    >>> array([1, None, 3])
    '{1,null,3}'
    """
    return "{" + _ENCODER.encode(list(values))[1:-1].decode() + "}"


def load(noun: str) -> dict[str, Query]:
    """The queries of store/sql/<noun>.sql by name."""
    return parse((files("kosminar.store") / "sql" / f"{noun}.sql").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Query]:
    """Blocks of `-- name`, purpose comment and statement, separated by blank lines."""
    queries: dict[str, Query] = {}
    for block in re.split(r"\n\s*\n(?=-- [a-z_]+\n)", text.strip()):
        name_line, *lines = block.splitlines()
        match = _NAME.match(name_line)
        if match is None:
            continue
        purpose = [line.removeprefix("-- ") for line in lines if line.startswith("--")]
        statement = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
        assert match[1] not in queries, f"two queries are named {match[1]}"
        queries[match[1]] = _bind(match[1], " ".join(purpose), statement)
    return queries


def _bind(name: str, purpose: str, statement: str) -> Query:
    parameters: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            parameters.append(match[1])
        return f"${parameters.index(match[1]) + 1}"

    text = _PARAMETER.sub(number, statement)
    plain = "\n".join(line for line in text.splitlines() if not line.endswith(FOR_CITUS))
    return Query(name, purpose, text, tuple(parameters), plain)
