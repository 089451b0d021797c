"""One key, one answer: of every operation that changes something, at once, over two processes' apps, and cut off.

An operation that is added has to be added here too: how it is called, and what moves its state on, so that a second
run would answer something else. Single cases are in test_idempotency.py.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.api.brand import Brand, Programme, open_brand, problem, purchase, sign_in_with, snapshot
from tests.bodies import named, streak, with_target
from tests.engine.receiver import Received, Receiver, Reply, always

from kosminar.api.admission import Admission
from kosminar.api.app import OPERATIONS, build_app
from kosminar.core.access import Level, Resource
from kosminar.core.endpoint import ENDPOINT_COUNT_MAX
from kosminar.engine import endpoint_runs

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
EVERYTHING = dict.fromkeys(Resource, Level.WRITE)
REWARDS = [{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}]
ENDPOINTS = "/v1/webhook-endpoints"
REASON = {"reason": "wrong customer"}

# Cuts the connection that keeps an answer by itself: after the change was committed, before the caller is answered.
CUT = """
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number = 0 AND pg_current_xact_id_if_assigned() IS NULL THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(60);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut BEFORE INSERT ON idempotency_result FOR EACH ROW EXECUTE FUNCTION cut()
"""
MEND = "DROP TRIGGER cut ON idempotency_result; DROP FUNCTION cut()"


@dataclass(frozen=True)
class Asked:
    """A call that succeeds once, and calls of others after which it would be answered in another way."""

    method: str
    path: str
    body: Any = None
    others: tuple[tuple[str, str, Any], ...] = ()


@dataclass(frozen=True)
class World:
    """A brand over two apps, as two processes have them, with something of everything."""

    brand: Brand
    other_app: Brand
    receiver: Receiver
    laps: Programme
    spring: Programme
    endpoint: str

    async def send(self, asked: Asked, key: str, *, number: int = 0) -> httpx2.Response:
        """To one app and the other by turns."""
        brand = (self.brand, self.other_app)[number % 2]
        return await brand.call(asked.method, asked.path, asked.body, headers={"Idempotency-Key": key})

    async def move_on(self, asked: Asked) -> None:
        for method, path, body in asked.others:
            # With keys of their own they take as many steps as what they race against.
            key = {"Idempotency-Key": os.urandom(8).hex()}
            await self.brand.call(method, path, body, headers=key)
        self.receiver.answer = always(Reply(500))

    async def reward(self, customer_id: int) -> str:
        await self.brand.record(purchase(f"b{customer_id}", customer_id, TODAY, 250))
        return f"/v1/rewards/{(await self.brand.rewards(customer_id))[0]['rewardId']}"


@pytest_asyncio.fixture
async def world(house, http) -> AsyncIterator[World]:
    opened = await open_brand(house, http, "Acme", clock=NOW)
    headers = await sign_in_with(house, opened.organisation_id, EVERYTHING)
    brand = Brand(house, http, opened.organisation_id, headers)
    await brand.register(501, 502, 503)
    await brand.ask("POST", "/v1/customers", {"customers": [{"customerId": 504, "email": "ana@example.test"}]})
    other_house = replace(house, endpoint_tests=endpoint_runs.Tests())
    transport = httpx2.ASGITransport(app=build_app(other_house))
    async with Receiver() as receiver, httpx2.AsyncClient(transport=transport, base_url="http://other.test") as other:
        made = await brand.ask("POST", ENDPOINTS, {"url": receiver.url})
        yield World(
            brand=brand,
            other_app=replace(brand, http=other),
            receiver=receiver,
            laps=await brand.define(streak()),
            spring=await brand.define(with_target(rewards=REWARDS)),
            endpoint=f"{ENDPOINTS}/{made['endpointId']}",
        )


# ---------------------------------------------------------------- how each operation is called


async def enrolling(world: World) -> Asked:
    body = [{"customerId": 501}]
    return Asked("POST", world.laps.path("enroll"), body, (("POST", world.laps.path("unEnroll"), body),))


async def un_enrolling(world: World) -> Asked:
    body = [{"customerId": 501}]
    await world.laps.enrol(501)
    return Asked("POST", world.laps.path("unEnroll"), body, (("POST", world.laps.path("enroll"), body),))


async def creating_a_group(_: World) -> Asked:
    return Asked("POST", "/targetGroups", named("Summer", with_target()))


async def deactivating_a_group(world: World) -> Asked:
    return Asked("DELETE", f"/targetGroups/{world.laps.target_group_id}")


async def registering_a_profile(_: World) -> Asked:
    return Asked("POST", "/v2/customers", {"profiles": [{"identifiers": [{"type": "email", "value": "b@x.test"}]}]})


async def registering_customers(_: World) -> Asked:
    return Asked("POST", "/v1/customers", {"customers": [{"customerId": 801}, {"email": "cy@x.test"}]})


async def recording_a_bill(_: World) -> Asked:
    path = "/v2/transactions?identifierName=email&identifierValue=ana@example.test&source=INSTORE"
    return Asked("POST", path, {"type": "REGULAR", "billNumber": "B-1", "billAmount": 300})


async def recording_activities(_: World) -> Asked:
    activities = [purchase("a", 501, TODAY, 250), purchase("b", 502, TODAY, 1)]
    return Asked("POST", "/v1/activities", {"activities": activities})


async def reporting_issued(world: World) -> Asked:
    reward = await world.reward(501)
    return Asked("POST", f"{reward}/issued", None, (("POST", f"{reward}/reversed", REASON),))


async def reporting_failed(world: World) -> Asked:
    reward = await world.reward(501)
    return Asked("POST", f"{reward}/failed", REASON, (("POST", f"{reward}/reversed", REASON),))


async def reporting_reversed(world: World) -> Asked:
    """Nothing moves on a reward that was reversed: the same again is answered alike without a key."""
    reward = await world.reward(501)
    await world.brand.ask("POST", f"{reward}/issued")
    return Asked("POST", f"{reward}/reversed", REASON)


async def advancing(_: World) -> Asked:
    later = ("POST", "/v1/clock/advance", {"to": "2031-02-14T00:00:00Z"})
    return Asked("POST", "/v1/clock/advance", {"to": "2031-02-13T00:00:00Z"}, (later,))


async def creating_an_endpoint(_: World) -> Asked:
    return Asked("POST", ENDPOINTS, {"url": "https://brand.example/hooks"})


async def changing_an_endpoint(world: World) -> Asked:
    other = ("PATCH", world.endpoint, {"description": "Purse"})
    return Asked("PATCH", world.endpoint, {"description": "Wallet", "state": "active"}, (other,))


async def removing_an_endpoint(world: World) -> Asked:
    return Asked("DELETE", world.endpoint)


async def rotating_a_secret(world: World) -> Asked:
    return Asked("POST", f"{world.endpoint}/rotate-secret", {"overlapHours": 1})


async def trying_an_endpoint(world: World) -> Asked:
    """The receiver answers otherwise afterwards."""
    return Asked("POST", f"{world.endpoint}/test")


async def resending(world: World) -> Asked:
    await world.reward(501)
    return Asked("POST", f"{world.endpoint}/deliveries/501/1/resend", None, (("DELETE", world.endpoint, None),))


async def recovering(world: World) -> Asked:
    await world.reward(501)
    other = ("POST", "/v1/activities", {"activities": [purchase("b502", 502, TODAY, 250)]})
    return Asked("POST", f"{world.endpoint}/recover", {"since": "2026-01-01"}, (other,))


ASKED: dict[str, Callable[[World], Awaitable[Asked]]] = {
    "compat_enrolments_enroll": enrolling,
    "compat_enrolments_unenroll": un_enrolling,
    "compat_target_groups_post_target_group": creating_a_group,
    "compat_target_groups_delete_target_group": deactivating_a_group,
    "compat_customers_post_customer": registering_a_profile,
    "compat_transactions_post_transaction": recording_a_bill,
    "v1_customers_post_customers": registering_customers,
    "v1_activities_post_activities": recording_activities,
    "v1_rewards_report_issued": reporting_issued,
    "v1_rewards_report_failed": reporting_failed,
    "v1_rewards_report_reversed": reporting_reversed,
    "v1_clock_advance_clock": advancing,
    "v1_webhook_endpoints_create_endpoint": creating_an_endpoint,
    "v1_webhook_endpoints_change_endpoint": changing_an_endpoint,
    "v1_webhook_endpoints_delete_endpoint": removing_an_endpoint,
    "v1_webhook_endpoints_rotate_secret": rotating_a_secret,
    "v1_webhook_endpoints_try_endpoint": trying_an_endpoint,
    "v1_webhook_endpoints_resend": resending,
    "v1_webhook_endpoints_recover": recovering,
}


async def test_every_operation_that_is_no_read_and_has_a_caller_is_called_here() -> None:
    changing = {one.operation_id for one in OPERATIONS if one.method != "GET" and one.resource is not None}

    assert set(ASKED) == changing
    assert {one.operation_id for one in OPERATIONS if one.takes_key} == changing


# ---------------------------------------------------------------- at once, and cut off


@pytest.mark.parametrize("operation_id", sorted(ASKED))
async def test_four_at_once_and_one_afterwards_have_one_answer_while_the_state_moves_on(
    world: World, operation_id: str
) -> None:
    asked = await ASKED[operation_id](world)
    sent = [world.send(asked, "k", number=n) for n in range(4)]

    answers, _ = await asyncio.gather(asyncio.gather(*sent), world.move_on(asked))
    await world.move_on(asked)
    answers.append(await world.send(asked, "k", number=1))

    assert len({(answer.status_code, answer.content) for answer in answers}) == 1, [one.text for one in answers]


@pytest.mark.parametrize("operation_id", sorted(ASKED))
async def test_what_is_cut_off_between_the_change_and_its_answer_is_done_once_and_answered_when_repeated(
    world: World, pool, operation_id: str
) -> None:
    asked = await ASKED[operation_id](world)
    await pool.execute(CUT)
    assert (await world.send(asked, "k")).status_code == 503
    await pool.execute(MEND)
    await world.move_on(asked)
    before = await changed_tables(world.brand)

    second, third = await world.send(asked, "k", number=1), await world.send(asked, "k")

    assert second.is_success, second.text
    assert (third.status_code, third.content) == (second.status_code, second.content)
    assert await changed_tables(world.brand) == before


async def changed_tables(brand: Brand) -> Any:
    """What the brand has, without the kept answers."""
    found = await snapshot(brand.house, brand.organisation_id)
    return {name: rows for name, rows in found.items() if not name.startswith("idempotency")}


async def test_in_each_of_many_races_with_a_clock_that_moves_on_one_key_has_one_answer(world: World) -> None:
    """The key's answer may be the refusal, where the other call was first; then it is refused for all."""
    outcomes = set()
    for seed in range(24):
        day = f"2031-03-{seed + 1:02}"
        asked = Asked("POST", "/v1/clock/advance", {"to": f"{day}T00:00:00Z"})
        later = Asked("POST", "/v1/clock/advance", {"to": f"{day}T12:00:00Z"})
        calls = [world.send(asked, f"race-{seed}", number=n) for n in range(4)]
        calls.append(world.send(later, f"later-{seed}"))
        Random(seed).shuffle(calls)

        answered = await asyncio.gather(*calls)

        ours = {(one.status_code, one.content) for one in answered if b"T12:00" not in one.content}
        assert len(ours) == 1, f"seed {seed}: {ours}"
        outcomes |= {status for status, _ in ours}

    assert outcomes == {200, 409}


