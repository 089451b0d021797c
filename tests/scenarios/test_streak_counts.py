"""How a streak counts: met, short, not counted; provisional breaks, late rescues, levels for a whole run."""

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.story import tell


@pytest.mark.asyncio
async def test_a_missed_day_sets_the_count_to_zero_when_it_ends(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2, 4]))

    await tell(
        acme,
        """
        2026-01-01 12:00         ana enrols     -> enrolled Cycle_1
                                 ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-02 12:00         ana buys 10    -> progressed Cycle_2 10; achieved Cycle_2
                                                -> level_reached Level_2 2; reward_earned Level_2 20
        2026-01-03 12:00         ana buys 9.99  -> progressed Cycle_3 9.99
        2026-01-03 23:59:59.999  ana stands at  -> 2; Level_2
        2026-01-04 00:00:00.000  ana stands at  -> 0; Level_2
                                 ana waits      -> streak_broken Cycle_3 2
        2026-01-05 12:00         ana buys 10    -> progressed Cycle_5 10; achieved Cycle_5
        2026-01-06 12:00         ana buys 10    -> progressed Cycle_6 10; achieved Cycle_6
                                 ana stands at  -> 2; Level_2
        2026-01-08 12:00         ana waits      -> streak_broken Cycle_7 2
                                 ana has        -> Level_2 20 issued
        """,
    )


@pytest.mark.asyncio
async def test_a_break_is_provisional_until_late_activity_can_no_longer_mend_it(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[3, 4], offsetDays=2))

    await tell(
        acme,
        """
        2026-01-01 12:00         ana enrols     -> enrolled Cycle_1
                                 ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
                                 ben enrols     -> enrolled Cycle_1
                                 ben buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-03 12:00         ana buys 10    -> progressed Cycle_3 10; achieved Cycle_3
                                 ana stands at  -> 1
        2026-01-04 12:00         ana buys 10    -> progressed Cycle_4 10; achieved Cycle_4
                                 ana stands at  -> 2
        2026-01-04 23:59:59.999  ana buys 10 dated 2026-01-02  -> progressed Cycle_2 10; achieved Cycle_2
                                                -> level_reached Level_3 3; reward_earned Level_3 30
                                                -> level_reached Level_4 4; reward_earned Level_4 40
                                 ana stands at  -> 4; Level_3; Level_4
                                 ben waits      -> nothing
                                 ben stands at  -> 0
        2026-01-05 00:00:00.000  ben waits      -> streak_broken Cycle_2 1
                                 ben buys 10 dated 2026-01-02  -> warned 390007
                                 ana waits      -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_a_level_is_earned_where_the_mended_course_passed_it_though_the_count_is_lower_now(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[3], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-03 12:00  ana buys 10    -> progressed Cycle_3 10; achieved Cycle_3
        2026-01-05 12:00  ana buys 10    -> progressed Cycle_5 10; achieved Cycle_5
                          ana stands at  -> 1
        2026-01-06 12:00  ana buys 10 dated 2026-01-02  -> progressed Cycle_2 10; achieved Cycle_2
                                         -> level_reached Level_3 3; reward_earned Level_3 30
                          ana stands at  -> 1; Level_3
        2026-01-07        ana stands at  -> 0; Level_3
        """,
    )


@pytest.mark.asyncio
async def test_leaving_after_a_day_ended_unmet_does_not_make_it_unbroken(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2], offsetDays=2))

    await tell(
        acme,
        """
        2026-01-01 12:00         ana enrols     -> enrolled Cycle_1
                                 ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
                                 ben enrols     -> enrolled Cycle_1
                                 ben buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-02 23:59:59.999  ben un-enrols  -> un_enrolled Cycle_2
        2026-01-03 00:00:00.000  ana un-enrols  -> un_enrolled Cycle_3
        2026-01-06 12:00         ana enrols     -> streak_broken Cycle_2 1; re_enrolled Cycle_6
                                 ben enrols     -> re_enrolled Cycle_6
                                 ana buys 10    -> progressed Cycle_6 10; achieved Cycle_6
                                 ana stands at  -> 1
                                 ben buys 10    -> progressed Cycle_6 10; achieved Cycle_6
                                                -> level_reached Level_2 2; reward_earned Level_2 20
        """,
    )


