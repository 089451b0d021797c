"""The harness of `make bench`: each part has its place on the page, what it asks of our tables is there, verdicts are right."""

import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from benchmarks import kept
from benchmarks.__main__ import PARTS
from benchmarks.cpu import watched
from benchmarks.pairs import Comparison, Figure, Measured
from benchmarks.report import PAGE

KEPT = {name: value for name, value in vars(kept).items() if name.isupper() and isinstance(value, str)}


def test_each_part_has_one_place_on_the_page_and_each_place_a_part() -> None:
    page = PAGE.read_text(encoding="utf-8")

    begun, ended = (re.findall(pattern, page) for pattern in (r"<!-- (?!end of )(.+?) -->", r"<!-- end of (.+?) -->"))

    assert begun == ended
    assert sorted(begun) == sorted([*PARTS, "machine"])


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KEPT)
async def test_what_is_asked_of_kosminars_tables_can_be_asked(database_url: str, name: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetch(KEPT[name])
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_the_tables_that_are_copied_first_are_kept_by_customer(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'customer_id'"
        )
    finally:
        await connection.close()

    assert set(kept.LARGEST_TABLES) <= {row["table_name"] for row in rows}


@pytest.mark.parametrize(
    ("rate", "met", "goal_met"), [(49, False, False), (50, True, False), (59, True, False), (60, True, True)]
)
def test_a_ratio_meets_its_aim_and_a_better_one_from_the_bound_on(rate: float, met: bool, goal_met: bool) -> None:
    compared = Comparison("x", "activities/s", aim=0.5, goal=0.6, ours=[Measured(rate)], yardstick=[Measured(100)])

    assert (compared.met, compared.goal_met) == (met, goal_met)
    assert (compared.result()["met"], compared.result()["goal_met"]) == (met, goal_met)


@pytest.mark.parametrize(("value", "met", "goal_met"), [(20, True, True), (21, True, False), (31, False, False)])
def test_a_time_meets_its_aim_and_a_better_one_up_to_the_bound(value: float, met: bool, goal_met: bool) -> None:
    figure = Figure("x", value, "ms", aim=30, goal=20)

    assert (figure.met, figure.goal_met) == (met, goal_met)


def test_the_cpu_time_of_one_is_told_of_both_sides_as_medians() -> None:
    ours = [Measured(1, server_us=us, database_us=7) for us in (100, 200, 900)]
    compared = Comparison("x", "activities/s", ours=ours, yardstick=[Measured(1, database_us=3)] * 3)

    assert compared.cpu() == "ours 200 us server + 7 us database; yardstick 3 us database"
    assert Comparison("x", "ms", of="p99_ms", ours=ours, yardstick=ours).cpu() == ""


BURNS = """
import sys, time
sys.stdin.readline()
until = time.process_time() + float(sys.argv[1])
while time.process_time() < until:
    pass
print("done", flush=True)
sys.stdin.readline()
"""


def test_cpu_time_is_counted_of_servers_and_of_the_database_apart() -> None:
    server, database = (
        subprocess.Popen(
            [sys.executable, "-c", BURNS, seconds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for seconds in ("0.6", "0.2")
    )
    try:
        with watched(database.pid, [server.pid]) as cpu:
            for process in (server, database):
                _go_on(process)
                assert process.stdout is not None
                assert process.stdout.readline() == "done\n"
    finally:
        for process in (server, database):
            process.communicate("\n")

    # The kernel tells hundredths; starting Python may fall into it.
    assert 0.55 <= cpu.server_seconds < 1.0
    assert 0.15 <= cpu.database_seconds < 0.5
    assert cpu.server_us(2) == cpu.server_seconds * 500_000


def _go_on(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_only_a_few_files_of_the_benchmarks_name_kosminars_tables() -> None:
    """Those that name tables of yardsticks, and the counters that an overview reads."""
    naming = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(?:activity|command|fact|progress|enrolment|reward|counter_\w+)\b")
    files = [
        path for path in Path(kept.__file__).parent.glob("*.py") if naming.search(path.read_text(encoding="utf-8"))
    ]

    assert {path.name for path in files} == {"kept.py", "counters.py", "activities.py", "writes.py"}