async def test_a_repeat_to_another_process_waits_for_the_first_and_makes_nothing_of_its_own(world: World, pool) -> None:
    """Two wait in either case: one of them for the key's lock, or both in the middle of making an endpoint each."""
    asked = await creating_an_endpoint(world)
    async with pool.acquire() as other, asyncio.timeout(60):
        async with other.transaction():
            await other.execute("LOCK TABLE webhook_endpoint IN EXCLUSIVE MODE")
            calls = [asyncio.create_task(world.send(asked, "k", number=n)) for n in range(2)]
            while await other.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") < 2:
                await asyncio.sleep(0.01)

        first, second = await asyncio.gather(*calls)

    assert first.status_code == 201, first.text
    assert second.content == first.content
    assert await pool.fetchval("SELECT count(*) FROM webhook_endpoint WHERE url = $1", asked.body["url"]) == 1


async def test_two_processes_that_came_to_two_answers_give_the_one_that_was_kept_first(world: World) -> None:
    """Both ask the receiver, which answers neither before it has heard both, and says something else to each."""
    both, statuses = asyncio.Barrier(2), iter((501, 502))

    async def answer(_: Received) -> Reply:
        await both.wait()
        return Reply(next(statuses))

    world.receiver.answer = answer
    asked = await trying_an_endpoint(world)

    async with asyncio.timeout(60):
        first, second = await asyncio.gather(*(world.send(asked, "k", number=n) for n in range(2)))

    assert first.is_success, first.text
    assert second.content == first.content


