"""Bodies of the create call: a milestone and a streak that nothing is wrong with, and what a test wants otherwise."""

from typing import Any

MILESTONE = {
    "name": "Spring",
    "trackingType": "DEFAULT",
    "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
    "targetCycleStartDate": "2031-01-01",
    "totalPeriods": 3,
    "frequencyType": "MONTHLY",
    "frequency": 1,
    "recurringCycles": 0,
    "targets": [
        {
            "name": "Spring spend",
            "targetEntity": "TRANSACTION",
            "targetType": "SALES",
            "enrolmentMethod": "TRANSACTION",
            "expression": "true",
            "defaultValues": [{"defaultValue": 250}],
            "rewards": [{"kind": "POINTS", "value": 100, "allocation": "PERIOD_END"}],
        }
    ],
}
LAPS = {"targetEntity": "EVENT", "targetType": "COUNT", "eventName": "lapDone"}
STREAK = {
    "name": "Autumn laps",
    "active": True,
    "trackingType": "STREAKS",
    "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
    "totalPeriods": 3,
    "frequencyType": "WEEKLY",
    "frequency": 1,
    "recurringCycles": 0,
    "preferredTillId": 4410,
    "periods": [
        {"refCode": "W1", "startDate": "2031-02-03T00:00:00.000", "endDate": "2031-02-09T23:59:59.999"},
        {"refCode": "W2", "startDate": "2031-02-10T00:00:00.000", "endDate": "2031-02-16T23:59:59.999"},
        {"refCode": "W3", "startDate": "2031-02-17T00:00:00.000", "endDate": "2031-02-23T23:59:59.999"},
    ],
    "targets": [
        {
            "name": "Autumn laps",
            **LAPS,
            "expression": "true",
            "expressionJson": '{"arity":"literal","value":"true","type":"boolean:primitive"}',
            "enrolmentMethod": "IMPORT",
            "defaultValues": [{"defaultValue": 3}, {"defaultValue": "4"}, {"defaultValue": 5.0}],
        }
    ],
    "streaks": [
        {"name": "Two", "targetCountOfSequence": 2, "rewards": [{"kind": "BADGE", "value": "runner"}]},
        {"targetCountOfSequence": 3},
    ],
}


def milestone(**overrides: Any) -> dict[str, Any]:
    return {**MILESTONE, **overrides}


def with_target(**overrides: Any) -> dict[str, Any]:
    return milestone(targets=[{**MILESTONE["targets"][0], **overrides}])


def named(name: str, body: dict[str, Any] = MILESTONE) -> dict[str, Any]:
    return {**body, "name": name, "targets": [{**body["targets"][0], "name": name}]}


def streak(**overrides: Any) -> dict[str, Any]:
    return {**STREAK, **overrides}


def with_period(index: int, **overrides: Any) -> dict[str, Any]:
    periods = [dict(period) for period in STREAK["periods"]]
    periods[index] |= overrides
    return streak(periods=periods)
