"""The page of promises cannot rot: each promise has its rows, and each test that is named exists.

Its tables are written from tests/faults.toml, which test_faults.py looks after.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^### (\d+)\. .+?$(.+?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
# A bar inside a cell is escaped.
CELL_END = re.compile(r" (?<!\\)\| ")
ROWS = [
    (number, [cell.strip() for cell in CELL_END.split(line.removeprefix("| ").removesuffix(" |"))])
    for number, section in PROMISES
    for line in section.splitlines()
    if line.startswith("| ") and not line.startswith("| part |")
]
# One case of a test has its name in brackets.
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)(?:\[[^`]+\])?`")


def test_each_promise_has_its_rows_and_each_row_every_cell() -> None:
    numbers = [number for number, _ in PROMISES]

    assert numbers[:8] == ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert {number for number, _ in ROWS} == set(numbers)
    assert [row for _, row in ROWS if len(row) != 5 or not all(row)] == []


def test_each_test_that_is_named_exists() -> None:
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(PAGE)
        if not (ROOT / path).exists()
        or not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert NAMED.findall(PAGE) != []
    assert missing == []


def test_nothing_that_looks_like_a_test_is_named_without_its_file() -> None:
    assert re.findall(r"`(test_\w+)`", PAGE) == []