async def test_repeats_that_wait_in_one_process_hold_no_connections(world: World, pool) -> None:
    """More of them than the pool has connections; a connection goes to the callers in the order in which they ask."""
    asked = await creating_an_endpoint(world)
    async with pool.acquire() as other, asyncio.timeout(60):
        async with other.transaction():
            await other.execute("LOCK TABLE webhook_endpoint IN EXCLUSIVE MODE")
            calls = [asyncio.create_task(world.send(asked, "k")) for _ in range(pool.get_max_size() + 2)]
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            # Each of these asks for a connection behind all the calls that could go on to take one.
            for _ in range(10):
                await world.brand.ask("GET", world.endpoint)

        answers = await asyncio.gather(*calls)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1


async def test_repeats_that_wait_hold_no_places_of_other_requests(house, world: World, pool) -> None:
    """One request works under the key and the others wait for it; there is one place more than it has."""
    asked = await creating_an_endpoint(world)
    places = Admission(2, wait_seconds=5, refusal_seconds=0)
    transport = httpx2.ASGITransport(app=build_app(house, admission=places))
    under_way = house.meters.requests_under_way._value
    async with httpx2.AsyncClient(transport=transport, base_url="http://few.test") as http, pool.acquire() as other:
        few = replace(world, brand=replace(world.brand, http=http))
        async with other.transaction():
            await other.execute("LOCK TABLE webhook_endpoint IN EXCLUSIVE MODE")
            calls = [asyncio.create_task(few.send(asked, "k")) for _ in range(20)]
            async with asyncio.timeout(20):
                while under_way.get() < 20 or places.waiting:
                    await asyncio.sleep(0.01)
            others = [(await few.brand.call("GET", "/v1/clock")).status_code for _ in range(3)]
            working = places.working

        answers = await asyncio.gather(*calls)

    assert (others, working) == ([200] * 3, 1)
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert (places.working, places.waiting) == (0, 0)


