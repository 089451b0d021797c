"""Each part of each promise keeps a fault that was seen to be caught; `make faults` tries them, this looks after the rows.

Rows are in tests/faults.toml, the parts that must have one in tests/faults_parts.txt. A row may be replaced by another
one for the same part of the same promise. No part is ever taken off the list.
"""

import ast
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.page import PAGE, with_tables
from tests.faults.rows import (
    PARTS,
    ROOT,
    ROWS,
    Edit,
    Fault,
    RowError,
    broken_text,
    broken_texts,
    position,
    read_parts,
    read_rows,
)

FAULTS = read_rows().faults
# Those that stood on the page before they were data.
FIRST_COUNT = 74


def test_every_part_that_was_ever_listed_has_a_row() -> None:
    parts = read_parts()
    guarded = {fault.identity for fault in FAULTS}

    assert [part for part, count in Counter(parts).items() if count > 1] == []
    assert len(parts) >= FIRST_COUNT
    assert [part for part in parts if part not in guarded] == []


def test_every_row_is_for_a_part_that_is_listed() -> None:
    """So that it cannot be dropped later: `make faults-page` lists it."""
    parts = set(read_parts())

    assert [fault.identity for fault in FAULTS if fault.identity not in parts] == []


def test_no_part_was_taken_off_the_list_since_it_was_begun() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("NOT TESTED: the history of the list is in git, and this tree has none")
    words = ("log", "-m", "--format=", "--patch", "--unified=0", "--", str(PARTS.relative_to(ROOT)))
    history = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    ever = {line[1:] for line in history.splitlines() if " | " in line and line[0] in "+-"}

    assert sorted(ever - set(read_parts())) == []


def test_each_line_stands_where_the_row_says_and_breaking_it_changes_the_file() -> None:
    for fault in FAULTS:
        for file, text in broken_texts(fault, ROOT).items():
            assert text != (ROOT / file).read_text(encoding="utf-8"), fault.name
        assert [edit for edit in fault.edits if edit.line != edit.line.strip() or "\n" in edit.line] == []


def test_a_line_that_is_gone_or_stands_twice_is_no_place() -> None:
    lines = ["def first():", "return 1", "def second():", "return 1", "return 2"]

    def edit(line: str, below: str | None = None) -> Edit:
        return Edit(file="one.py", line=line, broken="pass", below=below)

    assert position(edit("return 2"), lines) == 4
    assert position(edit("return 1", "def first():"), lines) == 1
    assert position(edit("return 1", "def second():"), lines) == 3
    for line, below, message in (
        ("return 3", None, "'return 3' is gone"),
        ("return 1", None, "'return 1' stands 2 times"),
        ("return", None, "'return' is gone"),
        ("return 1", "return 2", "below 'return 2' there is no line 'return 1'"),
        ("return 2", "return 1", "'return 1' stands 2 times"),
        ("return 2", "def third():", "'def third():' is gone"),
    ):
        with pytest.raises(RowError, match=message.replace("(", r"\(").replace(")", r"\)")):
            position(edit(line, below), lines)


def test_a_broken_line_keeps_the_indentation_and_may_become_several_or_none() -> None:
    def broken(text: str) -> str:
        return broken_text(Edit(file="one.py", line="one()", broken=text), "if True:\n    one()\nlast()\n")

    assert broken("two()") == "if True:\n    two()\nlast()\n"
    assert broken("if two():\n    three()") == "if True:\n    if two():\n        three()\nlast()\n"
    assert broken("") == "if True:\nlast()\n"


def test_a_second_edit_finds_its_line_in_what_the_first_one_left(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("one\ntwo\n")
    edits = [Edit(file="one.sql", line=line, broken=broken) for line, broken in (("one", "three"), ("three", "four"))]
    fault = Fault(promise="Numbers", part="two", test="tests/test_two.py::test_two", edits=tuple(edits), said="no")

    assert broken_texts(fault, tmp_path) == {"one.sql": "four\ntwo\n"}
    assert (tmp_path / "one.sql").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("said = ", "says = "), "unknown fields: \\['says'\\]"),
        (('part = "two"', ""), r"fault 1 \(no part\) lacks \['part'\]"),
        (('broken = ""', ""), r"fault 1 \(two\) lacks \['broken'\]"),
        (('promise = "Numbers"', 'promise = "Number"'), "'Number' is not among `promises`"),
    ],
)
def test_a_row_with_a_field_too_few_or_too_many_is_refused(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    row = (
        'promises = ["Numbers"]\n[[fault]]\npromise = "Numbers"\npart = "two"\ntest = "tests/test_two.py::test_two"\n'
        'file = "two.py"\nline = "return 2"\nbroken = ""\nsaid = "1 != 2"\n'
    )
    path = tmp_path / "faults.toml"
    path.write_text(row)
    assert len(read_rows(path).faults) == 1

    path.write_text(row.replace(*change))

    with pytest.raises(RowError, match=message):
        read_rows(path)


def test_each_test_that_a_row_names_is_a_function_that_pytest_collects() -> None:
    missing = []
    for fault in FAULTS:
        file, _, name = fault.test.partition("[")[0].partition("::")
        path = ROOT / file
        functions = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
        names = {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        collected = path.name.startswith("test_") and name.startswith("test_") and path.is_relative_to(ROOT / "tests")
        if not collected or name not in names:
            missing.append(fault.test)

    assert missing == []


def test_the_page_shows_the_rows_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_tables(page, read_rows()), f"{ROWS.name} was changed: run `make faults-page`"
