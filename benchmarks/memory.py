"""What a server holds in memory at rest, how soon it answers, and that an import's memory does not grow with its file.

The server runs on an embedded database of its own, which it starts: the time from its exec to the first good answer of
/readyz includes that. Its memory is its own process's; PostgreSQL's is PostgreSQL's. The import is measured at a tenth
of a file and at all of it; ten million lines, which take long, are `--lines 10000000`.

    .venv/bin/python -m benchmarks.memory [--quick] [--lines 200000]
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import kept
from benchmarks.pairs import Figure
from benchmarks.seed import PROGRAMME
from benchmarks.stage import CLOCK, KOSMINAR, PATIENCE_SECONDS, Stage, ask, open_stage

from kosminar.store.embedded_host import temporary_data_directory

MEGABYTE = 1_000_000
STARTS = 5
IDLE_SECONDS = 5
POLL_SECONDS = 0.002
RESIDENT_MB, START_SECONDS = 150.0, 2.0
LINES, QUICK_LINES = 100_000, 20_000
# The same memory but for what an allocator rounds up to.
IMPORT_GROWTH = 1.15
CUSTOMER_COUNT = 10_000
SAMPLE_SECONDS = 0.05


def run(stage: Stage, *, quick: bool, lines: int | None = None) -> list[Figure]:
    return [*_starts(stage, quick=quick), _import(stage, lines or (QUICK_LINES if quick else LINES))]


# ---------------------------------------------------------------- start


def _starts(stage: Stage, *, quick: bool) -> list[Figure]:
    directory = temporary_data_directory()
    try:
        seconds, cpu = [], []
        # The first one makes the database, and is not counted.
        for _ in range(1 + (2 if quick else STARTS)):
            with _started(stage, directory) as (process, took):
                cpu.append(_cpu_seconds(process))
            seconds.append(took)
        with _started(stage, directory) as (process, _):
            time.sleep(IDLE_SECONDS)
            resident_bytes = _of_process(process, "VmRSS")
    finally:
        shutil.rmtree(directory)
    first, *warm = seconds
    return [
        Figure(
            "serve: from exec to the first good /readyz, warm",
            statistics.median(warm),
            "s",
            aim=START_SECONDS,
            note=f"{min(warm):.2f} to {max(warm):.2f} s in {len(warm)} starts, with its PostgreSQL; "
            f"{statistics.median(cpu[1:]):.2f} s of it the process computes; "
            f"the first, with a new database, {first:.1f} s",
        ),
        Figure(
            "serve: resident at rest",
            resident_bytes / MEGABYTE,
            "MB",
            aim=RESIDENT_MB,
            note=f"without PostgreSQL, {IDLE_SECONDS} s after the start",
        ),
    ]


@contextmanager
def _started(stage: Stage, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server on the data directory, and the seconds until it was ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = stage.environment("kosminar")
    del environment["KOSMINAR_DATABASE_URL"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [KOSMINAR, "serve", "--port", str(port), "--data-dir", directory],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError("the server is not ready")
            time.sleep(POLL_SECONDS)
        yield process, time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_SECONDS)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """What it computed so far, itself and in the kernel."""
    after_name = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(int(ticks) for ticks in after_name[11:13]) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- import


def _import(stage: Stage, line_count: int) -> Figure:
    """The whole of a file against its first tenth, each into a database of its own."""
    peaks = []
    with stage.cloned("imported", template="template0") as template:
        organisation_id = _prepare(stage, template)
        for count in (line_count // 10, line_count):
            with stage.cloned("importing", template=template) as database:
                peaks.append(_imported(stage, database, organisation_id, count))
                found = stage.value(database, kept.ACTIVITIES)
                if found != count:
                    raise RuntimeError(f"{found} of {count} lines were imported")
    tenth, whole = peaks
    return Figure(
        f"import: peak memory, {line_count:,} lines to a tenth",
        whole / tenth,
        "times",
        aim=IMPORT_GROWTH,
        note=f"{whole:.0f} MB and {tenth:.0f} MB, the process with no server beside it",
    )


def _prepare(stage: Stage, database: str) -> int:
    organisation_id = stage.create_organisation(database)
    authorization = stage.sign_up(organisation_id, database)
    with stage.served(database) as server:
        ask(server.url, authorization, "/v3/targetGroups", PROGRAMME)
        for first in range(1, CUSTOMER_COUNT + 1, 1_000):
            customers = [{"customerId": number} for number in range(first, first + 1_000)]
            ask(server.url, authorization, "/v1/customers", {"customers": customers})
    return organisation_id


def _imported(stage: Stage, database: str, organisation_id: int, line_count: int) -> float:
    """The peak of the importing process, in megabytes."""
    file = stage.directory / "activities.csv"
    with file.open("w", encoding="ascii") as writer:
        writer.write("customerId,occurredAt\n")
        writer.writelines(f"{number * 7919 % CUSTOMER_COUNT + 1},{CLOCK}\n" for number in range(line_count))
    process = subprocess.Popen(
        [*(KOSMINAR, "import", "activities", "--json"), *("--organisation", str(organisation_id), "--file", file)],
        env=stage.environment(database),
        stdout=subprocess.PIPE,
    )
    peak = 0
    # The kernel keeps the peak, so that looking now and then misses only what is taken at the very end.
    while process.poll() is None:
        peak = max(peak, _of_process(process, "VmHWM"))
        time.sleep(SAMPLE_SECONDS)
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    file.unlink()
    if process.returncode:
        raise RuntimeError(f"the import ended with {process.returncode}: {said}")
    return peak / MEGABYTE


def _of_process(process: subprocess.Popen[bytes], name: str) -> int:
    """A size in bytes out of the process's status; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer lines and starts")
    parser.add_argument("--lines", type=int, help="of the import")
    options = parser.parse_args()
    with open_stage() as stage:
        for found in run(stage, quick=options.quick, lines=options.lines):
            print(found.line(), flush=True)


if __name__ == "__main__":
    main()
