"""CPU seconds of a process with everything that it started, from /proc: user and system time, all threads.

Children that end meanwhile are counted: their parent has their time among its own as soon as it has waited for them.
The kernel keeps these times by the nanosecond and shows them in hundredths of a second, so what is measured should
take some seconds.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name in parentheses, which may hold anything.
PARENT, OWN, OF_ENDED_CHILDREN = 1, slice(11, 13), slice(13, 15)


@dataclass(frozen=True)
class _Process:
    parent_id: int
    ticks: int
    ticks_of_ended_children: int


def cpu_seconds(root_id: int, *, apart_from: int = 0) -> float:
    """What a process and its descendants have computed so far, without `apart_from` and that one's descendants.

    Raises ProcessLookupError if the process has ended.
    """
    # A child that ended between two reads would be counted twice or not at all, so a quiet moment is waited for.
    family = _family(root_id, apart_from)
    while (again := _family(root_id, apart_from)).keys() != family.keys():
        family = again
    ticks = sum(process.ticks + process.ticks_of_ended_children for process in again.values())
    return ticks / TICKS_A_SECOND


def _family(root_id: int, apart_from: int) -> dict[int, _Process]:
    processes = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and (process := _read(path)) is not None:
            processes[int(path.name)] = process
    if root_id not in processes:
        raise ProcessLookupError(f"process {root_id} has ended")
    children = defaultdict(list)
    for process_id, process in processes.items():
        children[process.parent_id].append(process_id)
    family, waiting = {}, [root_id]
    while waiting:
        process_id = waiting.pop()
        if process_id != apart_from:
            family[process_id] = processes[process_id]
            waiting += children[process_id]
    return family


def _read(path: Path) -> _Process | None:
    try:
        fields = (path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Process(int(fields[PARENT]), sum(map(int, fields[OWN])), sum(map(int, fields[OF_ENDED_CHILDREN])))
