"""The names of everything that a brand can be told of, as published, and those that are ours.

The names of [reference 2.17], `milestoneCustomerUnEnrolment` (decision 29), and the hand-over of rewards. Two names
speak of unified groups and one of a level taken back by a return: they may be subscribed to, and nothing sends them as
long as programmes of one target and purchases without returns are all there is.
"""

from enum import StrEnum


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
