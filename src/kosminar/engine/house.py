"""What every edge holds: the database, the way in, the closer and the clock on the wall. Made in wiring.py only."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from kosminar.engine.closer import Closer
from kosminar.engine.writer import Writer
from kosminar.engine.zones import Zones
from kosminar.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """`wall` is real time; what a brand sees goes by its organisation's clock, which the writer reads under lock."""

    settings: Settings
    pool: asyncpg.Pool
    writer: Writer
    closer: Closer
    zones: Zones
    wall: Callable[[], datetime]
