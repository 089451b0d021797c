"""Where simulated servers come from: a process that has loaded everything once and forks a server in milliseconds.

Run as `python -m tests.simulation.nursery FD`. Every message on the socket is a recipe with one descriptor: the server
writes there where it listens, and holds it for as long as it lives, so that its end is seen. A server is what
`kosminar serve` runs, with the harness's wall and with connections that break.
"""

import array
import asyncio
import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from tests.simulation.faults import faulty_connection
from tests.simulation.switchboard import Switchboard

from kosminar import serve
from kosminar.api import app
from kosminar.engine import closer, sweep
from kosminar.engine.house import House
from kosminar.logs import configure_logs
from kosminar.settings import Settings
from kosminar.store import link
from kosminar.wiring import open_house, utc_now

RECIPE_BYTES_MAX = 65_536


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm_up()
    gc.collect()
    gc.freeze()
    children = Children()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, RECIPE_BYTES_MAX, 1)
        children.bury()
        if not message:
            break
        process_id = os.fork()
        if process_id == 0:
            control.close()
            be_a_server(json.loads(message), descriptors[0])
        os.close(descriptors[0])
        children.add(process_id)
        control.send(array.array("i", [process_id]).tobytes())
    children.kill()


def warm_up() -> None:
    """An application for nobody, so that what can be remembered of building one is remembered by all children."""
    nothing: Any = None
    parts = [part.name for part in fields(House) if part.default_factory is MISSING and part.name != "settings"]
    app.build_app(House(settings=Settings.read({}), **dict.fromkeys(parts, nothing)))


class Children:
    """Those that were not buried yet: until then, and no longer, the system gives their numbers to no other process."""

    def __init__(self) -> None:
        self._unburied: set[int] = set()

    def add(self, process_id: int) -> None:
        self._unburied.add(process_id)

    def bury(self) -> None:
        """Those who have died since the last time; their numbers are forgotten."""
        self._unburied = {child for child in self._unburied if os.waitpid(child, os.WNOHANG) == (0, 0)}

    def kill(self) -> None:
        """All that live, and no process that has the number of a dead one."""
        for process_id in self._unburied:
            os.kill(process_id, signal.SIGKILL)


def be_a_server(recipe: dict[str, Any], told: int) -> None:
    """Serve until told to stop; the process ends here."""
    status = 1
    try:
        # Deaf until it is ready: the default would be death.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.dup2(os.open(recipe["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        configure_logs("warning")
        switchboard = Switchboard(Path(recipe["switchboard"]))
        random = Random(recipe["dice"])
        # The worlds are small: some of the servers work period ends together even where hardly anybody waits.
        closer.MANY = random.choice((1, 3, closer.MANY, closer.MANY))  # type: ignore[misc]
        sweep.ALIKE_MIN = random.choice((1, 2, sweep.ALIKE_MIN))  # type: ignore[misc]
        # And silence is soon noticed, because nothing stands still for long there.
        link.PULSE_SECONDS, link.SILENCE_SECONDS = 0.1, random.choice((0.5, 1.0, 10.0))  # type: ignore[misc,assignment]

        def wall() -> datetime:
            return utc_now() + timedelta(seconds=switchboard.ahead_seconds)

        opening = open_house(
            Settings.read({}, {"lanes": 2, **recipe["settings"]}),
            recipe["database_url"],
            wall=wall,
            connection_class=faulty_connection(random, recipe["fault_rate"], switchboard),
        )
        listener = serve.bind("127.0.0.1", 0)

        async def ready(house: House) -> None:
            # The harness lets no tick pass in vain.
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, house.courier.nudge)
            os.write(told, f"{listener.getsockname()[1]}\n".encode())

        uvloop.run(serve.serve(opening, listener, ready))
        status = 0
    except BaseException as error:  # noqa: BLE001 -- Whatever it is, no more of the nursery's code may run here.
        with suppress(OSError):
            os.write(2, f"the server ended: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
