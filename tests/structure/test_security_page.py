"""The threat model claims nothing without a test: each row names one, and each test that is named exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CLAIMS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| against |")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_each_row_names_what_is_done_and_a_test_of_it() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in CLAIMS]

    assert CLAIMS != []
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert [row[0] for row in rows if not NAMED.search(row[2])] == []


def test_each_test_that_is_named_exists() -> None:
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(PAGE)
        if not (ROOT / path).exists()
        or not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert missing == []


def test_nothing_that_looks_like_a_test_is_named_without_its_file() -> None:
    assert re.findall(r"`(test_\w+)`", PAGE) == []
