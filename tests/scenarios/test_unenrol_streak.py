"""A streak of thirty weeks with levels at 4, 8 and 12: left in the thirteenth, joined again with and without a reset."""

from datetime import date, timedelta

import pytest
import pytest_asyncio
from tests.scenarios.brand import Brand, programme
from tests.scenarios.story import tell

FIRST_MONDAY = date(2026, 1, 5)
LEVELS = (4, 8, 12)
PAID_ONCE = ["Level_4 40 issued", "Level_8 80 issued", "Level_12 120 issued"]


def noon(week: int) -> str:
    """Wednesday noon of that week of the streak."""
    return f"{FIRST_MONDAY + timedelta(weeks=week - 1, days=2)} 12:00"


async def buy_each_week(brand: Brand, who: str, weeks: range) -> list[str]:
    """A purchase on each of these Wednesdays; what came of them beside met weeks."""
    told = []
    for week in weeks:
        await brand.at(noon(week))
        told += await brand.buy(who, 10)
    return [line for line in told if line.split()[0] not in ("progressed", "achieved")]


@pytest_asyncio.fixture
async def weekly(acme: Brand) -> Brand:
    await acme.create(
        programme(periods=30, step="WEEKLY", first=str(FIRST_MONDAY), target=10, levels=LEVELS, name="Weeks")
    )
    return acme


@pytest.mark.asyncio
async def test_left_in_the_thirteenth_week_reached_levels_stay_and_the_rest_is_lost(weekly: Brand) -> None:
    await weekly.at(noon(1))
    await weekly.enrol("ana")

    reached = await buy_each_week(weekly, "ana", range(1, 13))
    await weekly.at(noon(13))
    left = await weekly.unenrol("ana")
    ignored = await buy_each_week(weekly, "ana", range(14, 31))

    assert reached == [
        *("level_reached Level_4 4", "reward_earned Level_4 40"),
        *("level_reached Level_8 8", "reward_earned Level_8 80"),
        *("level_reached Level_12 12", "reward_earned Level_12 120"),
    ]
    assert left == ["un_enrolled Cycle_13"]
    assert ignored == []
    assert await weekly.outside("ana") == [f"Cycle_{n}" for n in range(13, 31)]
    assert await weekly.rewards("ana") == PAID_ONCE


@pytest.mark.asyncio
async def test_only_two_levels_reached_before_the_thirteenth_week_only_those_are_paid(weekly: Brand) -> None:
    """A missed first week: eleven in a row by the twelfth."""
    await weekly.at(noon(1))
    await weekly.enrol("ana")

    await buy_each_week(weekly, "ana", range(2, 13))
    await weekly.at(noon(13))
    await weekly.unenrol("ana")
    await weekly.at(noon(30))

    assert await weekly.rewards("ana") == PAID_ONCE[:2]
    assert await weekly.count("ana") == ["11", "Level_4", "Level_8"]


@pytest.mark.asyncio
async def test_joined_again_without_a_reset_the_count_goes_on_and_levels_earn_no_more(weekly: Brand) -> None:
    await weekly.at(noon(1))
    await weekly.enrol("ana")
    await buy_each_week(weekly, "ana", range(1, 11))
    await weekly.at(noon(13))
    await weekly.unenrol("ana")
    await weekly.at(noon(15))

    back = await weekly.enrol("ana", resetStreakStatus=False)
    again = await buy_each_week(weekly, "ana", range(15, 31))

    # Weeks 11 and 12 were short with ana in, so the count starts anew; level 4 and 8 had been reached in this run.
    assert back == ["re_enrolled Cycle_15"]
    assert again == ["level_reached Level_12 12", "reward_earned Level_12 120"]
    assert await weekly.rewards("ana") == PAID_ONCE
    assert await weekly.count("ana") == ["16", "Level_4", "Level_8", "Level_12"]


@pytest.mark.asyncio
async def test_weeks_spent_outside_neither_count_nor_break(weekly: Brand) -> None:
    await weekly.at(noon(1))
    await weekly.enrol("ana")
    await buy_each_week(weekly, "ana", range(1, 12))
    await weekly.at(noon(12))
    await weekly.unenrol("ana")
    await weekly.at(noon(20))
    await weekly.enrol("ana")

    assert await weekly.count("ana") == ["11", "Level_4", "Level_8"]
    assert await buy_each_week(weekly, "ana", range(20, 21)) == [
        "level_reached Level_12 12",
        "reward_earned Level_12 120",
    ]


