"""The documents stand alone and keep up with the code: links, commands, settings, operations, decisions."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from kosminar.api.app import OPERATIONS
from kosminar.api.openapi import document
from kosminar.cli import app
from kosminar.core.activity import TRANSACTION
from kosminar.core.fact import FactName
from kosminar.settings import SETTINGS, variable

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
# What a decision record has, in order.
DECISION_HEADINGS = ["## Context", "## Decision", "## Consequences"]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Folders that only one machine has, or a place outside the clone. /usr/local, /var/lib and /tmp are named on purpose.
FOREIGN = re.compile(r"\.\./shared|(?<![\w.:/])/(?:work|home|root|Users|mnt)/\w")
TEXTS = (".md", ".py", ".sql", ".toml", ".txt", ".yml", ".yaml", ".sh", "")
SKIPPED = {".git", ".venv", "build", "__pycache__"}


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, blanks to dashes, punctuation left out."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        kept = [c for c in heading.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN"]
        found.add("".join(kept).replace(" ", "-"))
    return found


def commands(group: click.Group, prefix: str = "kosminar") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def texts() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in parts)
        if path.is_file() and path.suffix in TEXTS and not hidden and not parts & SKIPPED:
            yield path


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_link_inside_the_documents_leads_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        within = there == ROOT or ROOT in there.parents
        if not within or not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_path_of_the_tree_that_a_document_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|docs|requirements|\.ci)/[\w./-]+)`", page.read_text(encoding="utf-8"))

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_architecture_names_every_module_and_none_that_is_gone() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "kosminar"
    layers = ("core", "engine", "api", "store")
    modules = [path for layer in layers for path in (source / layer).glob("*.py") if path.name != "__init__.py"]
    # The store's modules of one noun are told together.
    nouns = {path.stem for path in (source / "store" / "sql").glob("*.sql")}
    told = {
        f"{path.parent.name}/{path.name}"
        for path in modules
        if not (path.parent.name == "store" and path.stem in nouns)
    }

    named = set(re.findall(r"`((?:core|engine|api|store)/(?:\w+/)?\w+\.(?:py|sql))`", text))

    # Small helpers of the API beside those that matter need no row.
    assert sorted(told - named - {"api/known.py", "api/probes.py"}) == []
    assert (
        sorted(path for path in named if not (source / path).exists() and not (source / path).match("*/<noun>*")) == []
    )


def test_every_command_is_told_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)

    assert [command for command in commands(group) if f"`{command}`" not in readme] == []


def test_every_setting_is_told_with_its_default_and_no_other_is() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(KOSMINAR_\w+)` \| `?([^`|]+?)`? \|", text, re.MULTILINE))

    assert sorted(rows) == sorted(variable(name) for name in SETTINGS)
    for name, about in SETTINGS.items():
        if isinstance(about["default"], str | int):
            assert rows[variable(name)] == str(about["default"])
        assert about["about"].rstrip(".") in text


def test_every_operation_is_in_the_api_document_once() -> None:
    paths = document(OPERATIONS)["paths"]

    described = {(method.upper(), path) for path, item in paths.items() for method in item if method != "servers"}

    assert described == {(operation.method, operation.path) for operation in OPERATIONS}


def test_every_operation_that_a_document_names_exists() -> None:
    known = {(operation.method, re.sub(r"{\w+}", "{}", operation.path)) for operation in OPERATIONS}
    unknown = []
    for page in DOCUMENTS:
        for method, path in re.findall(
            r"\b(GET|POST|PUT|PATCH|DELETE) `?(/[\w./{}-]+)", page.read_text(encoding="utf-8")
        ):
            bare = re.sub(r"^/v3(\.1)?(?=/)", "", path)
            if (method, re.sub(r"{\w+}", "{}", bare)) not in known | {("GET", "/openapi.json")}:
                unknown.append((name_of(page), method, path))

    assert unknown == []


def test_the_glossary_uses_the_codes_own_names() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    tables = set(re.findall(r"[Tt]able `(\w+)`", glossary))
    columns = set(re.findall(r"[Cc]olumn `(\w+)`", glossary))
    schema = "\n".join(path.read_text() for path in (ROOT / "src/kosminar/store/migrations").glob("*.sql"))

    assert {table for table in tables if f"CREATE TABLE {table} (" not in schema} == set()
    assert {column for column in columns if not re.search(rf"^    {column} ", schema, re.MULTILINE)} == set()
    assert TRANSACTION in glossary
    # Every fact's words are told, by their stem: "opted_out" by "opt-out".
    words = {word for name in FactName for word in name.value.split("_")} - {
        "un",
        "re",
        "back",
        "set",
        "withdrawn",
        "out",
    }
    assert {word for word in words if word[:3] not in glossary.lower()} == set()


def test_decision_records_are_numbered_without_gaps_and_have_one_form() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]

    assert numbers == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {page.name[:4]}. "), page.name
        assert re.fullmatch(r"Status: (accepted|superseded by \[\d{4}\]\(.+\))", lines[2]), page.name
        assert [line for line in lines if line.startswith("## ")] == DECISION_HEADINGS, page.name


def test_every_decision_record_that_is_cited_exists() -> None:
    numbers = {page.name[:4] for page in DECISIONS}
    cited = {number for path in texts() for number in re.findall(r"ADR-(\d{4})", path.read_text(encoding="utf-8"))}

    assert cited - numbers == set()


def test_nothing_in_the_tree_points_outside_it() -> None:
    here = Path(__file__).resolve()
    found = [
        f"{name_of(path)}: {line.strip()}"
        for path in texts()
        if path != here
        for line in path.read_text(encoding="utf-8").splitlines()
        if FOREIGN.search(line)
    ]

    assert found == []
