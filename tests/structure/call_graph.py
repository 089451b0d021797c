"""Which queries of the store a class or function of ours may run, found by following the names in the source.

A name counts as used wherever it stands but in an annotation, so that more may be found than is ever called, and
nothing is missed but what is handed over as an argument from outside. A class stands for all of its methods.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

SOURCE = Path(__file__).parents[2] / "src"

Place: TypeAlias = tuple[str, str]
"""A module and a name at its top level."""


@dataclass
class Module:
    """What stands at the top level of a module, and what its imports call modules and names of ours."""

    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imported: dict[str, Place] = field(default_factory=dict)


def read_modules(package: Path = SOURCE / "kosminar") -> dict[str, Module]:
    modules = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = read_module(path.read_text(encoding="utf-8"))
    return modules


def read_module(text: str) -> Module:
    module = Module()
    for node in ast.parse(text).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                module.definitions[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                module.definitions[name] = node
            case ast.ImportFrom(module=str(source)):
                module.imported |= {one.asname or one.name: (source, one.name) for one in node.names}
    return module


def queries_of(modules: dict[str, Module], start: Place) -> set[str]:
    """The names of the queries that what stands at `start` may run, directly or through others."""
    assert start[1] in modules[start[0]].definitions, f"{start} is not there any more: name what took its place"
    found: set[str] = set()
    seen: set[Place] = set()
    waiting = [start]
    while waiting:
        place = waiting.pop()
        if place in seen or place[0] not in modules or place[1] not in modules[place[0]].definitions:
            continue
        seen.add(place)
        for node in _unannotated(modules[place[0]].definitions[place[1]]):
            found |= _queries(node)
            waiting += _places(modules, place[0], node)
    return found


def _queries(node: ast.AST) -> set[str]:
    match node:
        case ast.Subscript(value=ast.Name(id="QUERIES"), slice=ast.Constant(value=str(name))):
            return {name}
    return set()


def _places(modules: dict[str, Module], module: str, node: ast.AST) -> list[Place]:
    imported = modules[module].imported
    match node:
        case ast.Attribute(value=ast.Name(id=alias), attr=name) if alias in imported:
            return [(".".join(imported[alias]), name)]
        case ast.Name(id=name):
            return [imported.get(name, (module, name))]
    return []


def _unannotated(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for below in value if isinstance(value, list) else [value]:
            if isinstance(below, ast.AST):
                yield from _unannotated(below)
