"""The overview of an organisation: its groups, who is in them, and the last days, from counters alone.

Reads no customer's row, however many customers there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import asyncpg

from kosminar.core.programme import Programme
from kosminar.core.zone import local_day
from kosminar.store import counters
from kosminar.store.counters import NOTHING_YET, Overview


@dataclass(frozen=True, slots=True)
class GroupOverview:
    """One group: everything so far, and what each of the last days moved, oldest first and today last."""

    programme: Programme
    running_number: int | None
    total: Overview
    days: Mapping[date, Overview]

    @property
    def enrolled(self) -> int:
        """Customers who are enrolled now."""
        return self.total.enrolled - self.total.stretches_left

    @property
    def at_risk(self) -> int:
        """Customers on a streak who have not met the running period yet; where none runs, nobody is at risk."""
        if self.running_number is None:
            return 0
        return max(0, self.total.on_streak - self.total.achieved_now)


async def overview(
    pool: asyncpg.Pool, organisation_id: int, programmes: Mapping[int, Programme], *, at: datetime, day_count: int = 30
) -> list[GroupOverview]:
    """Each of these programmes, by target group id, at an instant of the organisation's clock. Days are the group's own."""
    assert day_count >= 1
    running = {group_id: programme.window.period_at(at, None) for group_id, programme in programmes.items()}
    today = {group_id: local_day(at, programme.zone) for group_id, programme in programmes.items()}
    if not programmes:
        return []
    first_day = min(today.values()) - timedelta(days=day_count - 1)
    numbers = {group_id: 0 if period is None else period.number for group_id, period in running.items()}
    async with pool.acquire() as connection:
        found = await counters.list_overview(connection, organisation_id, numbers, first_day=first_day)
    shown = []
    for group_id, programme in programmes.items():
        its, period = found.get(group_id, {}), running[group_id]
        days = [today[group_id] - timedelta(days=back) for back in reversed(range(day_count))]
        shown.append(
            GroupOverview(
                programme=programme,
                running_number=None if period is None else period.number,
                total=its.get(None, NOTHING_YET),
                days={day: its.get(day, NOTHING_YET) for day in days},
            )
        )
    return shown