# ---------------------------------------------------------------- cut off half-way


async def cut_when(pool, table: str, condition: str) -> None:
    """Cuts each connection that would change such a row."""
    await pool.execute(
        f"CREATE FUNCTION cut_half_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF; RETURN NEW; END $$; "
        f"CREATE TRIGGER cut_half_way BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION cut_half_way()"
    )


async def mend(pool, table: str) -> None:
    await pool.execute(f"DROP TRIGGER cut_half_way ON {table}; DROP FUNCTION cut_half_way()")


async def test_a_clock_that_was_cut_off_between_two_due_instants_goes_on_though_another_call_passed_it(
    world: World, pool
) -> None:
    asked = Asked("POST", "/v1/clock/advance", {"to": "2031-02-20T00:00:00Z"})
    await cut_when(pool, "organisation", "NEW.clock_at = '2031-02-20T00:00:00Z'")
    assert (await world.send(asked, "k")).status_code == 503
    await mend(pool, "organisation")
    shown = (await world.brand.ask("GET", "/v1/clock"))["now"]
    assert shown == "2031-02-17T00:00:00Z"
    await world.brand.advance("2031-02-21T00:00:00Z")

    again = await world.send(asked, "k", number=1)

    assert (again.status_code, again.json()) == (200, {"now": "2031-02-20T00:00:00Z", "status": "ready"})
    assert (await world.brand.ask("GET", "/v1/clock"))["now"] == "2031-02-21T00:00:00Z"


async def test_a_removal_that_was_cut_off_before_all_was_parked_is_finished_by_the_repeat(world: World, pool) -> None:
    await world.reward(501)
    asked = await removing_an_endpoint(world)
    await cut_when(pool, "delivery", "NEW.state = 'parked'")
    assert (await world.send(asked, "k")).status_code == 503
    await mend(pool, "delivery")

    again = await world.send(asked, "k", number=1)

    assert (again.status_code, again.json()) == (200, {"state": "removed"})
    assert {row["state"] for row in await pool.fetch("SELECT state FROM delivery")} == {"parked"}


