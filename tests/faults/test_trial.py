"""The judge of faults, on real runs of pytest in a small tree: only a test that fails in its call, for a reason, counts.

The small tree has a package kosminar of its own, so that these tests also show that a copy is not mistaken for what is
installed in .venv.
"""

import asyncio
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from tests.faults.rows import ROOT, Edit, Fault
from tests.faults.tree import end, run_tests
from tests.faults.trial import Outcome, try_one, unsound

from kosminar.store.embedded_host import CLUSTER

SOURCE = "src/kosminar/counting.py"
LINE = "return 2 * number"
PACKAGE = f"""
UNIT = 1


def double(number: int) -> int:
    {LINE}
"""
TESTS = """
import pytest


@pytest.fixture
def four() -> int:
    from kosminar.counting import double

    assert double(2) == 4
    return 4


def test_two_becomes_four() -> None:
    from kosminar.counting import double

    assert double(2) == 4


def test_four_is_made_first(four: int) -> None:
    assert four == 4


def test_looks_at_nothing() -> None:
    pass


@pytest.mark.parametrize("number", [0, 1])
def test_one_case_of_two(number: int) -> None:
    from kosminar.counting import double

    assert double(number) == 2 * number


@pytest.mark.timeout(1)
def test_gives_up_by_itself() -> None:
    from kosminar.counting import double

    double(2)


def test_is_always_skipped() -> None:
    pytest.skip("not on this machine")


def test_always_fails() -> None:
    raise AssertionError
"""
SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["src", "."]
addopts = ["--import-mode=importlib", "-p", "xdist.plugin", "-p", "pytest_timeout"]
"""
COLLECTED = """
from kosminar.counting import UNIT


def test_is_collected() -> None:
    assert UNIT == 1
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("small") / "base"
    (base / "src" / "kosminar").mkdir(parents=True)
    (base / "src" / "kosminar" / "__init__.py").touch()
    (base / SOURCE).write_text(PACKAGE)
    shutil.copytree(ROOT / "tests" / "faults", base / "tests" / "faults")
    (base / "tests" / "test_small.py").write_text(TESTS)
    (base / "tests" / "test_collected.py").write_text(COLLECTED)
    (base / "pyproject.toml").write_text(SETTINGS)
    return base


@pytest.fixture(autouse=True)
def only_the_plugins_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of pytest with every plugin of .venv takes four times as long."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def fault(test: str, broken: str, *, line: str = LINE, module: str = "test_small") -> Fault:
    edit = Edit(file=SOURCE, line=line, broken=broken)
    return Fault(promise="Numbers", part="two", test=f"tests/{module}.py::{test}", edits=(edit,), said="no")


async def attempt(base: Path, name: str, fault: Fault, *, seconds: float = 60) -> Outcome:
    return await try_one(fault, base, base.parent / name, seconds)


@pytest.mark.asyncio
async def test_only_a_test_that_fails_in_its_call_for_a_reason_catches_a_fault(base: Path) -> None:
    tripled = "return 3 * number"
    faults = {
        "assert 6 == 4": fault("test_two_becomes_four", tripled),
        "assert 3 == (2 * 1)": fault("test_one_case_of_two", tripled),
        "the test passed all the same": fault("test_looks_at_nothing", tripled),
        "the test has an error in its setup": fault("test_four_is_made_first", tripled),
        "the test failed, but for no reason: NameError": fault("test_two_becomes_four", "return 2 * missing"),
        "the test failed, but for no reason: Failed: Timeout": fault("test_gives_up_by_itself", "while True: pass"),
        "the test has an error in its collect": fault(
            "test_is_collected", "raise ValueError", line="UNIT = 1", module="test_collected"
        ),
        "no test was run; pytest ended with 4": fault("test_that_is_gone", tripled),
        f"{SOURCE} as broken is no Python": fault("test_two_becomes_four", "return 2 *"),
        f"{SOURCE}: the line 'return 4' is gone": fault("test_two_becomes_four", tripled, line="return 4"),
        "it took too long": fault("test_two_becomes_four", "while True: pass"),
    }

    outcomes = await asyncio.gather(
        *(
            attempt(base, f"copy-{number}", one, seconds=4 if words == "it took too long" else 60)
            for number, (words, one) in enumerate(faults.items())
        )
    )

    assert [words for words, outcome in zip(faults, outcomes, strict=True) if words not in outcome.said] == []
    assert [outcome.caught for outcome in outcomes] == [True, True] + [False] * (len(faults) - 2)
    assert list(base.parent.glob("copy-*")) == []


@pytest.mark.asyncio
async def test_the_unbroken_tree_must_run_and_pass_each_named_test(base: Path, tmp_path: Path) -> None:
    names = ["test_two_becomes_four", "test_one_case_of_two", "test_is_always_skipped", "test_always_fails"]
    tests = [f"tests/test_small.py::{name}" for name in names]
    tree = tmp_path / "tree"
    shutil.copytree(base, tree)

    ran = await run_tests(tree, tests, "-n", "0", seconds=60)

    assert [line.partition(":")[2] for line in unsound([*tests, "tests/test_small.py::test_left_out"], ran)] == [
        ":test_is_always_skipped skipped in its call: Skipped: not on this machine",
        ":test_always_fails failed in its call: AssertionError",
        ":test_left_out was not run",
    ]


@pytest.mark.asyncio
async def test_a_tree_whose_package_is_not_the_one_imported_is_refused(base: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(base, tree)
    shutil.rmtree(tree / "src")

    ran = await run_tests(tree, ["tests/test_small.py::test_looks_at_nothing"], "-n", "0", seconds=60)

    assert f"kosminar was imported from {ROOT / 'src'}" in ran.output
    assert ran.events == []


@pytest.mark.asyncio
async def test_a_run_that_is_cancelled_leaves_no_process_behind(base: Path) -> None:
    stuck = """
        import subprocess, time
        subprocess.Popen(["sleep", "600"])
        open("begun", "w").close()
        time.sleep(600)
    """
    task = asyncio.create_task(attempt(base, "cancelled", fault("test_two_becomes_four", dedent(stuck).strip())))
    tree = base.parent / "cancelled"
    async with asyncio.timeout(30):
        while not (tree / "begun").exists():
            await asyncio.sleep(0.05)
    assert len(processes_in(tree)) == 2

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert processes_in(tree) == []
    assert not tree.exists()


STUBBORN = """
import signal, sys, time
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import temporary_data_directory

signal.signal(signal.SIGINT, signal.SIG_IGN)
database = open_embedded(temporary_data_directory())
print(database.data_directory, flush=True)
time.sleep(600)
"""


@pytest.mark.asyncio
async def test_what_has_to_be_killed_leaves_no_database_behind() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    directory = Path((await process.stdout.readline()).decode().rstrip("\n"))
    server = Path("/proc", (directory / CLUSTER / "postmaster.pid").read_text().splitlines()[0])
    assert str(directory) in (server / "cmdline").read_text()

    await end(process, grace_seconds=0.1)

    assert process.returncode == -signal.SIGKILL
    # Its number may stay a while, until it has been collected, but without a command line.
    assert not server.exists() or (server / "cmdline").read_text() == ""
    assert not directory.exists()


def processes_in(tree: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(tree):
                found.append(process.name)
        except OSError:
            continue
    return found
