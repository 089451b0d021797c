"""What a brand is told of what happened to a customer: facts, worded as the published notifications.

Pure: programme, standing, facts and what brought them about in, notices out. A notice is the `data` of a notification
without its envelope, which needs the number that only the customer's lock gives (engine/batch.py). Payloads are those
of [reference 2.17]; where a field has no meaning here it is null or empty, never left out. Values are text with three
places. Rules: decision 29; each event with a sample: docs/webhooks.md. Tests: tests/core/test_notification.py.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from kosminar.core import streak
from kosminar.core.activity import TRANSACTION, Activity
from kosminar.core.amount import ONE, ZERO, text_of
from kosminar.core.event import EventName
from kosminar.core.fact import Fact, FactName
from kosminar.core.number import stable_number
from kosminar.core.period import Period
from kosminar.core.programme import Programme
from kosminar.core.reward import RewardKey, RewardState, reward_id
from kosminar.core.standing import MILESTONE_RUN, UNTOUCHED, Run, Standing

Data: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """Who the facts are about and what brought them about: an activity, a call by somebody, or time alone."""

    organisation_id: int
    customer_id: int
    activity: Activity | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification before it has its number; `reward_id` only where a reward is handed over or taken back."""

    name: EventName
    target_id: int
    period_id: int | None
    data: Data
    reward_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    """One fact where it happened: the standings before and after it, and after all that happened with it."""

    programme: Programme
    before: Standing
    after: Standing
    outcome: Standing
    fact: Fact
    cause: Cause

    @property
    def period(self) -> Period | None:
        return None if self.fact.period_number is None else self.programme.period(self.fact.period_number)

    @property
    def run(self) -> Run:
        number = self.fact.run or MILESTONE_RUN
        return next(run for run in self.after.runs if run.number == number)

    def run_before(self) -> Run:
        return next(run for run in self.before.runs if run.number == self.run.number)


def notices(
    programme: Programme, standing: Standing, facts: Sequence[Fact], cause: Cause, *, wanted: Collection[EventName]
) -> list[Notice]:
    """What the facts are worth telling, oldest first; only events that somebody wants are put into words."""
    told = []
    outcome = standing.after(facts)
    for fact in facts:
        after = standing.after([fact])
        moment = _Moment(programme, standing, after, outcome, fact, cause)
        for name, tell in _TOLD.get(fact.name, ()):
            if name in wanted and (data := tell(moment)) is not None:
                told.append(
                    Notice(
                        name=name,
                        target_id=programme.target.target_id,
                        period_id=None if fact.period_number is None else programme.period_id(fact.period_number),
                        data=data,
                        reward_id=reward_id(cause.customer_id, key_of_reward(fact, programme))
                        if name in (EventName.REWARD_ISSUED, EventName.REWARD_REVERSED)
                        else None,
                    )
                )
        standing = after
    return told


def period_completed(programme: Programme, standing: Standing, period: Period, cause: Cause) -> Notice:
    """The period ended with the customer in it; who fell short is told too (decision 28)."""
    run = streak.run_at_end_of(standing, period).number if programme.streak else MILESTONE_RUN
    data = {
        **_about(cause),
        "targetDetails": _target_details(programme, period),
        **_values(programme, standing, period, run),
        "milestoneDetails": _milestone_details(programme, standing, period, run),
    }
    return Notice(
        EventName.TARGET_PERIOD_COMPLETED, programme.target.target_id, programme.period_id(period.number), data
    )


def key_of_reward(fact: Fact, programme: Programme) -> RewardKey:
    """The ledger's key of the reward that a fact speaks of; a period's reward always has run 1 (decision 27)."""
    assert fact.reward_definition_id is not None
    level_id = fact.level_id or 0
    number = None if level_id else fact.period_number
    return RewardKey(
        target_id=programme.target.target_id,
        period_id=0 if number is None else programme.period_id(number),
        level_id=level_id,
        run=(fact.run or MILESTONE_RUN) if level_id else MILESTONE_RUN,
        reward_definition_id=fact.reward_definition_id,
    )


