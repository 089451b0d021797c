"""A milestone of five months is left: in the first, in the third, at its bounds, with period ends not yet worked."""

import pytest
from tests.conftest import Wall
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.conftest import Found
from tests.scenarios.story import tell

IMMEDIATE, PERIOD_END = points(50), points(80, "PERIOD_END")


@pytest.mark.asyncio
async def test_left_in_the_middle_of_c1_an_immediate_reward_stays(acme: Brand) -> None:
    await acme.create(programme(rewards=[IMMEDIATE]))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1; reward_earned Cycle_1 50
        2026-01-15 12:00  ana un-enrols  -> un_enrolled Cycle_1
                          ana is out of  -> Cycle_1; Cycle_2; Cycle_3; Cycle_4; Cycle_5
        2026-01-16 12:00  ana buys 500   -> nothing
        2026-02-10 12:00  ana buys 500   -> nothing
        2026-06-01        ana waits      -> nothing
                          ana has        -> Cycle_1 50 issued
        """,
    )


@pytest.mark.asyncio
async def test_left_in_the_middle_of_c1_a_period_end_reward_is_forfeited(acme: Brand) -> None:
    await acme.create(programme(rewards=[PERIOD_END]))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1
                          ana has        -> nothing
        2026-01-15 12:00  ana un-enrols  -> un_enrolled Cycle_1
                                         -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
                          ana has        -> Cycle_1 80 forfeited "un-enrolled before period end"
                          ana is out of  -> Cycle_1; Cycle_2; Cycle_3; Cycle_4; Cycle_5
        2026-02-01        ana waits      -> period_ended Cycle_1
        2026-06-01        ana waits      -> nothing
                          ana has        -> Cycle_1 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_left_before_achieving_there_is_nothing_to_forfeit(acme: Brand) -> None:
    await acme.create(programme(rewards=[IMMEDIATE, PERIOD_END]))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols       -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 99.999  -> progressed Cycle_1 99.999
        2026-01-15 12:00  ana un-enrols    -> un_enrolled Cycle_1
        2026-02-01        ana waits        -> nothing
                          ana has          -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_left_in_the_middle_of_c3_both_rewards_of_c1_and_c2_were_paid(acme: Brand) -> None:
    await acme.create(programme(rewards=[IMMEDIATE, PERIOD_END]))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1; reward_earned Cycle_1 50
        2026-02-01        ana waits      -> reward_earned Cycle_1 80; period_ended Cycle_1
        2026-02-10 12:00  ana buys 100   -> progressed Cycle_2 100; achieved Cycle_2; reward_earned Cycle_2 50
        2026-03-10 12:00  ana buys 130   -> reward_earned Cycle_2 80; period_ended Cycle_2
                                         -> progressed Cycle_3 130; achieved Cycle_3; reward_earned Cycle_3 50
        2026-03-15 12:00  ana un-enrols  -> un_enrolled Cycle_3
                                         -> reward_forfeited Cycle_3 80 "un-enrolled before period end"
                          ana is out of  -> Cycle_3; Cycle_4; Cycle_5
        2026-06-01        ana waits      -> period_ended Cycle_3
                          ana has        -> Cycle_1 50 issued; Cycle_1 80 issued; Cycle_2 50 issued; Cycle_2 80 issued
                                         -> Cycle_3 50 issued; Cycle_3 80 forfeited "un-enrolled before period end"
        """,
    )


@pytest.mark.asyncio
async def test_left_in_c3_while_no_job_has_run_c1_and_c2_are_paid(found: Found, globex: Brand, wall: Wall) -> None:
    """A real clock and no closer at all: an end is worked by whatever the customer does next."""
    acme = await found("Acme", at=None)
    await acme.create(programme(first="2026-03-01", rewards=[PERIOD_END]))
    await acme.enrol("ana")
    await acme.buy("ana", 120)
    wall.advance(days=31)
    assert await acme.buy("ana", 120, dated="2026-03-20") == ["warned 390007"]
    april = await acme.buy("ana", 140)
    wall.advance(days=32)

    left = await acme.unenrol("ana")

    assert april == [
        "reward_earned Cycle_1 80",
        "period_ended Cycle_1",
        "progressed Cycle_2 140",
        "achieved Cycle_2",
    ]
    assert left == ["reward_earned Cycle_2 80", "period_ended Cycle_2", "un_enrolled Cycle_3"]
    assert await acme.rewards("ana") == ["Cycle_1 80 issued", "Cycle_2 80 issued"]
    assert await acme.outside("ana") == ["Cycle_3", "Cycle_4", "Cycle_5"]