async def test_a_removal_that_was_refused_parks_nothing_when_it_is_repeated_though_the_endpoint_has_come(
    world: World, pool
) -> None:
    first = int(world.endpoint.rpartition("/")[2])
    asked = Asked("DELETE", f"{ENDPOINTS}/{first + 1}")
    assert (await world.send(asked, "k")).status_code == 404
    # As if it had been cut off after its transaction: what was judged is kept, and not yet the whole answer.
    await pool.execute("DELETE FROM idempotency_result WHERE number = 0")
    made = await world.brand.ask("POST", ENDPOINTS, {"url": world.receiver.url})
    assert made["endpointId"] == first + 1
    await world.reward(501)

    again = await world.send(asked, "k", number=1)

    assert again.status_code == 404
    waiting = await pool.fetchval("SELECT count(*) FROM delivery WHERE webhook_endpoint_id = $1", first + 1)
    parked = await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'parked'")
    assert waiting > 0 == parked


async def test_a_change_of_url_that_was_cut_off_is_answered_though_the_name_has_other_addresses_since(
    world: World, pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked("PATCH", world.endpoint, {"url": f"{world.receiver.url}moved", "state": "active"})
    await pool.execute(CUT)
    assert (await world.send(asked, "k")).status_code == 503
    await pool.execute(MEND)
    name_server_says(world, monkeypatch, [False] * 2)

    answers = [await world.send(asked, "k", number=n) for n in range(2)]

    assert [(each.status_code, each.json()["url"]) for each in answers] == [(200, asked.body["url"])] * 2


@pytest.mark.parametrize("first", [False, True])
async def test_of_two_processes_that_found_other_addresses_of_a_name_the_answer_is_what_was_done(
    world: World, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Both have looked the name up before either has answered; the first to judge decides."""
    asked = Asked("PATCH", world.endpoint, {"url": f"{world.receiver.url}moved"})
    both, gates = asyncio.Barrier(3), [asyncio.Event(), asyncio.Event()]
    name_server_says(world, monkeypatch, [first, not first], gates, both)

    calls = [asyncio.create_task(world.send(asked, "k", number=n)) for n in range(2)]
    async with asyncio.timeout(20):
        await both.wait()
    gates[0].set()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    gates[1].set()
    answers = await asyncio.gather(*calls)

    assert [each.status_code for each in answers] == [200 if first else 400] * 2
    shown = await world.brand.ask("GET", world.endpoint)
    assert (shown["url"] == asked.body["url"]) is first


def name_server_says(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    said: list[bool],
    gates: Sequence[asyncio.Event] = (),
    asked: asyncio.Barrier | None = None,
) -> None:
    """Whether a URL may be reached, of one look-up after the other; gates hold the answers back."""
    look_ups = iter(range(len(said)))

    async def may_reach(_: str) -> bool:
        number = next(look_ups)
        if asked is not None:
            await asked.wait()
            await gates[number].wait()
        return said[number]

    monkeypatch.setattr(world.brand.house.courier, "may_reach", may_reach)


async def test_a_recovery_that_was_cut_off_counts_what_it_had_sent_before(world: World, pool) -> None:
    """What was delivered meanwhile would be counted no more by a recovery that began again."""
    for customer_id in (501, 502, 503):
        await world.reward(customer_id)
    total = await pool.fetchval("SELECT count(*) FROM delivery")
    last = await pool.fetchval("SELECT customer_id FROM delivery ORDER BY bucket DESC LIMIT 1")
    asked = Asked("POST", f"{world.endpoint}/recover", {"since": "2026-01-01"})
    await cut_when(pool, "delivery", f"NEW.customer_id = {last}")
    assert (await world.send(asked, "k")).status_code == 503
    await mend(pool, "delivery")
    await pool.execute(
        "UPDATE delivery SET state = 'delivered', attempt_count = 1, attempted_at = $2, delivered_at = $2, status = 200 "
        "WHERE customer_id <> $1",
        last,
        world.brand.house.wall(),
    )

    again = await world.send(asked, "k", number=1)

    assert again.json() == {"count": total}


async def test_a_refusal_is_kept_in_the_transaction_that_judged(world: World, pool) -> None:
    """There is no room for another endpoint, and the answer is lost; then there is room."""
    asked = await creating_an_endpoint(world)
    for number in range(ENDPOINT_COUNT_MAX - 1):
        await world.send(asked, f"room-{number}")
    await pool.execute(CUT)
    assert (await world.send(asked, "k")).status_code == 503
    await pool.execute(MEND)
    await world.brand.ask("DELETE", world.endpoint)

    again = await world.send(asked, "k", number=1)

    assert problem(again) == (400, 300004)
    assert (await world.send(asked, "another")).status_code == 201
