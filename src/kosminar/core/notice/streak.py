"""How a streak is worded: entering and leaving it, its start and end, and its levels."""

from typing import Final

from kosminar.core.event import EventName
from kosminar.core.fact import Achieved, Enrolled, LevelReached, ReEnrolled, StreakBroken, UnEnrolled
from kosminar.core.kind.streak import count
from kosminar.core.notice.notice import Data, Moment, Wordings
from kosminar.core.notice.payload import about, target_details, triggering_activity
from kosminar.core.number import stable_number
from kosminar.core.programme import Programme


def _enrolment(moment: Moment) -> Data | None:
    return {
        **about(moment.trigger),
        "triggeringActivity": triggering_activity(moment.trigger, "enrolmentIntoStreak", "ENROL_VIA_API"),
        "streakEnrolmentData": [_streak(moment.programme)],
        "targetData": [target_details(moment.programme, moment.target, moment.period)],
    }


def _un_enrolment(moment: Moment) -> Data | None:
    return {
        **about(moment.trigger),
        "triggeringActivity": triggering_activity(moment.trigger, "streak unenrollment", "UNENROL_VIA_API"),
        "streakUnEnrolmentData": [_streak(moment.programme)],
        "targetData": [target_details(moment.programme, moment.target, moment.period)],
    }


def _started(moment: Moment) -> Data | None:
    """When a met period takes the run's count up from zero."""
    programme, at = moment.programme, moment.fact.at
    if count(programme, moment.before, moment.run_before(), at):
        return None
    value = count(programme, moment.after, moment.run, at)
    if not value:
        return None
    return {
        **about(moment.trigger),
        "targetDetails": target_details(programme, moment.target, moment.period),
        "streakStartData": [
            {**_named(moment), "userStreakValueAtTheStart": value, "startDate": moment.fact.occurred_at}
        ],
    }


def _ended(moment: Moment) -> Data | None:
    levels = [level for level in moment.programme.levels if level.level_id in moment.run.reached]
    return {
        **about(moment.trigger),
        "targetDetails": target_details(moment.programme, moment.target, moment.period),
        "streakEndData": [
            {
                **_named(moment),
                "numberOfLevelsAchievedByTheUser": len(levels),
                "levelsAchievedByTheUser": [level.name for level in levels],
                "userStreakValueByTheEnd": moment.fact.count,
                "endDate": None if moment.period is None else moment.period.ends_at,
            }
        ],
    }


def _level_reached(moment: Moment) -> Data | None:
    level = next(level for level in moment.programme.levels if level.level_id == moment.fact.level_id)
    return {
        **about(moment.trigger),
        "streakData": [
            {
                "userCurrentStreakValue": count(moment.programme, moment.after, moment.run, moment.fact.at),
                "streakLevelName": level.name,
                **_named(moment),
                "streakLevelAchievedDate": moment.fact.at,
            }
        ],
        "targetData": [target_details(moment.programme, moment.target, None)],
    }


def _named(moment: Moment) -> Data:
    """The streak, and the customer's run of it, which has no row of its own that could give a number."""
    trigger = moment.trigger
    return {
        "streakName": moment.programme.name,
        "streakId": moment.programme.target_group_id,
        "userStreakId": stable_number(
            trigger.organisation_id, trigger.customer_id, moment.target.target_id, moment.run_number
        ),
    }


def _streak(programme: Programme) -> Data:
    return {
        "streakName": programme.name,
        "numberOfLevel": len(programme.levels),
        "levelValues": [level.count for level in programme.levels],
        "startDate": programme.periods[0].starts_at,
        "endDate": programme.periods[-1].ends_at,
    }


WORDINGS: Final[Wordings] = {
    Enrolled: ((EventName.STREAK_CUSTOMER_ENROLMENT, _enrolment),),
    ReEnrolled: ((EventName.STREAK_CUSTOMER_ENROLMENT, _enrolment),),
    UnEnrolled: ((EventName.STREAK_CUSTOMER_UN_ENROLMENT, _un_enrolment),),
    Achieved: ((EventName.STREAK_START, _started),),
    LevelReached: ((EventName.STREAK_LEVEL_ACHIEVED, _level_reached),),
    StreakBroken: ((EventName.STREAK_END, _ended),),
}
