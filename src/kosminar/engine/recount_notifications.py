"""What must be true of one customer's notifications: numbers, generations, event ids, and the rewards they hand over.

What they say beyond that is not recounted. Part of the recount (recount.py), which knows what was earned.
"""

from collections.abc import Iterator, Mapping, Sequence

from kosminar.core.event import EventName, event_id
from kosminar.core.ledger import Reward
from kosminar.core.reward import RewardKey, RewardState, parse_reward_id
from kosminar.engine.difference import Difference, Telling
from kosminar.store.recount import CustomerRow, NotificationRow, OrganisationState


def reward_of_notification(customer: CustomerRow, notification: NotificationRow) -> RewardKey | None:
    """The ledger's key that a notification of a reward names; None where it names none of this customer's."""
    named = None if notification.reward_id is None else parse_reward_id(notification.reward_id)
    return named[1] if named is not None and named[0] == customer.customer_id else None


def of_notifications(
    telling: Telling,
    state: OrganisationState,
    stored: Sequence[NotificationRow],
    rewards: Mapping[RewardKey, Reward],
) -> Iterator[Difference]:
    """Their numbers are 1, 2, 3 and so on, up to the customer's own, and each reward is handed over once."""
    handed_over: set[RewardKey] = set()
    customer = telling.customer
    at = customer.created_at
    previous = generation = 0
    for notification in stored:
        what = f"notification {notification.number} ({notification.name})"
        if notification.number != previous + 1:
            yield telling.of(f"notification {previous + 1}", {"number": previous + 1}, None)
        if not at <= notification.at <= customer.changed_at:
            allowed = {"at": at, "to": customer.changed_at}
            yield telling.of(what, allowed, {"at": notification.at}, target_id=notification.target_id)
        yield from _of_event_id(telling, state, notification, since=generation)
        previous, at = notification.number, max(at, notification.at)
        generation = max(generation, notification.generation)
        if notification.reward_id is not None:
            yield from _of_hand_over(telling, rewards, notification, handed_over)
    if customer.notification_number != previous:
        found = {"notification_number": customer.notification_number}
        yield telling.of("customer", {"notification_number": previous}, found)


def _of_event_id(
    telling: Telling, state: OrganisationState, notification: NotificationRow, *, since: int
) -> Iterator[Difference]:
    """A notification's generation is one that began, and no earlier than the one before; its event id spells it out."""
    what = f"notification {notification.number} ({notification.name})"
    generation, target_id = notification.generation, notification.target_id
    if generation < since or generation not in state.generations:
        allowed = sorted(one for one in state.generations if one >= since)
        yield telling.of(what, {"generation": f"one of {allowed}"}, {"generation": generation}, target_id=target_id)
    customer = telling.customer
    expected = event_id(customer.organisation_id, customer.customer_id, generation, notification.number)
    if notification.event_id != expected:
        yield telling.of(what, {"event_id": expected}, {"event_id": notification.event_id}, target_id=target_id)


def _of_hand_over(
    telling: Telling,
    rewards: Mapping[RewardKey, Reward],
    notification: NotificationRow,
    handed_over: set[RewardKey],
) -> Iterator[Difference]:
    """A reward that is handed over was earned, one that is taken back was reversed; and this reward was."""
    what = f"notification {notification.number} ({notification.name})"
    target_id = notification.target_id
    key = reward_of_notification(telling.customer, notification)
    reward = None if key is None else rewards.get(key)
    if key is None or reward is None:
        yield telling.of(what, None, {"reward_id": notification.reward_id}, target_id=target_id)
        return
    place = {"target_id": key.target_id, "period_id": key.period_id or None}
    found = {"target_id": target_id, "period_id": notification.period_id}
    if place != found:
        yield telling.of(what, place, found, target_id=target_id)
    if notification.name == EventName.REWARD_REVERSED:
        if reward.state is not RewardState.REVERSED:
            yield telling.of(what, {"state": RewardState.REVERSED}, {"state": reward.state}, target_id=target_id)
    elif not reward.handed_over or key in handed_over:
        yield telling.of(what, None, {"reward_id": notification.reward_id}, target_id=target_id)
    else:
        handed_over.add(key)
