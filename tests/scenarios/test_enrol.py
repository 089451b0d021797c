"""Joining and joining again: the first period covered, balances, what is refused, what a streak ignores."""

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.story import tell


@pytest.mark.asyncio
async def test_enrolled_in_a_later_period_only_that_and_later_ones_count(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-10 12:00  ana enrols in CYCLE_3    -> enrolled Cycle_3
                          ana buys 100             -> nothing
        2026-02-28 23:59:59.999  ana buys 100      -> nothing
        2026-03-01        ana buys 100             -> progressed Cycle_3 100; achieved Cycle_3
                          ana is out of            -> Cycle_1; Cycle_2
        2026-03-02        ana enrols               -> refused 310119
                          ben enrols in Cycle_2    -> refused 310019
                          ben enrols in Winter     -> refused 310019
        """,
    )


@pytest.mark.asyncio
async def test_left_before_the_first_covered_period_begins_out_of_all(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-10 12:00  ana enrols in Cycle_3    -> enrolled Cycle_3
        2026-02-10 12:00  ana un-enrols            -> un_enrolled Cycle_2
        2026-03-10 12:00  ana buys 100             -> nothing
                          ana is out of            -> Cycle_1; Cycle_2; Cycle_3; Cycle_4; Cycle_5
        """,
    )


@pytest.mark.asyncio
async def test_an_enrolment_without_a_period_takes_the_running_one_else_the_next(acme: Brand) -> None:
    await acme.create(programme(periods=[("June", "2026-06-01", "2026-06-30"), ("August", "2026-08-01", "2026-08-31")]))

    await tell(
        acme,
        """
        2026-06-30 23:59:59.999  ana enrols  -> enrolled June
        2026-07-01 00:00:00.000  ben enrols  -> enrolled August
                                 ben is out of  -> June
        """,
    )


@pytest.mark.asyncio
async def test_a_balance_goes_to_the_first_period_alone_and_the_next_activity_achieves(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50)]))

    await tell(
        acme,
        """
        2026-01-10 12:00  ana enrols with balance 150        -> enrolled Cycle_1; balance_set Cycle_1 150
                          ana's values are                   -> Cycle_1 150
                          ana buys 0                         -> progressed Cycle_1 150; achieved Cycle_1
                                                             -> reward_earned Cycle_1 50
        2026-02-10 12:00  ana buys 99                        -> progressed Cycle_2 99
                          ben enrols in Cycle_4 with balance 60.0005  -> enrolled Cycle_4; balance_set Cycle_4 60.001
        2026-04-10 12:00  ben buys 39.999                    -> progressed Cycle_4 100; achieved Cycle_4
                                                             -> reward_earned Cycle_4 50
        """,
    )


@pytest.mark.asyncio
async def test_a_negative_balance_is_refused_and_changes_nothing(acme: Brand) -> None:
    await acme.create(programme())
    await acme.at("2026-01-10")

    assert await acme.enrol("ana", initialBalance=-0.001) == ["refused 300004"]
    assert await acme.enrol("ana", initialBalance=0) == ["enrolled Cycle_1"]


