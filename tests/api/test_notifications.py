"""What a brand is told: a real receiver, an endpoint made over the API, and everything that happens to customers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tests.api.brand import Brand, event, open_brand, problem, purchase, sign_in_with
from tests.bodies import named, streak, with_target
from tests.engine.receiver import Received, Receiver, Reply, Verifier, always

from kosminar.core.access import Level, Resource
from kosminar.core.activity import Activity
from kosminar.core.event import EventName
from kosminar.core.reward import RewardKey, RewardState
from kosminar.engine.auditor import audit
from kosminar.engine.change import ReportOutcome, Request, RewardReport

pytestmark = pytest.mark.asyncio

NOW = datetime(2031, 2, 12, 12, tzinfo=UTC)
TODAY = "2031-02-12T09:00:00Z"
EVERYTHING = dict.fromkeys(Resource, Level.WRITE)
IMMEDIATE = {"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}
AT_THE_END = {"kind": "COUPON", "value": "TEN-OFF", "allocation": "PERIOD_END"}
# Nothing sends these as long as programmes of one target and purchases without returns are all there is.
NOT_SENT = {
    EventName.UNIFIED_TARGETS_ACHIEVED,
    EventName.UNIFIED_TARGETS_UN_ACHIEVED,
    EventName.STREAK_LEVEL_UN_ACHIEVED,
}


@dataclass
class Ear:
    """A receiver and the endpoint that tells it."""

    brand: Brand
    receiver: Receiver
    endpoint: dict[str, Any]

    async def hears(self) -> list[tuple[str, int]]:
        """Deliver what is due; what arrived since the last time, as event and sequence."""
        before = len(self.receiver.received)
        await self.brand.house.courier.deliver_due()
        return [(one.body["eventName"], one.body["sequence"]) for one in self.receiver.received[before:]]


@pytest_asyncio.fixture
async def acme(house, http) -> AsyncIterator[Brand]:
    brand = await open_brand(house, http, "Acme", clock=NOW)
    await brand.register(501, 502)
    headers = await sign_in_with(house, brand.organisation_id, EVERYTHING)
    yield Brand(house, http, brand.organisation_id, headers)


async def open_ear(brand: Brand, receiver: Receiver, **more: Any) -> Ear:
    endpoint = await brand.ask("POST", "/v1/webhook-endpoints", {"url": receiver.url, **more})
    return Ear(brand, receiver, endpoint)


async def clean(pool: asyncpg.Pool) -> bool:
    return [difference async for difference in audit(pool, progressed=lambda _: None)] == []


async def test_everything_that_happens_in_a_milestone_is_told_in_order(acme: Brand, pool) -> None:
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver)
        spring = await acme.define(with_target(rewards=[IMMEDIATE, AT_THE_END]))

        await acme.record(purchase("a", 501, TODAY, 200))
        await acme.record(purchase("b", 501, TODAY, "50.5"))
        await acme.advance("2031-03-01T00:00:00Z")
        await spring.un_enrol(501)
        await spring.enrol(501, initialBalance=7)
        told = await ear.hears()

    assert [name for name, _ in told] == [
        "targetCustomerEnrolment",
        "targetPeriodStarted",
        "targetAchievedValueUpdated",
        "targetAchievedValueUpdated",
        "targetValueAchieved",
        "rewardIssued",
        "rewardIssued",
        "targetPeriodCompleted",
        "milestoneCustomerUnEnrolment",
        "targetCustomerEnrolment",
        "targetValueUpdated",
    ]
    assert [number for _, number in told] == list(range(1, 12))
    secret = ear.endpoint["secret"]
    assert all(Verifier(secret, acme.house.wall()).verify(one.content, dict(one.headers)) for one in receiver.received)
    assert await clean(pool)


async def test_everything_that_happens_in_a_streak_is_told_in_order(acme: Brand, pool) -> None:
    laps = {"type": "lapDone", "attributes": {}}
    body = streak(streaks=[{"name": "One", "targetCountOfSequence": 1, "rewards": [IMMEDIATE]}])
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver)
        autumn = await acme.define(body)
        await autumn.enrol(501)
        for number in range(4):
            await acme.record({"id": f"lap-{number}", "customerId": 501, "occurredAt": TODAY, **laps})
        await acme.advance("2031-02-24T00:00:00Z")
        told = [name for name, _ in await ear.hears()]

    updates = ["targetAchievedValueUpdated"]
    assert told == [
        "streakCustomerEnrolment",
        "targetPeriodStarted",
        *updates * 4,
        "targetValueAchieved",
        "streakStart",
        "streakLevelAchieved",
        "rewardIssued",
        "targetPeriodCompleted",
        "streakEnd",
        "targetPeriodCompleted",
    ]
    assert await clean(pool)


async def test_leaving_a_streak_is_told_with_what_was_left(acme: Brand) -> None:
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver)
        autumn = await acme.define(streak())
        await autumn.enrol(501)
        await autumn.un_enrol(501)
        told = await ear.hears()

    assert told == [("streakCustomerEnrolment", 1), ("streakCustomerUnEnrolment", 2)]
    data = receiver.received[1].body["data"]
    assert data["triggeringActivity"]["name"] == "streak unenrollment"
    assert data["triggeringActivity"]["identifiers"] == [{"key": "UNENROL_VIA_API", "value": "501"}]
    assert data["streakUnEnrolmentData"] == [
        {
            "streakName": "Autumn laps",
            "numberOfLevel": 2,
            "levelValues": [2, 3],
            "startDate": "2031-02-03T00:00:00Z",
            "endDate": "2031-02-24T00:00:00Z",
        }
    ]


async def test_a_notification_says_what_the_published_ones_say(acme: Brand) -> None:
    async with Receiver() as receiver:
        await open_ear(acme, receiver, eventNames=["targetValueAchieved"])
        spring = await acme.define(with_target(rewards=[IMMEDIATE]))
        activity = purchase("a", 501, TODAY, "250.5", billNumber="B-7")
        request = await acme.call("POST", "/v1/activities", {"activities": [activity]})
        await acme.house.courier.deliver_due()
        (received,) = receiver.received

    call, period = request.headers["X-Request-ID"], spring.group["periods"][1]
    organisation_id = acme.organisation_id
    assert received.headers["webhook-id"] == received.body["eventId"] == f"{organisation_id}-501-1"
    assert received.body == {
        "eventId": f"{organisation_id}-501-1",
        "eventName": "targetValueAchieved",
        "orgId": organisation_id,
        "refId": f"{organisation_id}_{call}",
        "apiRequestId": call,
        "createdAt": 1928664000000,
        "loyaltyEventId": None,
        "traceAttributes": {},
        "sequence": 1,
        "data": {
            "customerIdentifiers": {"customerId": 501},
            "targetDetails": {
                "id": spring.target_id,
                "name": "Spring spend",
                "targetGroupId": spring.target_group_id,
                "targetGroupName": "Spring",
                "targetPeriodId": period["id"],
                "targetPeriodName": "Cycle_2",
                "description": None,
            },
            "currentEventTargetValue": "250.500",
            "achievedTargetValue": "250.500",
            "definedTargetValue": "250.000",
            "triggeringActivity": {
                "name": "transaction",
                "identifiers": [{"key": "activityId", "value": "a"}, {"key": "billNumber", "value": "B-7"}],
                "enteredBy": {"id": None, "till": None, "store": None},
                "entityInformation": None,
                "additionalAttributes": [],
            },
            "milestoneDetails": [
                {
                    "id": spring.target_id,
                    "name": "targetAchieved",
                    "valueType": "ABSOLUTE",
                    "definedValue": "250.000",
                    "achievedDate": "2031-02-12T09:00:00Z",
                }
            ],
            "transactionId": "a",
        },
    }


async def test_who_fell_short_is_told_that_the_period_is_over_and_gets_nothing(acme: Brand, pool) -> None:
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver, eventNames=["targetPeriodCompleted", "rewardIssued"])
        spring = await acme.define(with_target(enrolmentMethod="IMPORT"))
        await spring.enrol(501)
        await spring.enrol(502)
        await acme.record(purchase("a", 501, TODAY, 5))
        await spring.un_enrol(502)
        await acme.advance("2031-03-01T00:00:00Z")
        told = await ear.hears()
        # Looked at again, it is not told again.
        await acme.house.closer.settle(acme.organisation_id)
        again = await ear.hears()

    assert (told, again) == ([("targetPeriodCompleted", 1)], [])
    assert receiver.received[0].body["data"]["achievedTargetValue"] == "5.000"
    assert await acme.rewards(501) == []
    assert await clean(pool)


async def test_a_period_is_completed_in_the_run_that_was_going_at_its_end(acme: Brand) -> None:
    """A test clock stands exactly at the end, and there the streak is begun anew before the period is due."""
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver, eventNames=["targetPeriodCompleted"])
        autumn = await acme.define(streak(offsetDays=2))
        await autumn.enrol(501)
        await acme.record(event("a", 501, TODAY), event("b", 501, TODAY))
        await acme.advance("2031-02-17T00:00:00Z")
        await autumn.un_enrol(501)
        await autumn.enrol(501, resetStreakStatus=True)
        await acme.advance("2031-02-20T00:00:00Z")
        await ear.hears()

    told = [one.body["data"] for one in receiver.received]
    assert [(each["targetDetails"]["targetPeriodName"], each["achievedTargetValue"]) for each in told] == [
        ("W2", "2.000")
    ]


async def test_an_enrolment_shows_no_achievement_that_its_balance_withdraws(acme: Brand) -> None:
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver, eventNames=["targetCustomerEnrolment"])
        spring = await acme.define(with_target(enrolmentMethod="IMPORT", rewards=[IMMEDIATE]))
        await spring.enrol(501)
        await acme.record(purchase("a", 501, TODAY, 300))
        await spring.un_enrol(501)
        await spring.enrol(501, initialBalance=0)
        await ear.hears()

    assert [one.body["data"]["milestoneDetails"][0]["achievedDate"] for one in receiver.received] == [None, None]


async def test_a_periods_reward_has_run_one_wherever_it_is_shown(acme: Brand) -> None:
    body = streak()
    body["targets"] = [{**body["targets"][0], "rewards": [IMMEDIATE]}]
    async with Receiver() as receiver:
        ear = await open_ear(acme, receiver, eventNames=["rewardIssued", "rewardReversed"])
        autumn = await acme.define(body)
        await autumn.enrol(501)
        await autumn.un_enrol(501)
        await autumn.enrol(501, resetStreakStatus=True)
        await acme.record(*(event(f"lap-{n}", 501, "2031-02-12T12:00:00Z") for n in range(4)))
        (reward,) = await acme.rewards(501)
        await ear.hears()
        await report(acme, reward["rewardId"], "reversed", "Returned.")
        await ear.hears()

    assert [one.body["data"]["reward"]["run"] for one in receiver.received] == [reward["run"]] * 2 == [1, 1]


async def test_what_is_reported_in_the_batch_that_earned_it_is_known(acme: Brand, house) -> None:
    spring = await acme.define(with_target(rewards=[IMMEDIATE]))
    definition_id = spring.group["targets"][0]["rewards"][0]["id"]
    key = RewardKey(spring.target_id, spring.group["periods"][1]["id"], 0, 1, definition_id)
    bought = Activity("a", "transaction", NOW, {"amount": Decimal(250)})
    reversal = RewardReport(key, RewardState.REVERSED, "Returned.")

    _, reported = await house.writer.submit(Request(acme.organisation_id, 501, each) for each in (bought, reversal))

    assert isinstance(reported, ReportOutcome)
    assert reported.errors == ()
    assert [reward["state"] for reward in await acme.rewards(501)] == ["reversed"]


async def test_only_what_is_subscribed_to_is_told_and_only_to_who_subscribes(acme: Brand) -> None:
    async with Receiver() as all_ears, Receiver() as one_ear:
        every = await open_ear(acme, all_ears)
        one = await open_ear(acme, one_ear, eventNames=["targetValueAchieved"])
        await acme.define(with_target(rewards=[]))
        await acme.record(purchase("a", 501, TODAY, 250))
        heard = await every.hears()

    assert [name for name, _ in heard] == [
        "targetCustomerEnrolment",
        "targetPeriodStarted",
        "targetAchievedValueUpdated",
        "targetValueAchieved",
    ]
    # Its numbers have gaps: they count all that was written of the customer.
    assert [received.body["sequence"] for received in one.receiver.received] == [4]


async def test_nothing_is_written_where_nobody_listens(acme: Brand, pool) -> None:
    await acme.define(with_target(rewards=[IMMEDIATE]))
    await acme.record(purchase("a", 501, TODAY, 250))

    assert await pool.fetchval("SELECT count(*) FROM notification") == 0
    assert [reward["state"] for reward in await acme.rewards(501)] == ["issued"]


async def test_a_reward_is_pending_until_its_receiver_answers(acme: Brand, pool) -> None:
    async with Receiver(always(Reply(503))) as receiver:
        ear = await open_ear(acme, receiver, eventNames=["rewardIssued"])
        await acme.define(with_target(rewards=[IMMEDIATE]))
        await acme.record(purchase("a", 501, TODAY, 250))
        states = [[reward["state"] for reward in await acme.rewards(501)]]
        await ear.hears()
        states.append([reward["state"] for reward in await acme.rewards(501)])
        receiver.answer = always(Reply(204))
        acme.house.wall.advance(hours=1)
        await ear.hears()
        states.append([reward["state"] for reward in await acme.rewards(501)])

    assert states == [["pending"], ["pending"], ["issued"]]
    reward = receiver.received[-1].body["data"]["reward"]
    assert reward["rewardId"] == (await acme.rewards(501))[0]["rewardId"]
    assert (reward["kind"], reward["value"], reward["state"]) == ("POINTS", "100.000", "pending")
    assert (await acme.facts(501))[-1] == "reward_issued"
    assert await clean(pool)


async def test_a_receiver_that_refuses_a_reward_makes_it_failed_with_the_reason(acme: Brand, pool) -> None:
    async with Receiver(always(Reply(422))) as receiver:
        ear = await open_ear(acme, receiver, eventNames=["rewardIssued"])
        await acme.define(with_target(rewards=[IMMEDIATE]))
        await acme.record(purchase("a", 501, TODAY, 250))
        await ear.hears()
        refused = (await acme.rewards(501))[0]
        # Told once more and taken, it was given after all.
        receiver.answer = always(Reply(200))
        path = f"/v1/webhook-endpoints/{ear.endpoint['endpointId']}/deliveries/501/1/resend"
        await acme.ask("POST", path)
        await ear.hears()

    assert (refused["state"], refused["reason"]) == ("failed", "refused by the receiver: 422")
    assert (await acme.rewards(501))[0]["state"] == "issued"
    assert await clean(pool)


async def report(brand: Brand, reward_id: str, outcome: str, reason: str | None = None) -> tuple[int, Any]:
    body = None if reason is None else {"reason": reason}
    response = await brand.call("POST", f"/v1/rewards/{reward_id}/{outcome}", body)
    content = response.json()
    return response.status_code, content.get("state", content.get("code"))


async def test_a_reward_is_reported_by_hand_and_a_word_given_may_be_corrected(acme: Brand, pool) -> None:
    await acme.define(with_target(rewards=[IMMEDIATE]))
    await acme.record(purchase("a", 501, TODAY, 250))
    reward_id = (await acme.rewards(501))[0]["rewardId"]

    told = [
        await report(acme, reward_id, "issued"),
        await report(acme, reward_id, "failed", "The wallet is closed."),
        await report(acme, reward_id, "failed", "The wallet is still closed."),
        await report(acme, reward_id, "issued"),
        await report(acme, reward_id, "reversed", "Given by mistake."),
        await report(acme, reward_id, "reversed", "Given by mistake."),
        await report(acme, reward_id, "issued"),
    ]

    assert told == [
        (200, "issued"),
        (200, "failed"),
        (200, "failed"),
        (200, "issued"),
        (200, "reversed"),
        (200, "reversed"),
        (409, 390020),
    ]
    (reward,) = await acme.rewards(501)
    assert (reward["state"], reward["reason"]) == ("reversed", "Given by mistake.")
    assert (await acme.facts(501))[-3:] == ["reward_failed", "reward_issued", "reward_reversed"]
    assert await clean(pool)


async def test_a_reversal_is_told_after_the_hand_over_and_a_late_yes_does_not_bring_it_back(acme: Brand, pool) -> None:
    async def reversed_meanwhile(received: Received) -> Reply:
        if received.body["eventName"] == "rewardIssued":
            await report(acme, (await acme.rewards(501))[0]["rewardId"], "reversed", "Returned.")
        return Reply(200)

    async with Receiver(reversed_meanwhile) as receiver:
        ear = await open_ear(acme, receiver, eventNames=["rewardIssued", "rewardReversed"])
        await acme.define(with_target(rewards=[IMMEDIATE]))
        await acme.record(purchase("a", 501, TODAY, 250))
        told = await ear.hears()

    assert told == [("rewardIssued", 1), ("rewardReversed", 2)]
    assert receiver.received[1].body["data"]["reward"]["reason"] == "Returned."
    assert (await acme.rewards(501))[0]["state"] == "reversed"
    assert await clean(pool)


async def test_a_forfeited_reward_cannot_be_reported(acme: Brand) -> None:
    spring = await acme.define(with_target(rewards=[AT_THE_END]))
    await acme.record(purchase("a", 501, TODAY, 250))
    await spring.un_enrol(501)

    assert await report(acme, (await acme.rewards(501))[0]["rewardId"], "issued") == (409, 390020)


@pytest.mark.parametrize("reward_id", ["1", "501-1-P1-1-1", "501-1-P01-1-1", "501-1-X1-1-1", "9" * 40, "%00"])
async def test_an_unknown_and_a_foreign_reward_answer_alike(acme: Brand, house, http, reward_id: str) -> None:
    globex = await open_brand(house, http, "Globex", clock=NOW)
    await globex.register(501)
    await globex.define(with_target(rewards=[IMMEDIATE]))
    await globex.record(purchase("a", 501, TODAY, 250))
    theirs = (await globex.rewards(501))[0]["rewardId"]

    unknown = await acme.call("POST", f"/v1/rewards/{reward_id}/issued")
    foreign = await acme.call("POST", f"/v1/rewards/{theirs}/issued")

    assert problem(unknown) == problem(foreign) == (404, 390019)
    assert unknown.content == foreign.content


async def test_a_reason_is_asked_for_where_nothing_was_given(acme: Brand) -> None:
    await acme.define(with_target(rewards=[IMMEDIATE]))
    await acme.record(purchase("a", 501, TODAY, 250))
    reward_id = (await acme.rewards(501))[0]["rewardId"]

    for body in ({}, {"reason": ""}, {"reason": 7}, {"reason": "x" * 501}):
        refused = await acme.call("POST", f"/v1/rewards/{reward_id}/failed", body)
        assert problem(refused) == (400, 300004)
    assert await report(acme, reward_id, "failed", "x" * 500) == (200, "failed")


async def test_the_outbox_of_a_customer_can_be_read_page_by_page(acme: Brand) -> None:
    async with Receiver() as receiver:
        await open_ear(acme, receiver)
        await acme.define(named("Summer", with_target(rewards=[IMMEDIATE])))
        await acme.record(purchase("a", 501, TODAY, 250))

    first = await acme.ask("GET", "/v1/customers/501/notifications", params={"limit": "3"})
    second = await acme.ask("GET", "/v1/customers/501/notifications", params={"cursor": first["next"]})

    assert [each["number"] for each in (*first["data"], *second["data"])] == [1, 2, 3, 4, 5]
    assert second["next"] is None
    assert second["data"][-1]["rewardId"] == (await acme.rewards(501))[0]["rewardId"]


async def test_every_event_but_those_without_an_occasion_is_sent_by_some_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")

    assert {name for name in EventName if f'"{name}"' not in text} == NOT_SENT
