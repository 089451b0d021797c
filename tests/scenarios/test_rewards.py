"""What is given: every kind, at once or at period end, once for ever."""

import pytest
from tests.scenarios.brand import Brand, programme
from tests.scenarios.story import tell

REWARDS = (
    {"kind": "POINTS", "value": 12.5},
    {"kind": "COUPON", "value": "SPRING10", "allocation": "PERIOD_END"},
    {"kind": "BADGE", "value": "runner", "allocation": "IMMEDIATE"},
    {"kind": "CUSTOM", "value": "a walk in the park", "allocation": "PERIOD_END"},
)


@pytest.mark.asyncio
async def test_every_kind_is_given_when_its_allocation_says_and_at_once_by_default(acme: Brand) -> None:
    await acme.create(programme(rewards=REWARDS))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols    -> enrolled Cycle_1
                          ana buys 100  -> progressed Cycle_1 100; achieved Cycle_1
                                        -> reward_earned Cycle_1 12.5; reward_earned Cycle_1
                          ana buys 100  -> progressed Cycle_1 200
                          ana has       -> Cycle_1 12.5 issued; Cycle_1 runner issued
        2026-02-01        ana waits     -> reward_earned Cycle_1; reward_earned Cycle_1; period_ended Cycle_1
                          ana has       -> Cycle_1 12.5 issued; Cycle_1 SPRING10 issued; Cycle_1 runner issued
                                        -> Cycle_1 a walk in the park issued
        """,
    )


@pytest.mark.asyncio
async def test_leaving_forfeits_every_period_end_reward_and_no_other(acme: Brand) -> None:
    await acme.create(programme(rewards=REWARDS))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 100   -> progressed Cycle_1 100; achieved Cycle_1
                                         -> reward_earned Cycle_1 12.5; reward_earned Cycle_1
                          ana un-enrols  -> un_enrolled Cycle_1
                                         -> reward_forfeited Cycle_1 "un-enrolled before period end"
                                         -> reward_forfeited Cycle_1 "un-enrolled before period end"
                          ana has        -> Cycle_1 12.5 issued
                                         -> Cycle_1 SPRING10 forfeited "un-enrolled before period end"
                                         -> Cycle_1 runner issued
                                         -> Cycle_1 a walk in the park forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_who_falls_short_at_period_end_gets_nothing(acme: Brand) -> None:
    await acme.create(programme(rewards=REWARDS))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols       -> enrolled Cycle_1
                          ana buys 99.999  -> progressed Cycle_1 99.999
        2026-02-01        ana waits        -> nothing
                          ana has          -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_without_rewards_a_target_is_achieved_all_the_same(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols    -> enrolled Cycle_1
                          ana buys 100  -> progressed Cycle_1 100; achieved Cycle_1
        2026-02-01        ana waits     -> nothing
                          ana has       -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_a_streak_pays_nothing_at_period_end(acme: Brand) -> None:
    body = programme(levels=[2], rewards=[{"kind": "POINTS", "value": 1, "allocation": "PERIOD_END"}])

    response = await acme.http.post("/v3/targetGroups", json=body, auth=acme.auth)

    assert [(e["code"], e["message"].split(":")[0]) for e in response.json()["errors"]] == [
        (300004, "targets[0].rewards[0].allocation")
    ]
