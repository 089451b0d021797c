"""Parts that several notifications have in common."""

from kosminar.core.activity import Activity
from kosminar.core.amount import text_of
from kosminar.core.notice.notice import Data, Trigger
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target
from kosminar.core.standing import TargetStanding


def about(trigger: Trigger) -> Data:
    """The customer."""
    return {"customerIdentifiers": {"customerId": trigger.customer_id}}


def target_details(programme: Programme, target: Target, period: Period | None) -> Data:
    return {
        "id": target.target_id,
        "name": target.name,
        "targetGroupId": programme.target_group_id,
        "targetGroupName": programme.name,
        "targetPeriodId": None if period is None else programme.period_id(period.number),
        "targetPeriodName": None if period is None else period.name,
        "description": target.description,
    }


def values(target: Target, standing: TargetStanding, period: Period, run: int) -> Data:
    return {
        "achievedTargetValue": text_of(standing.progress_in(period, run=run).value),
        "definedTargetValue": text_of(target.values[period.number - 1]),
    }


def milestone_details(target: Target, standing: TargetStanding, period: Period, run: int) -> list[Data]:
    """The one trigger that every target has, at the whole of its value."""
    return [
        {
            "id": target.target_id,
            "name": "targetAchieved",
            "valueType": "ABSOLUTE",
            "definedValue": text_of(target.values[period.number - 1]),
            "achievedDate": standing.progress_in(period, run=run).achieved_at,
        }
    ]


def triggering_activity(trigger: Trigger, call_name: str | None = None, call_key: str | None = None) -> Data:
    """What triggered it: the customer's own activity, or a caller's request."""
    called = [{"key": call_key, "value": str(trigger.customer_id)}]
    return {
        "name": call_name if trigger.activity is None else trigger.activity.type,
        "identifiers": called if trigger.activity is None else _identifiers(trigger.activity),
        "enteredBy": {"id": None, "till": trigger.asked_by, "store": None},
        "entityInformation": None,
        "additionalAttributes": [],
    }


def _identifiers(activity: Activity) -> list[Data]:
    bill_number = activity.attributes.get("billNumber")
    known = [
        ("activityId", activity.activity_id),
        ("billNumber", bill_number if isinstance(bill_number, str) else None),
    ]
    return [{"key": key, "value": value} for key, value in known if value is not None]
