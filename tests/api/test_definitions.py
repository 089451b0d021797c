"""The create call as it is read: everything it may leave out, and everything wrong with it told at once."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.bodies import MILESTONE, STREAK, milestone, streak, with_period, with_target

from kosminar.api.compat.definitions import ALWAYS_TRUE, read_definition
from kosminar.core.decoder import Fields, decode
from kosminar.core.definition import Definition, PromisedReward
from kosminar.core.errors import Complaint
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.period import Frequency
from kosminar.core.programme import EnrolmentMethod, TrackingType
from kosminar.core.reward import Allocation, RewardKind

UTC_ZONE = ZoneInfo("UTC")
LAPS = {"targetEntity": "EVENT", "targetType": "COUNT", "eventName": "lapDone"}


def read(body: dict[str, Any], zone: ZoneInfo = UTC_ZONE) -> tuple[Definition, list[Complaint]]:
    return read_definition(Fields.of(decode(json.dumps(body).encode())), zone)


def good(body: dict[str, Any], zone: ZoneInfo = UTC_ZONE) -> Definition:
    definition, complaints = read(body, zone)
    assert complaints == []
    return definition


def test_a_milestone_is_read_with_its_defaults() -> None:
    definition = good(MILESTONE)

    assert (definition.name, definition.tracking_type) == ("Spring", TrackingType.DEFAULT)
    assert (definition.frequency_type, definition.frequency) == (Frequency.MONTHLY, 1)
    assert (definition.offset_days, definition.track_from_enrolment, definition.zone) == (0, False, UTC_ZONE)
    assert (definition.starts_at, definition.ends_at) == (
        datetime(2031, 1, 1, tzinfo=UTC),
        datetime(2031, 4, 1, tzinfo=UTC),
    )
    assert [period.span.name for period in definition.periods] == ["Cycle_1", "Cycle_2", "Cycle_3"]
    assert definition.target.measure == measure_of(Entity.TRANSACTION, "SALES", "TransactionAdd", None)
    assert definition.target.expression_json == ALWAYS_TRUE
    assert definition.target.values == (250_000,)
    assert definition.target.rewards == (PromisedReward(RewardKind.POINTS, 100_000, Allocation.PERIOD_END),)


def test_a_streak_is_read_with_its_defaults() -> None:
    definition = good(streak(targets=[{**STREAK["targets"][0], "enrolmentMethod": None}]))

    assert definition.target.enrolment_method is EnrolmentMethod.IMPORT
    assert [(level.name, level.count) for level in definition.levels] == [("Two", 2), ("Autumn laps_2", 3)]
    assert definition.levels[0].rewards == (PromisedReward(RewardKind.BADGE, "runner", Allocation.IMMEDIATE),)


def test_an_end_reaches_to_the_end_of_its_grain() -> None:
    ends = {
        good(with_period(2, endDate=end)).ends_at
        for end in ("2031-02-23", "2031-02-23T23:59:59.999", "2031-02-23T23:59:59")
    }

    assert ends == {datetime(2031, 2, 24, tzinfo=UTC)}


def test_the_group_begins_and_ends_with_whole_days_of_its_zone() -> None:
    definition = good(
        milestone(fromDate="2030-12-31T22:00", toDate="2031-05-05T01:00", timeZoneName="Europe/Paris"),
    )

    assert definition.starts_at == datetime(2030, 12, 30, 23, tzinfo=UTC)
    assert definition.ends_at == datetime(2031, 5, 5, 22, tzinfo=UTC)


def test_without_a_cycle_start_the_groups_first_day_begins_the_first_period() -> None:
    definition = good(milestone(targetCycleStartDate=None, fromDate="2031-01-31T11:00"))

    assert [period.span.starts_at.date().isoformat() for period in definition.periods] == [
        "2031-01-31",
        "2031-02-28",
        "2031-03-31",
    ]


def test_written_periods_win_over_generated_ones() -> None:
    definition = good(streak(targetCycleStartDate="2031-01-01", totalPeriods=52, frequencyType="YEARLY"))

    assert [period.span.name for period in definition.periods] == ["W1", "W2", "W3"]


def test_the_expression_comes_back_as_it_was_written() -> None:
    written = '{ "arity": "literal", "value": true }'

    assert good(with_target(expressionJson=written)).target.expression_json == written


@pytest.mark.parametrize(
    "body",
    [
        milestone(targetCycleStartDate=None, fromDate="2031-01-01T11:00:00Z", toDate="2031-03-31"),
        milestone(targetCycleEndDate="2031-03-31T23:59:59.999", fromDate="2030-12-01", toDate="2031-12-31"),
        milestone(targetEvaluationType=None, recurringCycles=-1, preferredTillId=-1, userCreated=False, periods=[]),
        milestone(
            leaderboardEnabled=False, offsetDays=366, trackFromEnrolment=True, combinationType="ALL", unknown=[1]
        ),
        with_target(expression=True, expressionJson="", filters=[], targetMilestoneTriggers=[], active=True),
        with_target(expression=None, eventName="TransactionAdd", enrolmentMethod=None, extendedFieldInfo={}),
        with_target(
            targetEntity="EVENT",
            targetType="EVENT_ATTRIBUTE",
            eventName="lapDone",
            extendedFieldInfo={"name": "metres", "aggregateFunction": "SUM"},
        ),
        with_target(rewards=[{"kind": "COUPON", "value": "10OFF"}, {"kind": "POINTS", "value": "0.001"}]),
        streak(trackingType="NON_CONTINUOUS_STREAKS"),
        {key: value for key, value in STREAK.items() if key not in ("totalPeriods", "frequencyType", "frequency")},
        streak(totalPeriods=1, targetCycleStartDate="2031-02-03", targetCycleEndDate="2031-02-04"),
        with_period(0, periodStatus="RUNNING", description="d" * 255, active=True),
    ],
)
def test_what_is_optional_or_ignored_does_no_harm(body: dict[str, Any]) -> None:
    _, complaints = read(body)

    assert complaints == []


ALL_FIELDS = {"name", "trackingType", "frequencyType", "frequency", "totalPeriods", "targetCycleStartDate", "targets"}
REWARD = "targets[0].rewards[0]"

BAD = {
    "nothing at all": ({}, {(300004, name) for name in ALL_FIELDS}),
    "wrong types": (
        milestone(name=5, description=True, frequency="1", totalPeriods=3.0, active="yes", targets={}),
        {(300004, name) for name in ("name", "description", "frequency", "totalPeriods", "active", "targets")},
    ),
    "no target": (milestone(targets=[]), {(300004, "targets")}),
    "two targets": (milestone(targets=MILESTONE["targets"] * 2), {(300004, "targets")}),
    "a target that is none": (milestone(targets=[5]), {(300004, "targets[0]")}),
    "unified": (milestone(trackingType="UNIFIED", targets=MILESTONE["targets"] * 2), {(300004, "trackingType")}),
    "capping": (milestone(trackingType="CAPPING"), {(300004, "trackingType")}),
    "no such tracking type": (milestone(trackingType="STREAK"), {(300004, "trackingType")}),
    "rolling window": (milestone(targetEvaluationType="ROLLING_WINDOW"), {(300004, "targetEvaluationType")}),
    "no such zone": (milestone(timeZoneName="Mars/Base"), {(300004, "timeZoneName")}),
    "offset too long": (milestone(offsetDays=367), {(300004, "offsetDays")}),
    "offset negative": (milestone(offsetDays=-1), {(300004, "offsetDays")}),
    "no boolean": (milestone(trackFromEnrolment="true"), {(300004, "trackFromEnrolment")}),
    "created inactive": (milestone(active=False), {(300004, "active")}),
    "user created": (milestone(userCreated=True), {(300004, "userCreated")}),
    "leaderboard": (milestone(leaderboardEnabled=True), {(310133, "Leaderboard is not enabled for the org")}),
    "audience": (milestone(targetAudienceFilter=[{"audienceGroupId": 1}]), {(300004, "targetAudienceFilter")}),
    "recurring too often": (milestone(recurringCycles=101), {(300004, "recurringCycles")}),
    "huge till": (milestone(preferredTillId=2**63), {(300004, "preferredTillId")}),
    "no periods": (milestone(totalPeriods=0), {(300004, "totalPeriods")}),
    "too many periods": (milestone(totalPeriods=1001), {(300004, "totalPeriods")}),
    "periods beyond time": (
        milestone(totalPeriods=1000, frequency=10_000, frequencyType="YEARLY"),
        {(300004, "totalPeriods")},
    ),
    "no such frequency": (milestone(frequencyType="HOURLY"), {(300004, "frequencyType")}),
    "frequency zero": (milestone(frequency=0), {(300004, "frequency")}),
    "no day": (milestone(targetCycleStartDate="2031-02-30"), {(300004, "targetCycleStartDate")}),
    "no day as from": (milestone(targetCycleStartDate=None, fromDate="x"), {(300004, "fromDate")}),
    "cycles end too early": (milestone(targetCycleEndDate="2031-03-30"), {(300004, "targetCycleEndDate")}),
    "cycles end before they start": (
        streak(targetCycleStartDate="2031-02-03", targetCycleEndDate="2031-02-02"),
        {(300004, "targetCycleEndDate")},
    ),
    "group starts late": (milestone(fromDate="2031-01-02"), {(300004, "fromDate")}),
    "group ends early": (milestone(toDate="2031-03-30"), {(300004, "toDate")}),
    "period without dates": (
        with_period(1, startDate=None, endDate="soon"),
        {(300004, "periods[1].startDate"), (300004, "periods[1].endDate")},
    ),
    "period without name": (with_period(1, refCode=None), {(300004, "periods[1].refCode")}),
    "inactive period": (with_period(1, active=False), {(300004, "periods[1].active")}),
    "overlapping periods": (with_period(1, startDate="2031-02-09T23:59:59.999"), {(300004, "periods[1].startDate")}),
    "period names equal but for case": (with_period(2, refCode="w1"), {(300004, "periods[2].refCode")}),
    "target inactive": (with_target(active=False), {(300004, "targets[0].active")}),
    "target name too long": (
        with_target(name="n" * 201),
        {(310008, "Length of Target rule name cannot exceed 200")},
    ),
    "filters": (with_target(filters=[{"entityType": "STORE"}]), {(300004, "targets[0].filters")}),
    "triggers": (with_target(targetMilestoneTriggers=[{}]), {(300004, "targets[0].targetMilestoneTriggers")}),
    "a rule": (with_target(expression="currentTxn.value>500"), {(300004, "targets[0].expression")}),
    "an expression that is one": (with_target(expression=1), {(300004, "targets[0].expression")}),
    "a rule as json": (
        with_target(expressionJson='{"arity":"literal","value":"false","type":"boolean:primitive"}'),
        {(300004, "targets[0].expressionJson")},
    ),
    "no json": (with_target(expressionJson="{"), {(300004, "targets[0].expressionJson")}),
    "json that is no text": (with_target(expressionJson={}), {(300004, "targets[0].expressionJson")}),
    "audience enrolment": (with_target(enrolmentMethod="AUDIENCE_FILTER"), {(300004, "targets[0].enrolmentMethod")}),
    "no such entity": (with_target(targetEntity="BILL"), {(300004, "targets[0].targetEntity")}),
    "no such type": (with_target(targetType=["SALES"]), {(300004, "targets[0].targetType")}),
    "supported words that do not fit": (with_target(targetType="EVENT_ATTRIBUTE"), {(310033, "")}),
    "published words that do not fit": (with_target(targetType="QUANTITY"), {(310033, "")}),
    "line items": (with_target(targetEntity="LINEITEM"), {(300004, "targets[0].targetEntity")}),
    "extended field": (
        with_target(targetType="EXTENDED_FIELD", extendedFieldInfo={"name": "x"}),
        {(300004, "targets[0].targetType")},
    ),
    "extended field without name": (
        with_target(targetType="EXTENDED_FIELD"),
        {(300004, "targets[0].targetType"), (310094, "")},
    ),
    "returns": (with_target(eventName="ReturnBill"), {(300004, "targets[0].eventName")}),
    "event without name": (with_target(**{**LAPS, "eventName": None}), {(300004, "targets[0].eventName")}),
    "attribute without name": (with_target(**{**LAPS, "targetType": "EVENT_ATTRIBUTE"}), {(310094, "")}),
    "attribute's name no text": (
        with_target(**{**LAPS, "targetType": "EVENT_ATTRIBUTE", "extendedFieldInfo": {"name": 5}}),
        {(310092, "Invalid extended field name or datatype")},
    ),
    "counted attribute": (
        with_target(
            **{**LAPS, "targetType": "EVENT_ATTRIBUTE"}, extendedFieldInfo={"name": "m", "aggregateFunction": "COUNT"}
        ),
        {(300004, "targets[0].extendedFieldInfo.aggregateFunction")},
    ),
    "sum of highest": (
        with_target(
            **{**LAPS, "targetType": "EVENT_ATTRIBUTE"},
            extendedFieldInfo={"name": "m", "aggregateWindow": {"windowType": "MAX"}},
        ),
        {(300004, "targets[0].extendedFieldInfo.aggregateWindow")},
    ),
    "no values": (with_target(defaultValues=[]), {(300004, "targets[0].defaultValues")}),
    "two values for three": (
        with_target(defaultValues=[{"defaultValue": 1}] * 2),
        {(300004, "targets[0].defaultValues")},
    ),
    "value too small": (
        with_target(defaultValues=[{"defaultValue": "0.0004"}]),
        {(300004, "targets[0].defaultValues[0].defaultValue")},
    ),
    "value too large": (
        with_target(defaultValues=[{"defaultValue": 10**12}]),
        {(300004, "targets[0].defaultValues[0].defaultValue")},
    ),
    "value adorned": (
        with_target(defaultValues=[{"defaultValue": "1_000"}]),
        {(300004, "targets[0].defaultValues[0].defaultValue")},
    ),
    "reward of no kind": (with_target(rewards=[{"kind": "CASH", "value": 1}]), {(300004, f"{REWARD}.kind")}),
    "points in words": (with_target(rewards=[{"kind": "POINTS", "value": "many"}]), {(300004, f"{REWARD}.value")}),
    "coupon in numbers": (with_target(rewards=[{"kind": "COUPON", "value": 5}]), {(300004, f"{REWARD}.value")}),
    "reward at some time": (
        with_target(rewards=[{"kind": "POINTS", "value": 5, "allocation": "LATER"}]),
        {(300004, f"{REWARD}.allocation")},
    ),
    "streaks on a milestone": (milestone(streaks=STREAK["streaks"]), {(300004, "streaks")}),
    "no levels": (streak(streaks=None), {(300004, "streaks")}),
    "eleven levels above the number of periods": (
        streak(streaks=[{"targetCountOfSequence": n} for n in range(1, 12)]),
        {(300004, "streaks"), *((300004, f"streaks[{n}].targetCountOfSequence") for n in range(3, 11))},
    ),
    "level that is no number": (
        streak(streaks=[{"targetCountOfSequence": 1.0}]),
        {(300004, "streaks[0].targetCountOfSequence")},
    ),
    "period end on a level": (
        streak(
            streaks=[
                {"targetCountOfSequence": 1, "rewards": [{"kind": "BADGE", "value": "b", "allocation": "PERIOD_END"}]}
            ]
        ),
        {(300004, "streaks[0].rewards[0].allocation")},
    ),
    "unsupported and broken together": (
        {**with_target(filters=[{}], name="n" * 201, defaultValues=[{"defaultValue": 0}]), "leaderboardEnabled": True},
        {
            (300004, "targets[0].filters"),
            (300004, "targets[0].defaultValues[0].defaultValue"),
            (310008, "Length of Target rule name cannot exceed 200"),
            (310133, "Leaderboard is not enabled for the org"),
        },
    ),
}
# Their published messages name no path.
WITHOUT_PATH = (310033, 310094)


@pytest.mark.parametrize(("body", "expected"), BAD.values(), ids=BAD.keys())
def test_everything_wrong_is_told(body: dict[str, Any], expected: set[tuple[int, str]]) -> None:
    _, complaints = read(body)

    told = [(int(c.code), "" if c.code in WITHOUT_PATH else c.message.partition(": ")[0]) for c in complaints]
    assert [code for code, _ in told] == sorted(code for code, _ in told)
    assert len(told) == len(set(told))
    assert set(told) == expected