@pytest.mark.asyncio
async def test_back_in_the_period_that_was_left_value_and_achievement_return_as_they_stood(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50), points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1; reward_earned Cycle_1 50
        2026-01-15 12:00  ana un-enrols  -> un_enrolled Cycle_1
                                         -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-20 12:00  ana enrols     -> re_enrolled Cycle_1
                          ana's values are  -> Cycle_1 120
                          ana has        -> Cycle_1 50 issued; Cycle_1 80 forfeited "un-enrolled before period end"
        2026-02-01        ana waits      -> reward_earned Cycle_1 80; period_ended Cycle_1
                          ana has        -> Cycle_1 50 issued; Cycle_1 80 issued
        """,
    )


@pytest.mark.asyncio
async def test_left_joined_and_left_again_the_forfeit_is_told_once(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1
        2026-01-15 12:00  ana un-enrols  -> un_enrolled Cycle_1
                                         -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-20 12:00  ana enrols     -> re_enrolled Cycle_1
        2026-01-25 12:00  ana un-enrols  -> un_enrolled Cycle_1
        2026-02-01        ana waits      -> period_ended Cycle_1
                          ana has        -> Cycle_1 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_back_with_a_balance_the_achievement_is_withdrawn_and_nothing_is_paid_twice(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50), points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                 -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120               -> progressed Cycle_1 120; achieved Cycle_1
                                                     -> reward_earned Cycle_1 50
        2026-01-15 12:00  ana un-enrols              -> un_enrolled Cycle_1
                                                     -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-20 12:00  ana enrols with balance 0  -> re_enrolled Cycle_1; achievement_withdrawn Cycle_1 120
                                                     -> balance_set Cycle_1 0
        2026-01-21 12:00  ana buys 99                -> progressed Cycle_1 99
        2026-01-22 12:00  ana buys 1                 -> progressed Cycle_1 100; achieved Cycle_1
        2026-02-01        ana waits                  -> reward_earned Cycle_1 80; period_ended Cycle_1
                          ana has                    -> Cycle_1 50 issued; Cycle_1 80 issued
        """,
    )


@pytest.mark.asyncio
async def test_back_with_a_balance_but_not_achieved_again_the_forfeit_stands(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                   -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120                 -> progressed Cycle_1 120; achieved Cycle_1
        2026-01-15 12:00  ana un-enrols                -> un_enrolled Cycle_1
                                                       -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-20 12:00  ana enrols with balance 500  -> re_enrolled Cycle_1; achievement_withdrawn Cycle_1 120
                                                       -> balance_set Cycle_1 500
        2026-02-01        ana waits                    -> nothing
                          ana has                      -> Cycle_1 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_back_in_another_period_the_value_starts_at_zero(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50)]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols        -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 60       -> progressed Cycle_1 60
        2026-01-15 12:00  ana un-enrols     -> un_enrolled Cycle_1
        2026-02-20 12:00  ana enrols        -> re_enrolled Cycle_2
                          ana buys 60       -> progressed Cycle_2 60
                          ana's values are  -> Cycle_1 60; Cycle_2 60
                          ana buys 40       -> progressed Cycle_2 100; achieved Cycle_2; reward_earned Cycle_2 50
        """,
    )


@pytest.mark.asyncio
async def test_a_streak_ignores_period_and_balance_with_a_warning(acme: Brand) -> None:
    await acme.create(programme(levels=[2, 3]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols in Cycle_3 with balance 90  -> enrolled Cycle_1; warned 390002; warned 390003
                          ana buys 99                            -> progressed Cycle_1 99
                          ana stands at                          -> 0
                          ana enrols                             -> refused 310119
        """,
    )