@pytest.mark.asyncio
async def test_joined_again_with_a_reset_every_level_is_earned_again(weekly: Brand) -> None:
    await weekly.at(noon(1))
    await weekly.enrol("ana")
    await buy_each_week(weekly, "ana", range(1, 13))
    await weekly.at(noon(13))
    await weekly.unenrol("ana")
    await weekly.at(noon(15))

    back = await weekly.enrol("ana", resetStreakStatus=True)
    fresh = await weekly.count("ana")
    again = await buy_each_week(weekly, "ana", range(15, 27))

    assert back == ["re_enrolled Cycle_15", "streak_reset"]
    assert fresh == ["0"]
    assert [line for line in again if line.startswith("reward_earned")] == [
        "reward_earned Level_4 40",
        "reward_earned Level_8 80",
        "reward_earned Level_12 120",
    ]
    assert sorted(await weekly.rewards("ana")) == sorted(
        [*PAID_ONCE, "Level_4 run 2 40 issued", "Level_8 run 2 80 issued", "Level_12 run 2 120 issued"]
    )


@pytest.mark.asyncio
async def test_a_met_week_keeps_its_count_when_it_is_left_and_a_short_one_does_not_break(weekly: Brand) -> None:
    await tell(
        weekly,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
                          ben enrols     -> enrolled Cycle_1
        2026-01-06 12:00  ana buys 10    -> progressed Cycle_1 10; achieved Cycle_1
                          ben buys 10    -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-13 12:00  ana buys 10    -> progressed Cycle_2 10; achieved Cycle_2
                          ben buys 9     -> progressed Cycle_2 9
        2026-01-14 12:00  ana un-enrols  -> un_enrolled Cycle_2
                          ben un-enrols  -> un_enrolled Cycle_2
        2026-01-26 12:00  ana enrols     -> re_enrolled Cycle_4
                          ben enrols     -> re_enrolled Cycle_4
                          ana stands at  -> 2
                          ben stands at  -> 1
                          ana buys 10    -> progressed Cycle_4 10; achieved Cycle_4
                          ana stands at  -> 3
        """,
    )


@pytest.mark.asyncio
async def test_joined_again_in_the_same_week_its_value_goes_on(weekly: Brand) -> None:
    await tell(
        weekly,
        """
        2026-01-05 12:00  ana enrols     -> enrolled Cycle_1
        2026-01-06 12:00  ana buys 6     -> progressed Cycle_1 6
        2026-01-07 12:00  ana un-enrols  -> un_enrolled Cycle_1
        2026-01-08 12:00  ana buys 3     -> nothing
        2026-01-09 12:00  ana enrols     -> re_enrolled Cycle_1
                          ana buys 4     -> progressed Cycle_1 10; achieved Cycle_1
                          ana stands at  -> 1
        """,
    )


@pytest.mark.asyncio
async def test_reset_in_the_same_week_the_new_run_meets_it_again_and_the_old_one_keeps_its_purchases(
    weekly: Brand,
) -> None:
    await tell(
        weekly,
        """
        2026-01-05 12:00  ana enrols                           -> enrolled Cycle_1
        2026-01-06 12:00  ana buys 10                          -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-07 12:00  ana un-enrols                        -> un_enrolled Cycle_1
        2026-01-08 12:00  ana enrols and resets                -> re_enrolled Cycle_1; streak_reset
                          ana stands at                        -> 0
        2026-01-09 12:00  ana buys 5 dated 2026-01-06 18:00    -> progressed Cycle_1 15
                          ana buys 9.99                        -> progressed Cycle_1 9.99
                          ana stands at                        -> 0
                          ana buys 0.01                        -> progressed Cycle_1 10; achieved Cycle_1
                          ana stands at                        -> 1
        """,
    )


@pytest.mark.asyncio
async def test_an_ended_run_takes_late_activity_and_earns_its_level(acme: Brand) -> None:
    await acme.create(programme(periods=10, step="DAILY", target=10, levels=[2], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-01 09:00  ana enrols                           -> enrolled Cycle_1
        2026-01-01 12:00  ana buys 10                          -> progressed Cycle_1 10; achieved Cycle_1
        2026-01-03 12:00  ana un-enrols                        -> un_enrolled Cycle_3
        2026-01-04 12:00  ana enrols and resets                -> re_enrolled Cycle_4; streak_reset
        2026-01-05 12:00  ana buys 10 dated 2026-01-02 12:00   -> progressed Cycle_2 10; achieved Cycle_2
                                                               -> level_reached Level_2 2; reward_earned Level_2 20
                          ana stands at                        -> 0
                          ana has                              -> Level_2 20 issued
        """,
    )
