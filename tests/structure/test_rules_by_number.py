"""Every rule that code or tests cite by number is told in docs/decisions.md: 1 to 34 all, later ones where cited."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "decisions.md"
RULE_COUNT = 34

ENTRY = re.compile(r"^### (\d+)\. \S", re.MULTILINE)
# "decision 12", "rules 7 and 8", "decisions 12, 18 to 21"; a list may go on in the next line, behind a comment's mark.
GAP = r"(?:\s|#|--)"
CITED = re.compile(rf"\b(?:decision|rule)s?{GAP}+(\d+\b(?:{GAP}*(?:,|\band\b|\bto\b){GAP}*\d+\b)*)", re.IGNORECASE)


def test_entries_run_without_gaps() -> None:
    assert entries()[:RULE_COUNT] == list(range(1, RULE_COUNT + 1))
    assert entries() == sorted(set(entries()))


def test_each_cited_number_has_its_entry() -> None:
    told = set(entries())
    cited = {
        (str(path.relative_to(ROOT)), number) for path in sources() for number in numbers_cited(path.read_text("utf-8"))
    }

    assert cited, "the pattern finds what is cited"
    assert sorted((path, number) for path, number in cited if number not in told) == []


def test_lists_and_ranges_are_read_whole() -> None:
    text = "(decisions 12, 18 to 21), rules 7 and\n# 8, Rule 30. In 5 periods."

    assert numbers_cited(text) == {7, 8, 12, 18, 19, 20, 21, 30}


def entries() -> list[int]:
    return [int(number) for number in ENTRY.findall(PAGE.read_text("utf-8"))]


def sources() -> Iterator[Path]:
    for folder in ("src/kosminar", "tests"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sql"))


def numbers_cited(text: str) -> set[int]:
    found: set[int] = set()
    for match in CITED.finditer(text):
        numbers = [int(number) for number in re.findall(r"\d+", match[1])]
        found.update(numbers)
        for span in re.finditer(r"(\d+)\s+to\s+(\d+)", match[1]):
            found.update(range(int(span[1]), int(span[2]) + 1))
    return found
