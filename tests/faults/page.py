"""Writes the tables of docs/reliability.md from the rows, and adds new parts to the list of parts: `make faults-page`."""

import re

from tests.faults.rows import PARTS, ROOT, Edit, Fault, Rows, read_parts, read_rows

PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- The tables are written by `make faults-page` from tests/faults.toml. -->"
END = "<!-- The tables end here. -->"
HEAD = "| part | test that fails | line as it is | as it was broken | and the test said |\n|---|---|---|---|---|"
OURS = "src/kosminar/"


def main() -> None:
    rows = read_rows()
    parts = read_parts()
    new = [fault.identity for fault in rows.faults if fault.identity not in parts]
    if new:
        with PARTS.open("a", encoding="utf-8") as file:
            file.writelines(f"{part}\n" for part in dict.fromkeys(new))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


def with_tables(page: str, rows: Rows) -> str:
    """The page with what stands between its marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(rows)}\n\n{END}{after}"


def tables(rows: Rows) -> str:
    """A table for each promise that has rows, numbered in the order of the promises."""
    blocks = [f"{len(rows.faults)} faults; each must be caught."]
    for number, promise in enumerate(rows.promises, start=1):
        lines = [_row(fault) for fault in rows.faults if fault.promise == promise]
        if lines:
            blocks.append(f"### {number}. {promise[0].upper()}{promise[1:]}")
            blocks.append("\n".join([HEAD, *lines]))
    return "\n\n".join(blocks)


def _row(fault: Fault) -> str:
    cells = [
        fault.part,
        f"`{fault.test}`",
        "; ".join(_place(edit) for edit in fault.edits),
        "; ".join(_broken(edit) for edit in fault.edits),
        fault.said,
    ]
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _place(edit: Edit) -> str:
    below = f", below {_code(edit.below)}" if edit.below is not None else ""
    return f"`{edit.file.removeprefix(OURS)}`{below}: {_code(edit.line)}"


def _broken(edit: Edit) -> str:
    return ", then ".join(_code(line) for line in edit.broken.splitlines()) or "nothing"


def _code(text: str) -> str:
    """Markdown's code, also for a text with backticks."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    gap = " " if len(fence) > 1 else ""
    return f"{fence}{gap}{text.strip()}{gap}{fence}"


def _cell(text: str) -> str:
    """A bar would end the cell, in code as well."""
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    main()
