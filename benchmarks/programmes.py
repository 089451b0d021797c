"""Programmes of all kinds, as a brand would define them, for benchmarks."""

from typing import Any

KINDS = ("spend", "purchases", "days", "weekly streak", "monthly streak")
TRACKING = {"weekly streak": "STREAKS", "monthly streak": "NON_CONTINUOUS_STREAKS"}
MEASURED = {
    "spend": "SALES",
    "purchases": "COUNT",
    "days": "VISIT",
    "weekly streak": "COUNT",
    "monthly streak": "SALES",
}


POINTS = {"kind": "POINTS", "value": 100, "allocation": "IMMEDIATE"}


def visits(target_value: int, *rewards: dict[str, Any]) -> dict[str, Any]:
    """The plainest: so many transactions in a month, of three months; the first one enrols."""
    return {
        "name": "Visits",
        "trackingType": "DEFAULT",
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "targetCycleStartDate": "2031-01-01",
        "totalPeriods": 3,
        "frequencyType": "MONTHLY",
        "frequency": 1,
        "recurringCycles": 0,
        "targets": [
            {
                "name": "So many visits",
                "targetEntity": "TRANSACTION",
                "targetType": "COUNT",
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": target_value}],
                "rewards": list(rewards),
            }
        ],
    }


def programme(number: int, *, event_name: str | None = None) -> dict[str, Any]:
    """Sums, counts and visits over months, streaks over weeks and months; the number says which.

    It hears transactions, or only the events of that name. The first activity that counts enrols.
    """
    kind = KINDS[number % len(KINDS)]
    streak = kind in TRACKING
    heard = {"targetEntity": "TRANSACTION", "targetType": MEASURED[kind]}
    if event_name is not None:
        heard = {"targetEntity": "EVENT", "targetType": "COUNT", "eventName": event_name}
    return {
        "name": f"{kind} {number}",
        "trackingType": TRACKING.get(kind, "DEFAULT"),
        "targetEvaluationType": "FIXED_CALENDAR_WINDOW",
        "targetCycleStartDate": "2031-01-01",
        "totalPeriods": 12,
        "frequencyType": "WEEKLY" if kind == "weekly streak" else "MONTHLY",
        "frequency": 1,
        "recurringCycles": 0,
        "targets": [
            {
                "name": f"{kind} {number}",
                **heard,
                "enrolmentMethod": "TRANSACTION",
                "expression": "true",
                "defaultValues": [{"defaultValue": 3}],
                **({} if streak else {"rewards": [POINTS]}),
            }
        ],
        **({"streaks": [{"targetCountOfSequence": count, "rewards": [POINTS]} for count in (2, 4)]} if streak else {}),
    }
