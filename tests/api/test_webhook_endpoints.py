"""Webhook endpoints over the API: made, changed, paused, rotated, tested, removed; and never shown to a stranger."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio
from standardwebhooks import WebhookVerificationError
from tests.api.brand import Brand, open_brand, problem, purchase, sign_in, sign_in_with, snapshot
from tests.bodies import with_target
from tests.engine.receiver import Receiver, Reply, Verifier, always

from kosminar.core.access import Level, Resource
from kosminar.core.endpoint import ENDPOINT_COUNT_MAX
from kosminar.core.event import EventName
from kosminar.engine import endpoint_runs

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
PATH = "/v1/webhook-endpoints"
URL = "https://brand.example/hooks"
REWARDS = [{"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}]
EVERYTHING = dict.fromkeys(Resource, Level.WRITE)


async def brand_with_rights(house, http, name: str) -> Brand:
    brand = await open_brand(house, http, name, clock=NOW)
    await brand.register(501, 502)
    return Brand(house, http, brand.organisation_id, await sign_in_with(house, brand.organisation_id, EVERYTHING))


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    yield await brand_with_rights(house, http, "Acme")


@pytest_asyncio.fixture
async def globex(house, http) -> AsyncIterator[Brand]:
    brand = await brand_with_rights(house, http, "Globex")
    await brand.ask("POST", PATH, {"url": URL})
    yield brand


async def create(brand: Brand, **body: Any) -> dict[str, Any]:
    return await brand.ask("POST", PATH, {"url": URL, **body})


async def test_an_endpoint_is_shown_with_its_secret_once_and_without_it_ever_after(acme: Brand) -> None:
    made = await create(acme, eventNames=["rewardIssued"], description="Wallet", headers={"X-Token": "hidden"})
    shown = await acme.ask("GET", f"{PATH}/{made['endpointId']}")
    listed = await acme.ask("GET", PATH)
    changed = await acme.ask("PATCH", f"{PATH}/{made['endpointId']}", {"description": "Purse"})

    assert made["secret"].startswith("whsec_")
    assert {**shown, "secret": made["secret"]} == made
    assert listed == {"data": [shown]}
    assert (shown["url"], shown["eventNames"], shown["headerNames"]) == (URL, ["rewardIssued"], ["X-Token"])
    assert (shown["state"], shown["reason"], shown["failureCount"]) == ("active", None, 0)
    later = json.dumps([shown, listed, changed])
    assert made["secret"] not in later
    assert "hidden" not in later


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"url": None}, "url"),
        ({"url": 7}, "url"),
        ({"url": "ftp://brand.example/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "//brand.example/hooks"}, "url"),
        ({"url": "https://ana:secret@brand.example/"}, "url"),
        ({"url": "https://brand.example/#part"}, "url"),
        ({"url": "https://brand.example:0/"}, "url"),
        ({"url": "https://brand.example:65536/"}, "url"),
        ({"url": "https://brand.example/a b"}, "url"),
        ({"url": "https://br\xe4nd.example/"}, "url"),
        ({"url": "https://[::1/"}, "url"),
        ({"url": URL + "x" * (2001 - len(URL))}, "url"),
        ({"eventNames": []}, "eventNames"),
        ({"eventNames": "rewardIssued"}, "eventNames"),
        ({"eventNames": ["rewardissued"]}, "eventNames"),
        ({"eventNames": ["rewardIssued", "rewardIssued"]}, "eventNames"),
        ({"eventNames": [["rewardIssued"]]}, "eventNames"),
        ({"headers": {"webhook-id": "1"}}, "headers"),
        ({"headers": {"Host": "other.example"}}, "headers"),
        ({"headers": {"Content-Type": "text/plain"}}, "headers"),
        ({"headers": {"X Y": "1"}}, "headers"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"headers": {"X": 1}}, "headers"),
        ({"headers": {"X": "1", "x": "2"}}, "headers"),
        ({"headers": {f"X-{n}": "1" for n in range(11)}}, "headers"),
        ({"headers": {"X": "y" * 1001}}, "headers"),
        ({"connectionCountMax": 0}, "connectionCountMax"),
        ({"connectionCountMax": 33}, "connectionCountMax"),
        ({"connectionCountMax": 1.5}, "connectionCountMax"),
        ({"description": ""}, "description"),
        ({"description": "x" * 256}, "description"),
    ],
)
async def test_what_an_endpoint_cannot_be_is_refused_by_field(acme: Brand, house, body: Any, path: str) -> None:
    before = await snapshot(house)

    refused = await acme.call("POST", PATH, {"url": URL, **body})

    assert problem(refused) == (400, 300004)
    assert refused.json()["detail"].startswith(f"{path}: ")
    assert await snapshot(house) == before


async def test_the_widest_endpoint_there_can_be_is_taken(acme: Brand) -> None:
    made = await create(
        acme,
        url=URL + "x" * (2000 - len(URL)),
        eventNames=list(EventName),
        headers={f"X-{n}": "y" * 1000 for n in range(10)},
        connectionCountMax=32,
        description="x" * 255,
    )

    assert sorted(made["eventNames"]) == sorted(EventName)


async def test_an_organisation_has_so_many_endpoints_and_no_more(acme: Brand) -> None:
    for _ in range(ENDPOINT_COUNT_MAX):
        last = await create(acme)

    assert problem(await acme.call("POST", PATH, {"url": URL})) == (400, 300004)
    await acme.ask("DELETE", f"{PATH}/{last['endpointId']}")
    assert (await acme.call("POST", PATH, {"url": URL})).status_code == 201


async def test_a_change_changes_what_is_given_and_null_clears(acme: Brand) -> None:
    made = await create(acme, eventNames=["rewardIssued"], description="Wallet", headers={"X": "1"})
    path = f"{PATH}/{made['endpointId']}"

    renamed = await acme.ask("PATCH", path, {"description": "Purse"})
    cleared = await acme.ask("PATCH", path, {"description": None, "eventNames": None, "headers": None})

    unchanged = {"updatedAt", "description"}
    assert {k: v for k, v in renamed.items() if k not in unchanged} == {
        k: v for k, v in made.items() if k not in {*unchanged, "secret"}
    }
    assert (cleared["description"], cleared["eventNames"], cleared["headerNames"]) == (None, None, [])
    for body in ({"state": "disabled"}, {"state": "removed"}, {"url": None}, {"url": "x"}, {}, {"titel": "x"}):
        assert problem(await acme.call("PATCH", path, body)) == (400, 300004)


async def test_while_paused_nothing_is_sent_and_resumed_everything_is(acme: Brand) -> None:
    async with Receiver() as receiver:
        made = await create(acme, url=receiver.url)
        path = f"{PATH}/{made['endpointId']}"
        await acme.ask("PATCH", path, {"state": "paused"})
        await acme.define(with_target(rewards=REWARDS))
        await acme.record(purchase("a", 501, TODAY, 250))
        await acme.house.courier.deliver_due()
        paused = len(receiver.received)
        # Long after they would have been given up.
        acme.house.wall.advance(days=30)
        await acme.ask("PATCH", path, {"state": "active"})
        await acme.house.courier.deliver_due()

    assert paused == 0
    assert [one.body["sequence"] for one in receiver.received] == [1, 2, 3, 4, 5]
    assert [reward["state"] for reward in await acme.rewards(501)] == ["issued"]


async def test_a_receiver_that_is_gone_disables_its_endpoint_until_it_is_brought_back(acme: Brand) -> None:
    async with Receiver(always(Reply(410))) as receiver:
        made = await create(acme, url=receiver.url)
        path = f"{PATH}/{made['endpointId']}"
        await acme.define(with_target(rewards=[]))
        await acme.record(purchase("a", 501, TODAY, 5))
        await acme.house.courier.deliver_due()
        disabled = await acme.ask("GET", path)
        receiver.answer = always(Reply(200))
        back = await acme.ask("PATCH", path, {"state": "active"})
        await acme.house.courier.deliver_due()

    assert disabled["state"] == "disabled"
    assert "410" in disabled["reason"]
    assert (back["state"], back["reason"]) == ("active", None)
    assert [one.body["sequence"] for one in receiver.accepted] == [1, 2, 3]


async def test_of_a_rotated_secret_both_sign_until_the_overlap_ends(acme: Brand, wall) -> None:
    async with Receiver() as receiver:
        made = await create(acme, url=receiver.url)
        path = f"{PATH}/{made['endpointId']}"
        rotated = await acme.ask("POST", f"{path}/rotate-secret", {"overlapHours": 2})
        await acme.ask("POST", f"{path}/test")
        during = (receiver.received[-1], wall())
        wall.now += timedelta(hours=2)
        await acme.ask("POST", f"{path}/test")
        after = (receiver.received[-1], wall())
        at_once = await acme.ask("POST", f"{path}/rotate-secret", {"overlapHours": 0})

    assert len({each["secret"] for each in (made, rotated, at_once)}) == 3
    assert verified(during, made["secret"])
    assert verified(during, rotated["secret"])
    assert not verified(after, made["secret"])
    assert verified(after, rotated["secret"])
    assert at_once["previousSecretUntil"] is None
    assert rotated["previousSecretUntil"] is not None
    for hours in (-1, 169, "2", 1.5, None):
        assert problem(await acme.call("POST", f"{path}/rotate-secret", {"overlapHours": hours})) == (400, 300004)


def verified(received: Any, secret: str) -> bool:
    one, at = received
    try:
        Verifier(secret, at).verify(one.content, dict(one.headers))
    except WebhookVerificationError:
        return False
    return True


async def test_a_test_says_what_came_of_it_and_leaves_no_trace(acme: Brand, house) -> None:
    async with Receiver() as receiver:
        made = await create(acme, url=receiver.url, headers={"X-Token": "hidden"})
        before = await snapshot(house)
        well = await acme.ask("POST", f"{PATH}/{made['endpointId']}/test")
        receiver.answer = always(Reply(500))
        badly = await acme.ask("POST", f"{PATH}/{made['endpointId']}/test")
        url = receiver.url
    gone = await acme.ask("POST", f"{PATH}/{made['endpointId']}/test")

    assert (well["status"], well["error"]) == (200, None)
    assert (badly["status"], badly["error"]) == (500, "answered 500")
    assert (gone["status"], gone["error"] is None) == (None, False)
    assert url.split("/")[2] not in (gone["error"] or "")
    (first, _) = receiver.received
    assert (first.body["eventName"], first.headers["x-token"]) == ("webhookTest", "hidden")
    assert await snapshot(house) == before


async def test_a_removed_endpoint_is_gone_and_what_waited_for_it_is_parked(acme: Brand, pool) -> None:
    made = await create(acme, url="http://127.0.0.1:1/hook")
    path = f"{PATH}/{made['endpointId']}"
    await acme.define(with_target(rewards=REWARDS))
    await acme.record(purchase("a", 501, TODAY, 250))

    assert await acme.ask("DELETE", path) == {"state": "removed"}
    assert problem(await acme.call("GET", path)) == (404, 390021)
    assert problem(await acme.call("DELETE", path)) == (404, 390021)
    assert {row["state"] for row in await pool.fetch("SELECT state FROM delivery")} == {"parked"}
    assert await pool.fetchval("SELECT count(*) FROM webhook_queue") == 0
    # It was to hand the reward over; nobody knows whether it did, so it stays to be reported.
    assert [reward["state"] for reward in await acme.rewards(501)] == ["pending"]
    await acme.record(purchase("b", 502, TODAY, 250))
    assert [reward["state"] for reward in await acme.rewards(502)] == ["issued"]


async def test_a_removal_that_was_cut_off_is_finished_by_the_housekeeper(acme: Brand, pool, monkeypatch) -> None:
    made = await create(acme, url="http://127.0.0.1:1/hook")
    await create(acme, url="http://127.0.0.1:1/hook")
    await acme.define(with_target(rewards=REWARDS))
    await acme.record(purchase("a", 501, TODAY, 250))
    cut_off = AsyncMock(side_effect=ConnectionError)
    with monkeypatch.context() as during:
        during.setattr(endpoint_runs, "park_removed", cut_off)
        assert (await acme.call("DELETE", f"{PATH}/{made['endpointId']}")).status_code == 503

    await acme.house.housekeeper.tidy()

    rows = await pool.fetch("SELECT webhook_endpoint_id, state, error FROM delivery")
    theirs = {(row["state"], row["error"]) for row in rows if row["webhook_endpoint_id"] == made["endpointId"]}
    others = {row["state"] for row in rows if row["webhook_endpoint_id"] != made["endpointId"]}
    assert (theirs, others) == ({("parked", "the endpoint was removed")}, {"waiting"})
    queued = await pool.fetch("SELECT webhook_endpoint_id FROM webhook_queue")
    assert [row["webhook_endpoint_id"] for row in queued] == [made["endpointId"] + 1]


async def test_recovering_for_what_is_removed_meanwhile_answers_as_for_what_is_not(acme: Brand, pool) -> None:
    await acme.define(with_target(rewards=[]))
    await create(acme)
    await acme.record(purchase("a", 501, TODAY, 5))
    made = await create(acme)
    path = f"{PATH}/{made['endpointId']}"
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT 1 FROM customer WHERE customer_id = 501 FOR UPDATE")
        recovering = asyncio.create_task(acme.call("POST", f"{path}/recover", {"since": "2020-01-01T00:00:00Z"}))
        async with asyncio.timeout(30):
            while not await pool.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):
                pass
            removing = asyncio.create_task(acme.ask("DELETE", path))
            while not await pool.fetchval("SELECT EXISTS (SELECT 1 FROM webhook_endpoint WHERE state = 'removed')"):
                pass
        await transaction.commit()
        answer = await recovering
        await removing

    assert problem(answer) == (404, 390021)
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE webhook_endpoint_id = $1", made["endpointId"]) == 0


async def test_deliveries_are_listed_by_state_and_customer_page_by_page(acme: Brand) -> None:
    async def answer(received: Any) -> Reply:
        return Reply(400 if received.body["sequence"] == 2 else 200)

    async with Receiver(answer) as receiver:
        made = await create(acme, url=receiver.url)
        path = f"{PATH}/{made['endpointId']}/deliveries"
        await acme.define(with_target(rewards=[]))
        await acme.record(purchase("a", 501, TODAY, 250), purchase("b", 502, TODAY, 250))
        waiting = await acme.ask("GET", path, params={"state": "waiting"})
        await acme.house.courier.deliver_due()
        unfinished = await acme.ask("GET", path)
        first = await acme.ask("GET", path, params={"customerId": "501", "limit": "3"})
        second = await acme.ask("GET", path, params={"customerId": "501", "cursor": first["next"]})

    assert [(one["customerId"], one["number"]) for one in waiting["data"]] == [
        (c, n) for c in (501, 502) for n in range(1, 5)
    ]
    assert [(one["customerId"], one["number"], one["state"], one["status"]) for one in unfinished["data"]] == [
        (501, 2, "refused", 400),
        (502, 2, "refused", 400),
    ]
    states = [one["state"] for one in (*first["data"], *second["data"])]
    assert states == ["delivered", "refused", "delivered", "delivered"]
    for query in ({"state": "lost"}, {"state": "delivered"}, {"customerId": "0"}, {"cursor": "1"}):
        assert problem(await acme.call("GET", path, params=query)) == (400, 300004)


async def test_what_was_missed_is_recovered_since_an_instant_and_once(acme: Brand, wall) -> None:
    await create(acme, url="http://127.0.0.1:1/hook")
    await acme.define(with_target(rewards=[]))
    await acme.record(purchase("a", 501, TODAY, 5))
    wall.advance(hours=1)
    since = wall().isoformat()
    await acme.record(purchase("b", 501, TODAY, 5))
    async with Receiver() as receiver:
        late = await create(acme, url=receiver.url)
        path = f"{PATH}/{late['endpointId']}/recover"
        counts = [(await acme.ask("POST", path, {"since": since}))["count"]]
        await acme.house.courier.deliver_due()
        counts.append((await acme.ask("POST", path, {"since": since}))["count"])
        counts.append((await acme.ask("POST", path, {"since": "2020-01-01T00:00:00Z"}))["count"])
        await acme.house.courier.deliver_due()

    assert counts == [1, 0, 3]
    assert [one.body["sequence"] for one in receiver.received] == [4, 1, 2, 3]
    assert problem(await acme.call("POST", path, {"since": "yesterday"})) == (400, 300004)


async def test_the_default_access_group_reads_endpoints_and_changes_none(acme: Brand, house, http) -> None:
    made = await create(acme)
    clerk = Brand(house, http, acme.organisation_id, await sign_in(house, acme.organisation_id))

    assert (await clerk.call("GET", PATH)).status_code == 200
    for method, path in (
        ("POST", PATH),
        ("PATCH", f"{PATH}/{made['endpointId']}"),
        ("DELETE", f"{PATH}/{made['endpointId']}"),
        ("POST", f"{PATH}/{made['endpointId']}/rotate-secret"),
        ("POST", f"{PATH}/{made['endpointId']}/test"),
    ):
        assert (await clerk.call(method, path, {"url": URL} if method != "DELETE" else None)).status_code == 403


async def test_another_organisations_endpoint_answers_like_one_that_is_not(acme: Brand, globex: Brand, house) -> None:
    (theirs,) = (await globex.ask("GET", PATH))["data"]
    await globex.define(with_target(rewards=REWARDS))
    await globex.record(purchase("a", 501, TODAY, 250))
    before = await snapshot(house)

    for method, rest, body in (
        ("GET", "", None),
        ("PATCH", "", {"url": "https://thief.example/"}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {"overlapHours": 1}),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", "/deliveries/501/1/resend", None),
        ("POST", "/recover", {"since": TODAY}),
    ):
        foreign = await acme.call(method, f"{PATH}/{theirs['endpointId']}{rest}", body)
        unknown = await acme.call(method, f"{PATH}/{2**62}{rest}", body)

        assert problem(foreign) == (404, 390021)
        assert foreign.content == unknown.content
    assert await snapshot(house) == before
    assert await acme.ask("GET", PATH) == {"data": []}


async def test_a_customers_notification_is_sent_again_only_where_there_is_one(acme: Brand, globex: Brand) -> None:
    made = await create(acme)
    await globex.define(with_target(rewards=REWARDS))
    await globex.record(purchase("a", 501, TODAY, 250))

    for customer_id, number in ((501, 1), (501, 2**62), (2**62, 1)):
        path = f"{PATH}/{made['endpointId']}/deliveries/{customer_id}/{number}/resend"
        assert problem(await acme.call("POST", path)) == (404, 390022)
