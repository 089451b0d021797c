"""Whom the nursery kills at its end: its own children, and no process that has got the number of a dead one."""

import os
import signal

from tests.simulation.nursery import Children


def _spawn(*command: str) -> int:
    return os.posix_spawnp(command[0], command, os.environ)


def test_a_number_is_forgotten_when_its_child_is_buried() -> None:
    children = Children()
    child = _spawn("true")
    children.add(child)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)

    children.bury()

    children.kill()  # Raises ProcessLookupError for a number that no process has.


def test_children_that_live_are_killed_though_others_were_buried() -> None:
    children = Children()
    child = _spawn("sleep", "60")
    children.add(child)
    children.bury()

    children.kill()

    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