# ---------------------------------------------------------------- enrolment


def _target_enrolment(moment: _Moment) -> Data | None:
    if moment.programme.streak or moment.period is None:
        return None
    programme, period = moment.programme, moment.period
    return {
        **_about(moment.cause),
        "defaultTargetValue": text_of(programme.target.values[period.number - 1]),
        "targetId": programme.target.target_id,
        "targetName": programme.target.name,
        "targetGroupId": programme.target_group_id,
        "targetGroupName": programme.name,
        "source": _source(moment.cause),
        "targetPeriodId": programme.period_id(period.number),
        "targetPeriodName": period.name,
        "targetPeriodStartDate": period.starts_at,
        "targetCycleStartDate": programme.periods[0].starts_at,
        # A balance that comes with the enrolment withdraws what was achieved.
        "milestoneDetails": _milestone_details(programme, moment.outcome, period, MILESTONE_RUN),
    }


def _streak_enrolment(moment: _Moment) -> Data | None:
    if not moment.programme.streak:
        return None
    return {
        **_about(moment.cause),
        "triggeringActivity": _activity(moment.cause, "enrolmentIntoStreak", "ENROL_VIA_API"),
        "streakEnrolmentData": [_streak(moment.programme)],
        "targetData": [_target_details(moment.programme, moment.period)],
    }


def _milestone_un_enrolment(moment: _Moment) -> Data | None:
    if moment.programme.streak:
        return None
    return {
        **_about(moment.cause),
        "triggeringActivity": _activity(moment.cause, "milestone unenrollment", "UNENROL_VIA_API"),
        "milestoneUnEnrolmentData": [
            {
                "milestoneName": moment.programme.name,
                "startDate": moment.programme.periods[0].starts_at,
                "endDate": moment.programme.periods[-1].ends_at,
            }
        ],
        "targetData": [_target_details(moment.programme, moment.period)],
    }


def _streak_un_enrolment(moment: _Moment) -> Data | None:
    if not moment.programme.streak:
        return None
    return {
        **_about(moment.cause),
        "triggeringActivity": _activity(moment.cause, "streak unenrollment", "UNENROL_VIA_API"),
        "streakUnEnrolmentData": [_streak(moment.programme)],
        "targetData": [_target_details(moment.programme, moment.period)],
    }


# ---------------------------------------------------------------- progress


def _period_started(moment: _Moment) -> Data | None:
    """With the first activity that counts in a period of a run, unless a balance has begun it already."""
    period = moment.period
    assert period is not None, "progress is made in a period"
    run = moment.fact.run or MILESTONE_RUN
    if (period.number, run) in moment.before.progress:
        return None
    return {
        **_about(moment.cause),
        "targetDetails": _target_details(moment.programme, period),
        "definedTargetValue": text_of(moment.programme.target.values[period.number - 1]),
        "triggeringActivity": _activity(moment.cause),
    }


def _value_moved(moment: _Moment) -> Data | None:
    """A visit on a day that was counted before moves nothing."""
    period = moment.period
    assert period is not None, "progress is made in a period"
    run = moment.fact.run or MILESTONE_RUN
    added = _value(moment.after, period, run) - _value(moment.before, period, run)
    return _value_of_activity(moment, period, run, added) if added else None


def _value_achieved(moment: _Moment) -> Data | None:
    period = moment.period
    assert period is not None, "a target is achieved in a period"
    run = moment.fact.run or MILESTONE_RUN
    activity = moment.cause.activity
    added = None if activity is None else moment.programme.target.measure.number(activity)
    return _value_of_activity(moment, period, run, added or ZERO)


def _value_of_activity(moment: _Moment, period: Period, run: int, added: int) -> Data:
    programme = moment.programme
    activity = moment.cause.activity
    return {
        **_about(moment.cause),
        "targetDetails": _target_details(programme, period),
        "currentEventTargetValue": text_of(added),
        **_values(programme, moment.after, period, run),
        "triggeringActivity": _activity(moment.cause),
        "milestoneDetails": _milestone_details(programme, moment.after, period, run),
        "transactionId": activity.activity_id if activity is not None and activity.type == TRANSACTION else None,
    }


