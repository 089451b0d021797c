"""The names of all notifications, as published and our own, and the envelope in which they are sent.

The names of [reference 2.17], `milestoneCustomerUnEnrolment` (decision 29), and the hand-over of rewards. Two names
speak of unified groups and one of a level taken back by a return: they may be subscribed to, and nothing sends them as
long as programmes of one target and purchases without returns are all there is.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from kosminar.core.decoder import encode


class EventName(StrEnum):
    """What a notification is about."""

    TARGET_CUSTOMER_ENROLMENT = "targetCustomerEnrolment"
    MILESTONE_CUSTOMER_UN_ENROLMENT = "milestoneCustomerUnEnrolment"
    TARGET_PERIOD_STARTED = "targetPeriodStarted"
    TARGET_ACHIEVED_VALUE_UPDATED = "targetAchievedValueUpdated"
    TARGET_VALUE_ACHIEVED = "targetValueAchieved"
    TARGET_VALUE_UPDATED = "targetValueUpdated"
    TARGET_PERIOD_COMPLETED = "targetPeriodCompleted"
    UNIFIED_TARGETS_ACHIEVED = "unifiedTargetsAchieved"
    UNIFIED_TARGETS_UN_ACHIEVED = "unifiedTargetsUnAchieved"
    STREAK_CUSTOMER_ENROLMENT = "streakCustomerEnrolment"
    STREAK_CUSTOMER_UN_ENROLMENT = "streakCustomerUnEnrolment"
    STREAK_LEVEL_ACHIEVED = "streakLevelAchieved"
    STREAK_LEVEL_UN_ACHIEVED = "streakLevelUnAchieved"
    STREAK_START = "streakStart"
    STREAK_END = "streakEnd"
    REWARD_ISSUED = "rewardIssued"
    REWARD_REVERSED = "rewardReversed"


def event_id(organisation_id: int, customer_id: int, generation: int, number: int) -> str:
    """What names a notification for ever, and what repeats are dropped by; also its `webhook-id`.

    Customers' numbers go on from what a restored copy has, so that the generation tells what the copy says from what
    was said before it was restored. The first generation is 0 and not written.

    >>> event_id(1, 501, 0, 4)
    '1-501-4'
    >>> event_id(1, 501, 28673105000000, 4)
    '1-501-28673105000000-4'
    """
    when = f"{generation}-" if generation else ""
    return f"{organisation_id}-{customer_id}-{when}{number}"


def sealed(
    name: str,
    organisation_id: int,
    *,
    event_id: str,
    request_id: str,
    at: datetime,
    sequence: int,
    data: dict[str, Any],
) -> str:
    """A notification as it is sent, in the published envelope; nothing of it is made again for an attempt."""
    content = {
        "eventId": event_id,
        "eventName": name,
        "orgId": organisation_id,
        "refId": f"{organisation_id}_{request_id}",
        "apiRequestId": request_id,
        "createdAt": int(at.timestamp()) * 1000 + at.microsecond // 1000,
        "loyaltyEventId": None,
        "traceAttributes": {},
        "sequence": sequence,
        "data": data,
    }
    return encode(content).decode()
