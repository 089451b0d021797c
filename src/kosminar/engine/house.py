"""What every edge holds: the database, the way in, the closer, the courier and the clock on the wall. Made in wiring.py only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from kosminar.engine.catalogue import Catalogues
from kosminar.engine.closer import Closer
from kosminar.engine.counter_adder import CounterAdder
from kosminar.engine.courier import Courier
from kosminar.engine.endpoint_runs import Steps, Tests
from kosminar.engine.housekeeper import Housekeeper
from kosminar.engine.meters import Meters
from kosminar.engine.readiness import Readiness
from kosminar.engine.sign_ins import SignIns
from kosminar.engine.writer import Writer
from kosminar.engine.zones import Zones
from kosminar.settings import Settings


@dataclass(slots=True)
class Drain:
    """Begun, requests are still answered, but whoever sends them should turn to another process."""

    begun: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """`wall` is real time; what a brand sees goes by its organisation's clock, which the writer reads under lock."""

    settings: Settings
    pool: asyncpg.Pool
    writer: Writer
    closer: Closer
    courier: Courier
    housekeeper: Housekeeper
    counter_adder: CounterAdder
    # The one cache of definitions, which Writer, sweep and closer have too.
    catalogues: Catalogues
    zones: Zones
    wall: Callable[[], datetime]
    meters: Meters = field(default_factory=Meters)
    drain: Drain = field(default_factory=Drain)
    readiness: Readiness = field(default_factory=Readiness)
    endpoint_tests: Tests = field(default_factory=Tests)
    endpoint_steps: Steps = field(default_factory=Steps)
    sign_ins: SignIns = field(default_factory=SignIns)