def _value_replaced(moment: _Moment) -> Data | None:
    period = moment.period
    assert period is not None, "a balance is of a period"
    return {
        **_about(moment.cause),
        "targetDetails": _target_details(moment.programme, period),
        **_values(moment.programme, moment.after, period, MILESTONE_RUN),
    }


# ---------------------------------------------------------------- streaks


def _streak_started(moment: _Moment) -> Data | None:
    """When a met period takes the run's count up from zero."""
    if not moment.programme.streak:
        return None
    programme, at = moment.programme, moment.fact.at
    if streak.count(programme, moment.before, moment.run_before(), at):
        return None
    count = streak.count(programme, moment.after, moment.run, at)
    if not count:
        return None
    return {
        **_about(moment.cause),
        "targetDetails": _target_details(programme, moment.period),
        "streakStartData": [
            {**_named(moment), "userStreakValueAtTheStart": count, "startDate": moment.fact.occurred_at}
        ],
    }


def _streak_ended(moment: _Moment) -> Data | None:
    levels = [level for level in moment.programme.levels if level.level_id in moment.run.reached]
    return {
        **_about(moment.cause),
        "targetDetails": _target_details(moment.programme, moment.period),
        "streakEndData": [
            {
                **_named(moment),
                "numberOfLevelsAchievedByTheUser": len(levels),
                "levelsAchievedByTheUser": [level.name for level in levels],
                "userStreakValueByTheEnd": (moment.fact.value or 0) // ONE,
                "endDate": None if moment.period is None else moment.period.ends_at,
            }
        ],
    }


def _level_achieved(moment: _Moment) -> Data | None:
    level = next(level for level in moment.programme.levels if level.level_id == moment.fact.level_id)
    return {
        **_about(moment.cause),
        "streakData": [
            {
                "userCurrentStreakValue": streak.count(moment.programme, moment.after, moment.run, moment.fact.at),
                "streakLevelName": level.name,
                **_named(moment),
                "streakLevelAchievedDate": moment.fact.at,
            }
        ],
        "targetData": [_target_details(moment.programme, None)],
    }


def _named(moment: _Moment) -> Data:
    """The streak, and the customer's run of it, which has no row of its own that could give a number."""
    target_id = moment.programme.target.target_id
    cause = moment.cause
    return {
        "streakName": moment.programme.name,
        "streakId": moment.programme.target_group_id,
        "userStreakId": stable_number(cause.organisation_id, cause.customer_id, target_id, moment.run.number),
    }


def _streak(programme: Programme) -> Data:
    return {
        "streakName": programme.name,
        "numberOfLevel": len(programme.levels),
        "levelValues": [level.count for level in programme.levels],
        "startDate": programme.periods[0].starts_at,
        "endDate": programme.periods[-1].ends_at,
    }


# ---------------------------------------------------------------- rewards


def _reward(state: RewardState) -> Callable[[_Moment], Data]:
    """The hand-over of a reward, or its taking back: receivers drop repeats by `rewardId` (decision 27)."""

    def tell(moment: _Moment) -> Data:
        fact, programme = moment.fact, moment.programme
        assert fact.reward_definition_id is not None
        definition = programme.reward(fact.reward_definition_id)
        level = next((level for level in programme.levels if level.level_id == fact.level_id), None)
        key = key_of_reward(fact, programme)
        return {
            **_about(moment.cause),
            "targetDetails": _target_details(programme, moment.period),
            "reward": {
                "rewardId": reward_id(moment.cause.customer_id, key),
                "kind": definition.kind,
                "value": definition.value if isinstance(definition.value, str) else text_of(definition.value),
                "allocation": definition.allocation,
                "state": state,
                "reason": fact.reason,
                "streakLevelName": None if level is None else level.name,
                "run": key.run,
                "at": fact.at,
            },
        }

    return tell