@pytest.mark.asyncio
async def test_a_first_enrolment_with_a_reset_is_just_a_first_enrolment(acme: Brand) -> None:
    await acme.create(programme(levels=[1, 2]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols and resets  -> enrolled Cycle_1
                          ana buys 100           -> progressed Cycle_1 100; achieved Cycle_1
                                                 -> level_reached Level_1 1; reward_earned Level_1 10
                          ana has                -> Level_1 10 issued
        """,
    )


@pytest.mark.asyncio
async def test_a_milestone_ignores_the_reset(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50)]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols             -> enrolled Cycle_1
                          ana buys 60            -> progressed Cycle_1 60
                          ana un-enrols          -> un_enrolled Cycle_1
        2026-01-06 12:00  ana enrols and resets  -> re_enrolled Cycle_1
                          ana buys 40            -> progressed Cycle_1 100; achieved Cycle_1; reward_earned Cycle_1 50
        """,
    )


@pytest.mark.asyncio
async def test_back_from_a_later_period_on_what_was_forfeited_stays_so(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols             -> enrolled Cycle_1
                          ana buys 120           -> progressed Cycle_1 120; achieved Cycle_1
        2026-01-15 12:00  ana un-enrols          -> un_enrolled Cycle_1
                                                 -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-01-20 12:00  ana enrols in Cycle_3  -> re_enrolled Cycle_3
                          ana buys 10            -> nothing
        2026-02-10 12:00  ana buys 10            -> period_ended Cycle_1
                          ana is out of          -> Cycle_1; Cycle_2
        2026-03-10 12:00  ana buys 10            -> progressed Cycle_3 10
                          ana has                -> Cycle_1 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_a_balance_of_a_period_that_never_began_is_not_resumed(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols in Cycle_3 with balance 50  -> enrolled Cycle_3; balance_set Cycle_3 50
        2026-01-06 12:00  ana un-enrols                          -> un_enrolled Cycle_1
        2026-01-07 12:00  ana enrols in Cycle_3                  -> re_enrolled Cycle_3; balance_set Cycle_3 0
        2026-03-01 12:00  ana buys 99                            -> progressed Cycle_3 99
        """,
    )


@pytest.mark.asyncio
async def test_a_period_name_is_ignored_on_a_streak_even_if_there_is_no_such_period(acme: Brand) -> None:
    await acme.create(programme(levels=[2]))
    await acme.at("2026-02-05")

    assert await acme.enrol("ana", periodName="Winter") == ["enrolled Cycle_2", "warned 390002"]
    assert await acme.outside("ana") == ["Cycle_1"]


@pytest.mark.asyncio
async def test_back_in_another_period_with_a_balance_it_starts_from_that(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50)], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                             -> enrolled Cycle_1
                          ana buys 60                            -> progressed Cycle_1 60
        2026-01-15 12:00  ana un-enrols                          -> un_enrolled Cycle_1
        2026-02-02 12:00  ana enrols in Cycle_1                  -> refused 310019
                          ana enrols in Cycle_3 with balance 30  -> re_enrolled Cycle_3; balance_set Cycle_3 30
        2026-03-02 12:00  ana buys 70                            -> progressed Cycle_3 100; achieved Cycle_3
                                                                 -> reward_earned Cycle_3 50
        """,
    )


@pytest.mark.asyncio
async def test_in_out_and_in_again_at_one_instant(acme: Brand) -> None:
    """A test clock stands still between advances: each stretch and each run may be of no length."""
    await acme.create(programme(levels=[1], target=10))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols             -> enrolled Cycle_1
                          ana un-enrols          -> un_enrolled Cycle_1
                          ana buys 10            -> nothing
                          ana enrols             -> re_enrolled Cycle_1
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1
                                                 -> level_reached Level_1 1; reward_earned Level_1 10
                          ana un-enrols          -> un_enrolled Cycle_1
                          ana enrols and resets  -> re_enrolled Cycle_1; streak_reset
                          ana un-enrols          -> un_enrolled Cycle_1
                          ana enrols and resets  -> re_enrolled Cycle_1; streak_reset
                          ana buys 10            -> progressed Cycle_1 10; achieved Cycle_1
                                                 -> level_reached Level_1 1; reward_earned Level_1 10
                          ana has                -> Level_1 10 issued; Level_1 run 3 10 issued
        """,
    )


@pytest.mark.asyncio
async def test_opted_out_in_and_out_at_one_instant(acme: Brand) -> None:
    await acme.create(programme(automatic=True))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana un-enrols                  -> opted_out
                          ana enrols with balance 99     -> enrolled Cycle_1; balance_set Cycle_1 99
                          ana un-enrols                  -> un_enrolled Cycle_1
                          ana buys 1                     -> nothing
                          ana enrols                     -> re_enrolled Cycle_1
                          ana buys 1                     -> progressed Cycle_1 100; achieved Cycle_1
        """,
    )
