"""Notices become notifications: numbered in the customer's order, sealed, and addressed to who subscribes."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from kosminar.core.event import EventName, event_id, sealed
from kosminar.core.notice.notice import Notice
from kosminar.store.notifications import Notification, Posted
from kosminar.store.standings import CustomerKey


def post(
    notices: Iterable[Notice],
    customer: CustomerKey,
    *,
    subscribers: Mapping[EventName, tuple[int, ...]],
    after_number: int,
    generation: int,
    request_id: str,
    at: datetime,
    wall: datetime,
) -> list[Posted]:
    """The notifications of one customer, oldest first; their numbers follow the customer's last one."""
    return [
        Posted(
            customer,
            Notification(
                number=number,
                generation=generation,
                name=notice.name.value,
                target_id=notice.target_id,
                period_id=notice.period_id,
                reward_id=notice.reward_id,
                body=sealed(
                    notice.name,
                    customer.organisation_id,
                    event_id=event_id(customer.organisation_id, customer.customer_id, generation, number),
                    request_id=request_id,
                    at=at,
                    sequence=number,
                    data=notice.data,
                ),
                at=at,
                created_at=wall,
            ),
            subscribers[notice.name],
        )
        for number, notice in enumerate(notices, start=after_number + 1)
    ]