@pytest.mark.asyncio
async def test_left_after_c2_ended_but_before_it_is_due_c2_is_still_paid(acme: Brand) -> None:
    await acme.create(programme(rewards=[PERIOD_END], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols     -> enrolled Cycle_1
        2026-01-10 12:00  ana buys 120   -> progressed Cycle_1 120; achieved Cycle_1
        2026-02-10 12:00  ana buys 120   -> reward_earned Cycle_1 80; period_ended Cycle_1
                                         -> progressed Cycle_2 120; achieved Cycle_2
        2026-03-02 12:00  ana un-enrols  -> un_enrolled Cycle_3
                          ana is out of  -> Cycle_3; Cycle_4; Cycle_5
                          ana has        -> Cycle_1 80 issued
        2026-03-05 23:59:59.999  ana waits  -> nothing
        2026-03-06        ana waits      -> reward_earned Cycle_2 80; period_ended Cycle_2
                          ana has        -> Cycle_1 80 issued; Cycle_2 80 issued
        """,
    )


@pytest.mark.asyncio
async def test_out_of_an_ended_month_late_activity_still_achieves_it_and_is_paid(acme: Brand) -> None:
    await acme.create(programme(rewards=[PERIOD_END], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols                            -> enrolled Cycle_1
        2026-02-02 12:00  ana un-enrols                         -> un_enrolled Cycle_2
        2026-02-03 12:00  ana buys 120 dated 2026-01-31 23:59:59.999
                                                                -> progressed Cycle_1 120; achieved Cycle_1
                          ana buys 120 dated 2026-02-01 00:00   -> nothing
        2026-02-06        ana waits                             -> reward_earned Cycle_1 80; period_ended Cycle_1
                          ana has                               -> Cycle_1 80 issued
        """,
    )


@pytest.mark.asyncio
async def test_the_months_last_millisecond_loses_it_and_the_next_months_first_does_not(acme: Brand) -> None:
    await acme.create(programme(rewards=[PERIOD_END]))

    await tell(
        acme,
        """
        2026-01-10 12:00         ana enrols     -> enrolled Cycle_1
                                 ben enrols     -> enrolled Cycle_1
                                 ana buys 100   -> progressed Cycle_1 100; achieved Cycle_1
                                 ben buys 100   -> progressed Cycle_1 100; achieved Cycle_1
        2026-01-31 23:59:59.999  ana un-enrols  -> un_enrolled Cycle_1
                                                -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
        2026-02-01 00:00:00.000  ben un-enrols  -> reward_earned Cycle_1 80; period_ended Cycle_1; un_enrolled Cycle_2
                                 ana is out of  -> Cycle_1; Cycle_2; Cycle_3; Cycle_4; Cycle_5
                                 ben is out of  -> Cycle_2; Cycle_3; Cycle_4; Cycle_5
                                 ana has        -> Cycle_1 80 forfeited "un-enrolled before period end"
                                 ben has        -> Cycle_1 80 issued
        """,
    )


@pytest.mark.asyncio
async def test_left_in_a_gap_between_two_periods_only_later_ones_are_lost(acme: Brand) -> None:
    await acme.create(
        programme(
            rewards=[PERIOD_END],
            periods=[
                ("Spring", "2026-03-01", "2026-03-31"),
                ("Summer", "2026-06-01", "2026-06-30"),
                ("Autumn", "2026-09-01", "2026-09-30"),
            ],
        )
    )

    await tell(
        acme,
        """
        2026-03-01 12:00  ana enrols     -> enrolled Spring
        2026-03-10 12:00  ana buys 100   -> progressed Spring 100; achieved Spring
        2026-04-10 12:00  ana un-enrols  -> reward_earned Spring 80; period_ended Spring; un_enrolled
                          ana is out of  -> Summer; Autumn
                          ana has        -> Spring 80 issued
        2026-05-10 12:00  ana enrols     -> re_enrolled Summer
        2026-05-11 12:00  ana buys 100   -> nothing
        2026-06-01        ana buys 100   -> progressed Summer 100; achieved Summer
        """,
    )


@pytest.mark.asyncio
async def test_left_before_the_programme_starts_out_of_everything(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2025-12-22 12:00  ana enrols     -> enrolled Cycle_1
        2025-12-23 12:00  ana un-enrols  -> un_enrolled
                          ana is out of  -> Cycle_1; Cycle_2; Cycle_3; Cycle_4; Cycle_5
        2026-01-10 12:00  ana buys 100   -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_who_was_never_in_is_already_out_or_comes_too_late_is_told_so(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-05 12:00         ana un-enrols  -> refused 310149
                                 ana enrols     -> enrolled Cycle_1
        2026-01-06 12:00         ana un-enrols  -> un_enrolled Cycle_1
        2026-01-07 12:00         ana un-enrols  -> warned 390001
        2026-05-31 23:59:59.999  ana un-enrols  -> warned 390001
                                 ben un-enrols  -> refused 310149
        2026-06-01 00:00:00.000  ana un-enrols  -> refused 310019
                                 ben un-enrols  -> refused 310019
                                 ana enrols     -> refused 310019
        """,
    )
