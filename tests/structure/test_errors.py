"""The list of codes for people says what the list for machines says, and nothing can leave the house that is on none."""

import re
from collections import Counter
from pathlib import Path

from kosminar.api.answer import TITLES
from kosminar.core.errors import MESSAGES, Code

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| \d", line)]
# Ours start here (decision 33).
OURS_FROM = 390_001
# A warning comes with success; an item of a batch has its code inside one.
STATUSES = {*map(str, TITLES), "200"}


def test_every_code_is_on_the_page_once_in_order_with_its_name_and_message() -> None:
    assert [(int(code), name, message) for code, name, message, *_ in ROWS] == [
        (int(code), f"`{code.name}`", MESSAGES[code]) for code in sorted(Code)
    ]


def test_every_row_says_with_which_status_where_and_what_to_do() -> None:
    for row in ROWS:
        assert len(row) == 6, row
        _, _, _, status, where, advice = row
        statuses = re.findall(r"\b\d{3}\b", status)
        assert statuses, row
        assert set(statuses) <= STATUSES, row
        assert where, row
        assert advice.endswith("."), row


def test_no_code_is_there_twice_and_each_has_words() -> None:
    # An enum makes a second name of a repeated number an alias, which iteration passes over.
    assert [name for name, code in Code.__members__.items() if name != code.name] == []
    assert set(MESSAGES) == set(Code)
    assert [message for message, count in Counter(MESSAGES.values()).items() if count > 1] == []


def test_ours_are_numbered_without_gaps_from_the_first() -> None:
    ours = sorted(code for code in Code if code >= OURS_FROM)

    assert ours == list(range(OURS_FROM, OURS_FROM + len(ours)))


def test_codes_are_named_and_never_written_as_numbers() -> None:
    """A number in the source would be a code that nobody finds on the list."""
    strays = []
    for path in sorted((ROOT / "src" / "kosminar").rglob("*.py")):
        if path.name == "errors.py":
            continue
        code = re.sub(r'""".*?"""|#.*', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        strays += [f"{path.name}: {number}" for number in re.findall(r"\b(?:3000|310[01]|3900)\d\d\b", code)]

    assert strays == []
