"""The page of promises cannot rot: each promise has its rows, each test that is named exists, each line still stands.

A row tells a part of a promise, the test that fails without it, a line of ours as it is and as it was broken by hand,
and what the test said then. When the line changes, somebody has to break the new one and look again.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^### (\d+)\. .+?$(.+?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
ROWS = [
    (number, [cell.strip() for cell in line.strip("|").split(" | ")])
    for number, section in PROMISES
    for line in section.splitlines()
    if line.startswith("| ") and not line.startswith("| part |")
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LINE = re.compile(r"`([\w/]+\.(?:py|sql))`: `(.+)`")


def test_each_promise_has_its_rows_and_each_row_every_cell() -> None:
    numbers = [number for number, _ in PROMISES]

    assert numbers[:6] == ["1", "2", "3", "4", "5", "6"]
    assert {number for number, _ in ROWS} == set(numbers)
    assert [row for _, row in ROWS if len(row) != 5 or not all(row)] == []


def test_each_row_names_a_test_and_a_line_of_ours() -> None:
    assert [row[0] for _, row in ROWS if not NAMED.search(row[1])] == []
    assert [row[0] for _, row in ROWS if not LINE.fullmatch(row[2])] == []


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


def test_each_line_still_stands_as_it_was_before_it_was_broken() -> None:
    lines = [found.groups() for _, row in ROWS if (found := LINE.fullmatch(row[2]))]
    gone = [
        f"{path}: {line}"
        for path, line in lines
        if line not in map(str.strip, (ROOT / "src" / "kosminar" / path).read_text(encoding="utf-8").splitlines())
    ]

    assert lines != []
    assert gone == []


def test_each_line_was_broken_into_another() -> None:
    assert [row[0] for _, row in ROWS if row[2].endswith(f": {row[3]}")] == []
