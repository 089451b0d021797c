"""A programme is deactivated: what had ended is paid, what runs is lost, and nothing counts any more."""

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.story import tell


@pytest.mark.asyncio
async def test_the_running_months_reward_is_lost_and_an_ended_one_is_paid_when_due(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50), points(80, "PERIOD_END")], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 100   -> progressed Cycle_1 100; achieved Cycle_1; reward_earned Cycle_1 50
        2026-02-02 12:00  ana buys 100   -> progressed Cycle_2 100; achieved Cycle_2; reward_earned Cycle_2 50
        2026-02-03 12:00  ana sees the programme deactivated
                                         -> reward_forfeited Cycle_2 80 "programme deactivated"; period_ended Cycle_2
        2026-02-04 12:00  ana buys 100   -> nothing
                          ana buys 100 dated 2026-01-31  -> nothing
                          ana un-enrols  -> refused 310017
                          ben enrols     -> refused 310017
        2026-02-06        ana waits      -> reward_earned Cycle_1 80; period_ended Cycle_1
        2026-06-01        ana waits      -> nothing
                          ana has        -> Cycle_1 50 issued; Cycle_1 80 issued
                                         -> Cycle_2 50 issued; Cycle_2 80 forfeited "programme deactivated"
        """,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("when", "reward"),
    [
        ("2026-01-31 23:59:59.999", 'Cycle_1 80 forfeited "programme deactivated"'),
        ("2026-02-01 00:00:00.000", "Cycle_1 80 issued"),
    ],
)
async def test_a_month_counts_as_ended_from_the_next_ones_first_instant(acme: Brand, when: str, reward: str) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")], offsetDays=5))
    await acme.at("2026-01-05")
    await acme.enrol("ana")
    await acme.buy("ana", 100)

    await acme.at(when)
    await acme.deactivate()
    await acme.at("2026-03-01")

    assert await acme.rewards("ana") == [reward]


@pytest.mark.asyncio
async def test_who_had_left_keeps_the_reason_for_leaving(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 100   -> progressed Cycle_1 100; achieved Cycle_1
        2026-01-06 12:00  ana un-enrols  -> un_enrolled Cycle_1
                                         -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-07 12:00  ana sees the programme deactivated  -> period_ended Cycle_1
                          ana has        -> Cycle_1 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_no_day_turns_short_while_deactivated_but_one_that_had_ended_stays_short(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2], offsetDays=2))

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
                          ben enrols     -> enrolled Cycle_1
        2026-01-02 12:00  ben buys 10    -> progressed Cycle_2 10; achieved Cycle_2
        2026-01-03 12:00  ana sees the programme deactivated  -> nothing
                          ana stands at  -> 0
        2026-01-09 12:00  ana waits      -> streak_broken Cycle_2 1
                          ben waits      -> nothing
                          ben stands at  -> 1
        """,
    )
