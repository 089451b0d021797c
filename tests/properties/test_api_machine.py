"""The API is driven by arbitrary calls and compared with the slow model after each; see machine.py."""

from collections.abc import AsyncIterator

import httpx2
import pytest_asyncio
from hypothesis.stateful import run_state_machine_as_test
from tests.api.brand import open_brand, purchase
from tests.bodies import with_target
from tests.properties.effort import effort
from tests.properties.machine import CUSTOMERS, Api, Office

from kosminar.engine.house import House


@pytest_asyncio.fixture
async def office(house: House, http: httpx2.AsyncClient) -> AsyncIterator[Office]:
    """The neighbour has the examples' customer ids and programme names, and something of everything."""
    neighbour = await open_brand(house, http, "Neighbour", clock=house.wall().replace(year=2031, month=1, day=2))
    spared = await neighbour.define(with_target(name="Programme 1") | {"name": "Programme 1"})
    await neighbour.register(*CUSTOMERS)
    await neighbour.record(*(purchase(f"a{who}", who, "2031-01-02", 500) for who in CUSTOMERS))
    yield Office(house, http, neighbour, spared)


def test_every_answer_and_every_read_agrees_with_the_slow_model(office: Office) -> None:
    run_state_machine_as_test(lambda: Api(office), settings=effort(40, stateful_step_count=25))
