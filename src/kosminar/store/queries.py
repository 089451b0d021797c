"""Named queries: reads the .sql files beside the store modules and binds their named parameters.

A file is a row of blocks: `-- name`, a purpose line, the statement. `:name` in a statement becomes `$n` once, when the
file is loaded, so that the driver prepares one text for ever. Never builds SQL from values. tests/structure prepares
every query against the migrated schema and checks that each one is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias

import asyncpg

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_NAME = re.compile(r"^-- ([a-z_]+)$")
# A colon that is not half of a cast `::type` and not inside a word.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z_]*)")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement; `parameters` are in the order of its $1, $2, ..."""

    name: str
    purpose: str
    text: str
    parameters: tuple[str, ...]

    async def run(self, connection: Connection, **values: Any) -> None:
        """Executes it. What it changed is counted by RETURNING and `rows`: a distributed database's command tag, which
        the driver would answer, counts the rows proposed (docs/decisions/0041).
        """
        await connection.execute(self.text, *self._arguments(values))

    async def rows(self, connection: Connection, **values: Any) -> list[Any]:
        return list(await connection.fetch(self.text, *self._arguments(values)))

    async def row(self, connection: Connection, **values: Any) -> Any:
        return await connection.fetchrow(self.text, *self._arguments(values))

    async def value(self, connection: Connection, **values: Any) -> Any:
        return await connection.fetchval(self.text, *self._arguments(values))

    def _arguments(self, values: dict[str, Any]) -> Sequence[Any]:
        assert values.keys() == set(self.parameters), f"{self.name} takes {self.parameters}, not {tuple(values)}"
        return [values[name] for name in self.parameters]


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

    return Query(name, purpose, _PARAMETER.sub(number, statement), tuple(parameters))
