"""The tables and the picture of docs/performance.md, made from benchmarks/results.json: `python -m benchmarks.report`.

Everything between the two marks of a part is replaced; the words around it are written by hand.
"""

import json
import math
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
PICTURE = HERE.parent / "docs" / "performance.svg"

LEGEND = "The black mark is the aim, green is met. In comparisons of time (median, p99) less is better."

ROW_HEIGHT, WIDTH, LEFT, RIGHT = 22, 900, 400, 70
# The picture's scale, logarithmic: what we do for one of the yardstick's.
RATIO_MIN, RATIO_MAX = 0.01, 10.0


def write() -> None:
    """Bring the page and the picture up to date with the results."""
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    machine = "; ".join(f"{name} {value}" for name, value in results["machine"].items())
    page = _put(page, "machine", f"![Ours to the yardstick](performance.svg)\n\n{LEGEND}\n\nMeasured on: {machine}.")
    for name, rows in results["parts"].items():
        page = _put(page, name, _table(rows))
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_text(_picture(results["parts"]), encoding="utf-8")


def _put(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    assert page.count(begin) == page.count(end) == 1, f"the page has one place for {name}"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| measured | ours | yardstick | unit | ratio (lowest to highest) | aim | |",
        "|---|--:|--:|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_compared(row) if "ratio" in row else _figure(row) for row in rows)])


def _compared(row: dict[str, Any]) -> str:
    ours, yardstick = (median(one[row["of"]] for one in row[side]) for side in ("ours", "yardstick"))
    spread = f"{row['ratio']:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
    cpu = f"<br>CPU of one: {row['cpu']}" if row.get("cpu") else ""
    return (
        f"| {row['title']}{cpu} | {_number(ours)} | {_number(yardstick)} | {row['unit']} | {spread} | {_aim(row)} | "
        f"{_verdict(row)} |"
    )


def _figure(row: dict[str, Any]) -> str:
    note = f"<br>{row['note']}" if row["note"] else ""
    return f"| {row['title']}{note} | {_number(row['value'])} | | {row['unit']} | | {_aim(row)} | {_verdict(row)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.3g}"


def _aim(row: dict[str, Any]) -> str:
    if row["aim"] is None:
        return ""
    goal = "" if row.get("goal") is None else f"; {row['goal']:g} is better"
    return f"{'at most' if row['at_most'] else 'at least'} {row['aim']:g}{goal}"


def _verdict(row: dict[str, Any]) -> str:
    if row.get("goal_met"):
        return "met, and the better one"
    return {None: "", True: "met", False: "**missed**"}[row["met"]]


def _picture(parts: dict[str, list[dict[str, Any]]]) -> str:
    """A bar for each ratio, with a line where its aim is; green where it is met."""
    rows = [row for part in parts.values() for row in part if "ratio" in row]
    height = ROW_HEIGHT * (len(rows) + 2)
    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            'font-size="12" role="img" aria-label="Ours to the yardstick, for each measurement">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for ratio in (0.01, 0.1, 1, 10):
        x = _x(ratio)
        drawn.append(f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="{height - 8}" stroke="#dddddd"/>')
        drawn.append(f'<text x="{x:.1f}" y="14" text-anchor="middle" fill="#555555">{ratio:g}</text>')
    for number, row in enumerate(rows, start=1):
        drawn += _bar(row, y=ROW_HEIGHT * number)
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _bar(row: dict[str, Any], *, y: int) -> list[str]:
    colour = {None: "#8a94a6", True: "#3d8f5f", False: "#c0563f"}[row["met"]]
    x = _x(row["ratio"])
    bar = [
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(row["title"])}</text>',
        f'<rect x="{LEFT}" y="{y + 4}" width="{max(1.0, x - LEFT):.1f}" height="{ROW_HEIGHT - 8}" fill="{colour}"/>',
        f'<text x="{x + 4:.1f}" y="{y + 15}">{row["ratio"]:.2f}</text>',
    ]
    if row["aim"] is not None:
        aim = _x(row["aim"])
        bar.append(
            f'<line x1="{aim:.1f}" y1="{y + 1}" x2="{aim:.1f}" y2="{y + ROW_HEIGHT - 1}" stroke="#222222" '
            'stroke-width="2"/>'
        )
    return bar


def _x(ratio: float) -> float:
    share = math.log(max(RATIO_MIN, min(RATIO_MAX, ratio)) / RATIO_MIN) / math.log(RATIO_MAX / RATIO_MIN)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


if __name__ == "__main__":
    write()
