"""A house that is fuzzed: a real server on loopback in a thread of its own, on a database of its own, with a brand in it.

What the fuzzer is given to name, so that it reaches the insides: programmes, customers, a reward, an endpoint.
"""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

import httpx2
from tests.api.brand import Brand, Programme, open_brand, purchase, sign_in_with
from tests.api.wire import serving
from tests.bodies import STREAK, named, with_target

from kosminar.api.app import build_app
from kosminar.core.access import Level, Resource
from kosminar.engine.courier import Courier
from kosminar.engine.house import House
from kosminar.engine.outbound import Sender
from kosminar.engine.sign_ins import SignIns
from kosminar.engine.use_cases.clients import create_client
from kosminar.settings import Settings
from kosminar.wiring import open_house

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY, TOMORROW = "2031-02-12T09:00:00Z", "2031-02-13T09:00:00Z"
EVERYTHING = dict.fromkeys(Resource, Level.WRITE)
# The last one stands in the document's examples.
CUSTOMER_IDS = (501, 502, 600100200)
START_SECONDS = 60


class Patient(SignIns):
    """Lets everybody try: the fuzzer sends wrong credentials on purpose, from the address of the right ones."""

    def wait_seconds(self, peer: str, name: str, *, now: datetime) -> float:
        return 0.0


@dataclass(frozen=True)
class Known:
    """What there is to name in paths and bodies, as the document's parameters are called."""

    ids: Mapping[str, str]
    # Of what may be deleted; the rest is to stay for the other operations.
    spare: Mapping[str, str]


@dataclass(frozen=True)
class Served:
    """Where the house answers, and who may ask: a brand, and one whose clock may run away."""

    url: str
    headers: Mapping[str, str]
    clock_headers: Mapping[str, str]
    milestone: Known
    streak: Known
    # Of an OAuth client: its key and its secret.
    client: tuple[str, str]


@contextmanager
def served_in_a_thread(database_url: str) -> Iterator[Served]:
    """The loop of the house is not the tests' own, because the fuzzer's client waits for its answers."""
    ready, stop = threading.Event(), asyncio.Event()
    told: list[Served] = []
    broken: list[BaseException] = []
    loop = asyncio.new_event_loop()

    async def stay() -> None:
        async with _serve(database_url) as served:
            told.append(served)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(stay())
        except BaseException as error:  # noqa: BLE001  # Told to the thread that waits.
            broken.append(error)
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    assert ready.wait(START_SECONDS), "the house did not open"
    try:
        if told:
            yield told[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    for error in broken:
        raise error


@asynccontextmanager
async def _serve(database_url: str) -> AsyncIterator[Served]:
    async with (
        open_house(Settings.read({}, {"access_log": "off"}), database_url, wall=lambda: NOW) as opened,
        # Nothing may leave this machine, not even the question for a name.
        Sender(
            networks=(),
            user_agent="Kosminar/test",
            resolve=_nowhere,
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        ) as sender,
    ):
        courier = Courier(
            opened.pool, opened.writer, sender, wall=opened.wall, random=Random(1).random, worker_name="test"
        )
        house = replace(opened, courier=courier, sign_ins=Patient())
        async with serving(build_app(house)) as wire:
            url = f"http://127.0.0.1:{wire.port}"
            async with httpx2.AsyncClient(base_url=url) as http:
                yield await _furnish(house, http, url)


async def _nowhere(_host: str, _port: int) -> Sequence[str]:
    return ()


async def _furnish(house: House, http: httpx2.AsyncClient, url: str) -> Served:
    """A brand in the middle of its programmes: a milestone reached, rewards pending and issued, a streak begun."""
    acme = await open_brand(house, http, "Acme", clock=NOW)
    acme = replace(acme, headers=await sign_in_with(house, acme.organisation_id, EVERYTHING))
    hasty = await open_brand(house, http, "Hasty", clock=NOW)
    await hasty.define(named("Soon over"))
    endpoint = await _endpoint(acme, "https://receiver.test/hook")
    now = {"kind": "POINTS", "value": 5, "allocation": "IMMEDIATE"}
    spring = await acme.define(with_target(enrolmentMethod="IMPORT", rewards=[now]))
    laps = await acme.define(STREAK)
    await acme.register(*CUSTOMER_IDS)
    for customer_id in CUSTOMER_IDS:
        assert (await spring.enrol(customer_id)).status_code == 200
    assert (await laps.enrol(CUSTOMER_IDS[0])).status_code == 200
    await acme.record(purchase("first", CUSTOMER_IDS[0], TODAY, 300))
    (reward,) = await acme.rewards(CUSTOMER_IDS[0])
    common = {
        "userId": str(CUSTOMER_IDS[0]),
        "customerId": str(CUSTOMER_IDS[0]),
        "number": "1",
        "rewardId": reward["rewardId"],
    }
    async with house.pool.acquire() as connection:
        made = await create_client(
            connection, organisation_id=acme.organisation_id, random_bytes=Random(2).randbytes, now=NOW
        )
    spare = await acme.define(named("Spare"))
    spare_endpoint = await _endpoint(acme, "https://receiver.test/spare")
    gone = {**_ids(spare), "endpointId": spare_endpoint}
    return Served(
        url=url,
        headers=acme.headers,
        clock_headers=hasty.headers,
        milestone=Known({**common, **_ids(spring), "endpointId": endpoint}, gone),
        streak=Known({**common, **_ids(laps), "endpointId": endpoint}, gone),
        client=(made.key, made.secret),
    )


async def _endpoint(brand: Brand, url: str) -> str:
    return str((await brand.ask("POST", "/v1/webhook-endpoints", {"url": url}))["endpointId"])


def _ids(programme: Programme) -> dict[str, str]:
    return {"targetGroupId": str(programme.target_group_id), "targetId": str(programme.target_id)}
