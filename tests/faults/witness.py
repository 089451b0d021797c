"""A pytest plugin that writes down how each test ended, and refuses to test another tree than the one it is started in.

Kosminar is installed into .venv as an editable package, so a copy of the tree could import the original by mistake.
Started with `-p tests.faults.witness --witness FILE`. The file gets one JSON line for each phase of a test that did not
pass, for each test that passed its call, and for each module that could not be collected.
"""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

NOT_A_REASON = (ImportError, SyntaxError, NameError)
"""What a carelessly broken line raises, whatever the test looks for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--witness", type=Path, required=True, help="where to write how the tests ended")


def pytest_configure(config: pytest.Config) -> None:
    import kosminar

    package = Path(kosminar.__file__).resolve()
    if not package.is_relative_to(config.rootpath.resolve()):
        raise pytest.UsageError(f"kosminar was imported from {package}, outside of {config.rootpath}")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Witness(config.getoption("--witness")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and _careless(call.excinfo.value):
        report.user_properties.append(("careless", call.excinfo.typename))
    return report


class Witness:
    """Hears of every report, under pytest-xdist those of all workers."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report, phase="collect")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed or report.when == "call":
            self._write(report, phase=report.when, careless=dict(report.user_properties).get("careless"))

    def _write(self, report: pytest.CollectReport | pytest.TestReport, **more: Any) -> None:
        event = {"test": report.nodeid, "outcome": report.outcome, "said": _said(report.longrepr)[:2_000], **more}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def _said(longrepr: Any) -> str:
    """The error's own words; of a skipped test the reason, which stands behind its file and line."""
    if isinstance(longrepr, tuple):
        return str(longrepr[2])
    crash = getattr(longrepr, "reprcrash", None)
    return str(longrepr or "") if crash is None else str(crash.message)


def _careless(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_careless(one) for one in error.exceptions)
    return isinstance(error, NOT_A_REASON)
