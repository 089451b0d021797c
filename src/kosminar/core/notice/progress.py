"""How a target's progress is worded, in every kind of group: periods that begin, values that move, targets achieved."""

from typing import Final

from kosminar.core.activity import TRANSACTION
from kosminar.core.amount import text_of
from kosminar.core.event import EventName
from kosminar.core.fact import Achieved, BalanceSet, Progressed
from kosminar.core.notice.notice import Data, Moment, Wordings
from kosminar.core.notice.payload import about, milestone_details, target_details, triggering_activity, values
from kosminar.core.period import Period


def _period_started(moment: Moment) -> Data | None:
    """With the first activity that counts in a period of a run, unless a balance has begun it already."""
    period = _period(moment)
    if moment.before.find_progress(period.number, moment.run_number) is not None:
        return None
    return {
        **about(moment.trigger),
        "targetDetails": target_details(moment.programme, moment.target, period),
        "definedTargetValue": text_of(moment.target.values[period.number - 1]),
        "triggeringActivity": triggering_activity(moment.trigger),
    }


def _value_moved(moment: Moment) -> Data | None:
    """A visit on a day that was counted before moves nothing."""
    return _by_activity(moment, moment.fact.amount) if moment.fact.amount else None


def _value_achieved(moment: Moment) -> Data | None:
    activity = moment.trigger.activity
    added = None if activity is None else moment.target.measure.number(activity)
    return _by_activity(moment, added or 0)


def _by_activity(moment: Moment, added: int) -> Data:
    period, activity = _period(moment), moment.trigger.activity
    return {
        **about(moment.trigger),
        "targetDetails": target_details(moment.programme, moment.target, period),
        "currentEventTargetValue": text_of(added),
        **values(moment.target, moment.after, period, moment.run_number),
        "triggeringActivity": triggering_activity(moment.trigger),
        "milestoneDetails": milestone_details(moment.target, moment.after, period, moment.run_number),
        "transactionId": activity.activity_id if activity is not None and activity.type == TRANSACTION else None,
    }


def _value_replaced(moment: Moment) -> Data | None:
    period = _period(moment)
    return {
        **about(moment.trigger),
        "targetDetails": target_details(moment.programme, moment.target, period),
        **values(moment.target, moment.after, period, moment.run_number),
    }


def _period(moment: Moment) -> Period:
    assert moment.period is not None, "progress is made in a period"
    return moment.period


WORDINGS: Final[Wordings] = {
    Progressed: (
        (EventName.TARGET_PERIOD_STARTED, _period_started),
        (EventName.TARGET_ACHIEVED_VALUE_UPDATED, _value_moved),
    ),
    Achieved: ((EventName.TARGET_VALUE_ACHIEVED, _value_achieved),),
    BalanceSet: ((EventName.TARGET_VALUE_UPDATED, _value_replaced),),
}
