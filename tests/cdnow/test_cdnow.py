"""Real purchases through the whole engine, against a recount in plain SQL that shares no code with it.

For every customer, period and level the engine's rows equal the recount's; and the auditor, which replays accepted
commands, agrees as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
from tests.cdnow import scenario
from tests.cdnow.purchases import Purchase, months
from tests.cdnow.recount import recount
from tests.cdnow.story import Story
from tests.unfolded import UNFOLDED

from kosminar.engine.auditor import audit
from kosminar.engine.house import House

Purchases: TypeAlias = Mapping[tuple[int, int], Sequence[Purchase]]

MILESTONE_PERIODS = f"""{UNFOLDED}
SELECT t.name, p.customer_id, q.number, p.value, p.achieved_at IS NOT NULL AS achieved,
       (SELECT min(r.state) FROM reward r WHERE r.bucket = p.bucket AND r.organisation_id = p.organisation_id
           AND r.customer_id = p.customer_id AND r.target_id = p.target_id AND r.period_id = p.period_id),
       (SELECT count(*)::integer FROM reward r WHERE r.bucket = p.bucket AND r.organisation_id = p.organisation_id
           AND r.customer_id = p.customer_id AND r.target_id = p.target_id AND r.period_id = p.period_id)
  FROM progress p JOIN target t USING (target_id) JOIN period q USING (period_id)
 WHERE t.name = ANY($1)
"""
STREAK_PERIODS = f"""{UNFOLDED}
SELECT t.name, p.customer_id, p.run, q.number, p.value
  FROM progress p JOIN target t USING (target_id) JOIN period q USING (period_id)
 WHERE NOT t.name = ANY($1)
"""
LEVELS = f"""{UNFOLDED}
SELECT t.name, r.customer_id, r.run, l.name
  FROM reward r JOIN target t USING (target_id) JOIN level l USING (level_id)
"""
REACHED = f"""{UNFOLDED}
SELECT t.name, s.customer_id, s.run, l.name
  FROM streak s JOIN target t USING (target_id) CROSS JOIN unnest(s.reached) AS k (id) JOIN level l ON l.level_id = k.id
"""
ENROLLED = f"""{UNFOLDED}
SELECT t.name, e.customer_id, bool_or(e.ends_at IS NULL)
  FROM enrolment e JOIN target t USING (target_id)
 GROUP BY 1, 2
"""


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.long)])
async def test_eighteen_months_of_purchases_equal_the_recount(house: House, tmp_path: Path, every: int) -> None:
    """Of a part of the customers and all whom the story un-enrols or enrols; of everybody by `make history`."""
    story = await Story.begin(house)
    purchases = purchases_of(every)

    await story.live(scenario.steps(), tmp_path, purchases)

    async with house.pool.acquire() as connection:
        await agrees_with_the_recount(connection, purchases, every)
    differences = [difference async for difference in audit(house.pool, progressed=lambda _: None)]
    assert differences == []


def purchases_of(every: int) -> Purchases:
    visited = {step.customer_id for step in scenario.steps() if isinstance(step, scenario.Enrol | scenario.UnEnrol)}
    return {
        (year, month): [p for p in rows if p.customer_id % every == 0 or p.customer_id in visited]
        for year, month, rows in months()
    }


async def agrees_with_the_recount(connection: asyncpg.Connection, purchases: Purchases, every: int) -> None:
    expected = await recount(connection, scenario.steps(), purchases=purchases)
    milestones = [programme.name for programme in scenario.MILESTONES]

    periods = {tuple(row) for row in await connection.fetch(MILESTONE_PERIODS, milestones)}
    assert {p for p in periods if p[3] or p[4] or p[5]} == {tuple(p) for p in expected.milestone_periods}
    weeks = {tuple(row) for row in await connection.fetch(STREAK_PERIODS, milestones)}
    assert {w for w in weeks if w[4]} == {tuple(w) for w in expected.streak_periods}
    levels = [tuple(row) for row in await connection.fetch(LEVELS)]
    assert sorted(levels) == sorted(tuple(level) for level in expected.reached_levels)
    reached = [tuple(row) for row in await connection.fetch(REACHED)]
    assert sorted(reached) == sorted(levels)
    enrolled = {tuple(row) for row in await connection.fetch(ENROLLED)}
    assert enrolled == {(s.programme, s.customer_id, s.enrolled) for s in expected.standings}
    assert len(periods) > 50_000 / every
    assert len(levels) > 3_000 / every
