"""What a brand is notified of: the facts of a group, in the words of its kind.

A fact without wording is covered by the notice of the fact before or after it, or has none: leaving before a period's end
forfeits quietly, and an opt-out enrolled nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from kosminar.core.event import EventName
from kosminar.core.fact import Fact, RewardFact
from kosminar.core.fold import after, fold
from kosminar.core.ledger import key_of
from kosminar.core.notice import milestone, progress, reward, streak
from kosminar.core.notice.notice import Moment, Notice, Trigger, Wording, Wordings
from kosminar.core.notice.payload import about, milestone_details, target_details, values
from kosminar.core.period import Period
from kosminar.core.programme import Programme, Target, TrackingType
from kosminar.core.reward import reward_id
from kosminar.core.standing import Standing, TargetStanding


def notices(
    programme: Programme, standing: Standing, facts: Sequence[Fact], trigger: Trigger, *, wanted: Collection[EventName]
) -> list[Notice]:
    """The notices of these facts, oldest first; only events that an endpoint subscribes to are put into words."""
    found = []
    outcome = fold(programme, standing, facts)
    parts = list(standing.targets)
    for fact in facts:
        index = programme.index_of(fact.target_id)
        before, parts[index] = parts[index], after(parts[index], fact)
        moment = Moment(
            programme, programme.targets[index], before, parts[index], outcome.targets[index], fact, trigger
        )
        for name, word in _wordings(programme, fact):
            if name in wanted and (data := word(moment)) is not None:
                found.append(_notice(name, moment, data))
    return found


def period_completed(
    programme: Programme, target: Target, standing: TargetStanding, period: Period, trigger: Trigger
) -> Notice:
    """The period ended with the customer in it; customers who fell short are notified too (rule 28)."""
    run = programme.kind.run_at_end_of(programme, standing, period)
    data = {
        **about(trigger),
        "targetDetails": target_details(programme, target, period),
        **values(target, standing, period, run),
        "milestoneDetails": milestone_details(target, standing, period, run),
    }
    return Notice(EventName.TARGET_PERIOD_COMPLETED, target.target_id, programme.period_id(period.number), data)


def _notice(name: EventName, moment: Moment, data: dict[str, object]) -> Notice:
    programme, fact = moment.programme, moment.fact
    of_reward = isinstance(fact, RewardFact)
    return Notice(
        name=name,
        target_id=moment.target.target_id,
        period_id=None if moment.period is None else programme.period_id(moment.period.number),
        data=data,
        reward_id=reward_id(moment.trigger.customer_id, key_of(fact, programme)) if of_reward else None,
    )


_OF_EVERY_KIND: Final[tuple[Wordings, ...]] = (progress.WORDINGS, reward.WORDINGS)
_OF_KIND: Final[dict[TrackingType, Wordings]] = {
    TrackingType.DEFAULT: milestone.WORDINGS,
    TrackingType.STREAKS: streak.WORDINGS,
    TrackingType.NON_CONTINUOUS_STREAKS: streak.WORDINGS,
}


def _wordings(programme: Programme, fact: Fact) -> Iterator[tuple[EventName, Wording]]:
    tables: Iterable[Wordings] = (*_OF_EVERY_KIND, _OF_KIND[programme.kind.tracking_type])
    for table in tables:
        yield from table.get(type(fact), ())