@pytest.mark.asyncio
async def test_a_non_continuous_streak_never_goes_back(acme: Brand) -> None:
    body = programme(periods=10, step="DAILY", target=10, levels=[2, 3], trackingType="NON_CONTINUOUS_STREAKS")
    await acme.create(body)

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols     -> enrolled Cycle_1
                          ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-04 12:00  ana stands at  -> 1
                          ana buys 10    -> progressed Cycle_4 10; achieved Cycle_4
                                         -> level_reached Level_2 2; reward_earned Level_2 20
        2026-01-09 12:00  ana buys 10    -> progressed Cycle_9 10; achieved Cycle_9
                                         -> level_reached Level_3 3; reward_earned Level_3 30
        2026-01-20 12:00  ana stands at  -> 3; Level_2; Level_3
        """,
    )


@pytest.mark.asyncio
async def test_a_period_is_rewarded_once_though_a_new_run_meets_it_again(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[1], rewards=[points(5)]))

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols             -> enrolled Cycle_1
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1; reward_earned Cycle_1 5
                                                 -> level_reached Level_1 1; reward_earned Level_1 10
        2026-01-01 13:00  ana un-enrols          -> un_enrolled Cycle_1
        2026-01-01 14:00  ana enrols and resets  -> re_enrolled Cycle_1; streak_reset
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1
                                                 -> level_reached Level_1 1; reward_earned Level_1 10
                          ana has                -> Level_1 10 issued; Level_1 run 2 10 issued; Cycle_1 5 issued
        """,
    )


@pytest.mark.asyncio
async def test_the_old_runs_break_is_reported_though_a_new_run_has_begun(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2], offsetDays=2))

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols             -> enrolled Cycle_1
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-03 12:00  ana un-enrols          -> un_enrolled Cycle_3
        2026-01-03 13:00  ana enrols and resets  -> re_enrolled Cycle_3; streak_reset
                          ana buys 10            -> progressed Cycle_3 10; achieved Cycle_3
        2026-01-04 12:00  ana buys 10            -> progressed Cycle_4 10; achieved Cycle_4
                                                 -> level_reached Level_2 2; reward_earned Level_2 20
        2026-01-05 00:00  ana waits              -> streak_broken Cycle_2 1
                          ana stands at          -> 2; Level_2
                          ana has                -> Level_2 run 2 20 issued
        """,
    )


@pytest.mark.asyncio
async def test_left_and_joined_again_in_one_day_it_is_short_if_unmet_at_its_end(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2]))

    await tell(
        acme,
        """
        2026-01-01 12:00         ana enrols     -> enrolled Cycle_1
                                 ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-02 12:00         ana un-enrols  -> un_enrolled Cycle_2
        2026-01-02 23:59:59.999  ana enrols     -> re_enrolled Cycle_2
                                 ana stands at  -> 1
        2026-01-03 00:00:00.000  ana waits      -> streak_broken Cycle_2 1
                                 ana stands at  -> 0
        """,
    )


@pytest.mark.asyncio
async def test_a_reset_starts_a_non_continuous_streak_at_zero_too(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2], trackingType="NON_CONTINUOUS_STREAKS"))

    await tell(
        acme,
        """
        2026-01-01 12:00  ana enrols             -> enrolled Cycle_1
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-03 12:00  ana un-enrols          -> un_enrolled Cycle_3
                          ana enrols and resets  -> re_enrolled Cycle_3; streak_reset
                          ana buys 10            -> progressed Cycle_3 10; achieved Cycle_3
                          ana stands at          -> 1
        2026-01-09 12:00  ana buys 10            -> progressed Cycle_9 10; achieved Cycle_9
                                                 -> level_reached Level_2 2; reward_earned Level_2 20
        """,
    )
