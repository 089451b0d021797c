"""Admission: so many at a time, a fair queue before them, and 503 with Retry-After beyond it."""

import asyncio
import base64
from collections.abc import Callable

import httpx2
import pytest

from kosminar.api.admission import Admission, Busy, caller_of
from kosminar.api.app import build_app
from kosminar.engine.house import House

pytestmark = pytest.mark.asyncio


class Crowd:
    """Requests of named callers before one admission; who was let in, in order, and who was turned away."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, *names: str) -> None:
        """Each named by its caller's letter and a number; returns when all stand where they will stand."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._enter(name))
            await asyncio.sleep(0)

    async def leave(self, count: int = 1) -> None:
        for _ in range(count):
            self.admission.leave()
            await asyncio.sleep(0)

    async def _enter(self, name: str) -> None:
        try:
            await self.admission.enter(name[0].encode)
            self.inside.append(name)
        except Busy:
            self.refused.append(name)


async def test_so_many_are_inside_and_the_next_waits_for_one_to_leave() -> None:
    crowd = Crowd(Admission(2))

    await crowd.arrive("a1", "a2", "a3")
    assert (crowd.inside, crowd.admission.working, crowd.admission.waiting) == (["a1", "a2"], 2, 1)

    await crowd.leave()
    assert (crowd.inside, crowd.admission.working, crowd.admission.waiting) == (["a1", "a2", "a3"], 2, 0)

    await crowd.leave(2)
    assert (crowd.admission.working, crowd.admission.waiting) == (0, 0)


async def test_callers_take_turns_however_many_each_has_waiting() -> None:
    crowd = Crowd(Admission(1))
    await crowd.arrive("x1", "a1", "a2", "a3", "a4", "b1", "c1", "b2")

    await crowd.leave(7)

    assert crowd.inside == ["x1", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_a_queue_has_its_length_and_a_flood_drowns_only_itself() -> None:
    crowd = Crowd(Admission(1, waiting_max=4))
    await crowd.arrive("x1", "a1", "a2", "a3", "a4")
    assert crowd.refused == []

    await crowd.arrive("a5")
    assert crowd.refused == ["a5"]

    await crowd.arrive("b1", "b2")
    await asyncio.sleep(0)
    assert crowd.refused == ["a5", "a4", "a3"]

    await crowd.arrive("b3")
    assert crowd.refused == ["a5", "a4", "a3", "b3"]
    await crowd.leave(4)
    assert crowd.inside == ["x1", "a1", "b1", "a2", "b2"]
    assert (crowd.admission.waiting, crowd.admission.refused) == (0, 4)


async def test_without_a_queue_whoever_finds_no_place_is_turned_away() -> None:
    crowd = Crowd(Admission(1, waiting_max=0, refusal_seconds=0))

    await crowd.arrive("a1", "a2", "b1")

    assert (crowd.inside, crowd.refused) == (["a1"], ["a2", "b1"])


async def test_nobody_waits_longer_than_they_may() -> None:
    crowd = Crowd(Admission(1, wait_seconds=0.01, refusal_seconds=0))
    await crowd.arrive("a1", "a2", "b1")

    await asyncio.gather(*crowd.tasks.values())

    assert (crowd.inside, crowd.refused) == (["a1"], ["a2", "b1"])
    assert (crowd.admission.working, crowd.admission.waiting) == (1, 0)


async def test_who_stops_waiting_loses_no_place_of_others() -> None:
    crowd = Crowd(Admission(1))
    await crowd.arrive("a1", "a2", "a3", "a4")

    crowd.tasks["a2"].cancel()
    await asyncio.gather(crowd.tasks["a2"], return_exceptions=True)
    # The place is handed over, and at the same moment its new holder gives up.
    crowd.admission.leave()
    crowd.tasks["a3"].cancel()
    await asyncio.gather(crowd.tasks["a3"], return_exceptions=True)
    await asyncio.sleep(0)

    assert crowd.inside == ["a1", "a4"]
    await crowd.leave()
    assert (crowd.admission.working, crowd.admission.waiting) == (0, 0)


async def test_callers_are_told_apart_by_what_they_sign_in_with_else_by_their_address() -> None:
    def caller(address: str, **headers: str) -> bytes:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return caller_of({"headers": raw, "client": (address, 1)})

    assert caller("10.0.0.1") != caller("10.0.0.2")
    assert caller("10.0.0.1", authorization="Basic YTpi") == caller("10.0.0.2", authorization="Basic YTpi")
    assert caller("10.0.0.1", authorization="Basic YTpi") != caller("10.0.0.1", authorization="Basic YTpj")
    assert caller("10.0.0.1", x_cap_api_oauth_token="t") == caller("10.0.0.2", X_CAP_API_OAUTH_TOKEN="t")
    assert b"YTpi" not in caller("10.0.0.1", authorization="Basic YTpi")


@pytest.fixture
def open_client(house: House) -> Callable[[Admission], httpx2.AsyncClient]:
    def build(admission: Admission) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=build_app(house, admission=admission))
        return httpx2.AsyncClient(transport=transport, base_url="http://kosminar.test")

    return build


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/clock", "application/problem+json"),
        ("/v2/customers", "application/json"),
        ("/api_gateway/intouch-api-v3/v3.1/targetGroups", "application/json"),
        ("/oauth/token", "application/json"),
        ("/nothing", "application/json"),
    ],
)
async def test_who_is_turned_away_hears_503_when_to_come_again_in_shape(open_client, path: str, shape: str) -> None:
    full = Admission(1, waiting_max=0, refusal_seconds=0)
    await full.enter(lambda: b"")

    async with open_client(full) as http:
        response = await http.get(path, headers={"X-Request-ID": "till-17"})

    content = response.json()
    code = content["code"] if "problem" in shape else content["errors"][0]["code"]
    assert (response.status_code, response.headers["Content-Type"], code) == (503, shape, 390015)
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["X-Request-ID"] == "till-17"