# ---------------------------------------------------------------- parts


def _about(cause: Cause) -> Data:
    return {"customerIdentifiers": {"customerId": cause.customer_id}}


def _target_details(programme: Programme, period: Period | None) -> Data:
    return {
        "id": programme.target.target_id,
        "name": programme.target.name,
        "targetGroupId": programme.target_group_id,
        "targetGroupName": programme.name,
        "targetPeriodId": None if period is None else programme.period_id(period.number),
        "targetPeriodName": None if period is None else period.name,
        "description": programme.target.description,
    }


def _values(programme: Programme, standing: Standing, period: Period, run: int) -> Data:
    return {
        "achievedTargetValue": text_of(_value(standing, period, run)),
        "definedTargetValue": text_of(programme.target.values[period.number - 1]),
    }


def _milestone_details(programme: Programme, standing: Standing, period: Period, run: int) -> list[Data]:
    """The one trigger that every target has, at the whole of its value; sub-targets would stand beside it."""
    return [
        {
            "id": programme.target.target_id,
            "name": "targetAchieved",
            "valueType": "ABSOLUTE",
            "definedValue": text_of(programme.target.values[period.number - 1]),
            "achievedDate": standing.progress_in(period, run=run).achieved_at,
        }
    ]


def _activity(cause: Cause, call_name: str | None = None, call_key: str | None = None) -> Data:
    """What triggered it: the customer's own activity, or the call that somebody made."""
    called = [{"key": call_key, "value": str(cause.customer_id)}]
    return {
        "name": call_name if cause.activity is None else cause.activity.type,
        "identifiers": called if cause.activity is None else _identifiers(cause.activity),
        "enteredBy": {"id": None, "till": cause.asked_by, "store": None},
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


def _source(cause: Cause) -> str:
    return "API" if cause.activity is None else "ACTIVITY"


def _value(standing: Standing, period: Period, run: int) -> int:
    return standing.progress.get((period.number, run), UNTOUCHED).value


_Tell: TypeAlias = Callable[[_Moment], Data | None]

# What each fact is told as, in order. Facts that are not here are told by the one beside them, or by nothing: leaving
# before a period's end forfeits quietly, and an opt-out enrolled nobody.
_TOLD: Final[dict[FactName, Sequence[tuple[EventName, _Tell]]]] = {
    FactName.ENROLLED: (
        (EventName.TARGET_CUSTOMER_ENROLMENT, _target_enrolment),
        (EventName.STREAK_CUSTOMER_ENROLMENT, _streak_enrolment),
    ),
    FactName.RE_ENROLLED: (
        (EventName.TARGET_CUSTOMER_ENROLMENT, _target_enrolment),
        (EventName.STREAK_CUSTOMER_ENROLMENT, _streak_enrolment),
    ),
    FactName.UN_ENROLLED: (
        (EventName.MILESTONE_CUSTOMER_UN_ENROLMENT, _milestone_un_enrolment),
        (EventName.STREAK_CUSTOMER_UN_ENROLMENT, _streak_un_enrolment),
    ),
    FactName.PROGRESSED: (
        (EventName.TARGET_PERIOD_STARTED, _period_started),
        (EventName.TARGET_ACHIEVED_VALUE_UPDATED, _value_moved),
    ),
    FactName.ACHIEVED: (
        (EventName.TARGET_VALUE_ACHIEVED, _value_achieved),
        (EventName.STREAK_START, _streak_started),
    ),
    FactName.BALANCE_SET: ((EventName.TARGET_VALUE_UPDATED, _value_replaced),),
    FactName.LEVEL_REACHED: ((EventName.STREAK_LEVEL_ACHIEVED, _level_achieved),),
    FactName.STREAK_BROKEN: ((EventName.STREAK_END, _streak_ended),),
    FactName.REWARD_EARNED: ((EventName.REWARD_ISSUED, _reward(RewardState.PENDING)),),
    FactName.REWARD_REVERSED: ((EventName.REWARD_REVERSED, _reward(RewardState.REVERSED)),),
}
