"""One function of one module reads the machine's clock; everywhere else time is an argument.

The linter forbids the usual spellings too; this looks at every call, however the name was imported.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "kosminar"
# What tells the time of day. A monotonic clock tells only how long something took, and is free.
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime", "ctime"}
OF_MODULES = {"datetime", "date", "time"}


def readings(path: Path) -> Iterator[str]:
    """Every call of a clock, and every clock that is imported or handed on by its bare name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                if name in CLOCKS and owner in OF_MODULES and not (owner == "datetime" and name == "time"):
                    yield f"{place} {owner}.{name}"
            case ast.ImportFrom(module="time", names=names):
                yield from (f"{place} time.{one.name}" for one in names if one.name in CLOCKS)


def test_only_the_wiring_reads_the_machines_clock() -> None:
    found = [reading for path in sorted(SOURCE.rglob("*.py")) for reading in readings(path)]

    assert [reading.split(":")[0] for reading in found] == ["wiring.py"], found


def test_a_clock_that_is_read_elsewhere_would_be_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    page = tmp_path / "page.py"
    page.write_text(
        "import datetime, time\nfrom datetime import datetime as moment, time as hour\nfrom time import time_ns\n"
        "a = datetime.datetime.now()\nb = time.time()\nc = datetime.date.today()\nd = hour(9)\ne = time.monotonic()\n"
    )

    assert sorted(readings(page)) == [
        "page.py:3 time.time_ns",
        "page.py:4 datetime.now",
        "page.py:5 time.time",
        "page.py:6 date.today",
    ]
