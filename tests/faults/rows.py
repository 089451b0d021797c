"""The rows: how they are read, where their lines stand, and how they are applied to a copy of the tree.

A row is a table `[[fault]]` with promise, part, test, file, line, broken and said. `line` is one whole line without its
indentation that stands exactly once in the file; `broken` takes its place, with the same indentation, and may have
several lines or none. Where a line stands more than once, `below` names a line that stands once: the first one below it
is meant. Where one edit is not enough, further ones follow as `[[fault.also]]`, each with file, line and broken.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT / "tests" / "faults.toml"
PARTS = ROOT / "tests" / "faults_parts.txt"

EDIT = {"file", "line", "broken", "below"}
TEXTS = ("promise", "part", "test", "said")


class RowError(Exception):
    """A row that cannot be applied. The message says which one, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One line of one file, as it is and as it is broken."""

    file: str
    line: str
    broken: str
    below: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One part of one promise, the edits that break it, the test that must then fail, and what that test said."""

    promise: str
    part: str
    test: str
    edits: tuple[Edit, ...]
    said: str

    @property
    def name(self) -> str:
        first = self.edits[0]
        return f"{self.part} | {first.file}: {first.line}"

    @property
    def identity(self) -> str:
        """The part, as it stands in the list of parts."""
        return f"{self.promise} | {self.part}"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The promises in the order of the page, and the faults in the order of the file."""

    promises: tuple[str, ...]
    faults: tuple[Fault, ...]


def read_rows(path: Path = ROWS) -> Rows:
    """Every row of the file. Raises RowError for a row with a field too few or too many, or of an unknown promise."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    promises = tuple(data["promises"])
    faults = tuple(_fault(row, number) for number, row in enumerate(data["fault"], start=1))
    for fault in faults:
        if fault.promise not in promises:
            raise RowError(
                f"{fault.name}: the promise {fault.promise!r} is not among `promises` at the top of the file."
            )
    if twice := [fault.name for fault, count in Counter(faults).items() if count > 1]:
        raise RowError(f"These stand twice: {twice}")
    return Rows(promises=promises, faults=faults)


def read_parts(path: Path = PARTS) -> list[str]:
    """The parts of promises that must have a row: `promise | part`, one a line."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def chosen(faults: Iterable[Fault], only: str) -> list[Fault]:
    """The faults with that text in their promise, part, test, or one of their files and lines."""

    def words(fault: Fault) -> str:
        edits = (text for edit in fault.edits for text in (edit.file, edit.line, edit.broken))
        return "\n".join((fault.promise, fault.part, fault.test, *edits))

    return [fault for fault in faults if only in words(fault)]


def apply(fault: Fault, tree: Path) -> None:
    """Break the tree. Raises RowError where a line does not stand once, or where what comes of it is no Python."""
    for file, text in broken_texts(fault, tree).items():
        path = tree / file
        path.write_text(text, encoding="utf-8")
        # Compiled code is told from stale code by the second and the size, and a line may be broken within both.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()


def broken_texts(fault: Fault, tree: Path) -> dict[str, str]:
    """Each file of the fault with all edits of it, one after another. Raises RowError as `apply` does."""
    texts: dict[str, str] = {}
    for edit in fault.edits:
        text = texts.get(edit.file) or (tree / edit.file).read_text(encoding="utf-8")
        texts[edit.file] = broken_text(edit, text)
    for file, text in texts.items():
        if file.endswith(".py"):
            try:
                compile(text, file, "exec")
            except SyntaxError as error:
                raise RowError(f"{file} as broken is no Python: {error}") from error
    return texts


def broken_text(edit: Edit, text: str) -> str:
    """The file's text with that edit."""
    lines = text.splitlines()
    index = position(edit, [line.strip() for line in lines])
    indentation = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
    lines[index : index + 1] = [f"{indentation}{line}" for line in edit.broken.splitlines()]
    return "\n".join(lines) + "\n"


def position(edit: Edit, stripped: list[str]) -> int:
    """The index of the line that the edit means, among the file's lines without indentation."""
    if edit.below is None:
        return _only(edit.line, stripped, edit.file)
    start = _only(edit.below, stripped, edit.file)
    if edit.line not in stripped[start:]:
        raise RowError(f"{edit.file}: below {edit.below!r} there is no line {edit.line!r}. Break the one in its place.")
    return stripped.index(edit.line, start)


def _only(line: str, stripped: list[str], file: str) -> int:
    count = stripped.count(line)
    if count == 0:
        raise RowError(f"{file}: the line {line!r} is gone. Break the one in its place, and see the test fail.")
    if count > 1:
        raise RowError(f"{file}: the line {line!r} stands {count} times. Name a line above it with `below`.")
    return stripped.index(line)


def _fault(row: dict[str, Any], number: int) -> Fault:
    also = row.get("also", [])
    first = {name: row[name] for name in EDIT if name in row}
    for fields, known in ((row, {*EDIT, *TEXTS, "also"}), *((edit, EDIT) for edit in also)):
        if unknown := set(fields) - known:
            raise RowError(f"fault {number} has unknown fields: {sorted(unknown)}")
    missing = [name for name in TEXTS if not row.get(name)]
    missing += [name for edit in (first, *also) for name in ("file", "line", "broken") if name not in edit]
    if missing:
        raise RowError(f"fault {number} ({row.get('part', 'no part')}) lacks {missing}")
    return Fault(
        **{name: row[name] for name in TEXTS},
        edits=tuple(Edit(**edit) for edit in (first, *also)),
    )