async def test_probes_never_wait(open_client) -> None:
    full = Admission(1, waiting_max=0, refusal_seconds=0)
    await full.enter(lambda: b"")

    async with open_client(full) as http:
        statuses = {path: (await http.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")}

    assert statuses == dict.fromkeys(statuses, 200)
    assert full.working == 1


async def test_every_place_is_given_back_whatever_the_answer(open_client) -> None:
    admission = Admission(1, waiting_max=0, refusal_seconds=0)
    wrong = {"Authorization": "Basic " + base64.b64encode(b"nobody:x").decode()}

    async with open_client(admission) as http:
        statuses = [
            (await http.get("/openapi.json")).status_code,
            (await http.get("/v1/clock")).status_code,
            (await http.get("/v1/clock", headers=wrong)).status_code,
            (await http.post("/v3/oauth/token/generate", json={"key": "nobody", "secret": "x"})).status_code,
            (await http.post("/v3/oauth/token/generate", content=b"[" * 100)).status_code,
            (await http.delete("/nothing")).status_code,
        ]

    assert statuses == [200, 401, 401, 401, 400, 404]
    assert (admission.working, admission.refused) == (0, 0)


async def test_a_request_that_waited_is_answered_like_any_other(open_client) -> None:
    admission = Admission(1)
    await admission.enter(lambda: b"")

    async with open_client(admission) as http:
        asking = [asyncio.create_task(http.get("/openapi.json")) for _ in range(3)]
        while admission.waiting < 3:
            await asyncio.sleep(0)
        admission.leave()
        responses = await asyncio.gather(*asking)

    assert [response.status_code for response in responses] == [200, 200, 200]
    assert (admission.working, admission.waiting) == (0, 0)


async def test_requests_max_is_the_operators(house: House) -> None:
    object.__setattr__(house.settings, "requests_max", 1)
    app = build_app(house)
    inside, most = 0, 0

    async def receive():
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1
        return {"type": "http.request", "body": b"[]", "more_body": False}

    async def send(message) -> None:
        pass

    def scope() -> dict:
        return {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/v3/oauth/token/generate",
            "raw_path": b"/v3/oauth/token/generate",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [],
            "client": ("10.0.0.1", 1),
            "server": ("kosminar.test", 80),
            "state": {},
        }

    await asyncio.gather(*(app(scope(), receive, send) for _ in range(4)))

    assert most == 1
