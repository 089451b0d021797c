"""Days on the wall: nights that are an hour or half an hour off, midnights that are missing or come twice, lost days."""

from itertools import pairwise
from typing import NamedTuple

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.conftest import Found
from tests.scenarios.story import tell


class Nights(NamedTuple):
    """`count` days asked for from the first of `days`; `bounds` in UTC are where each of `days` begins, and the end."""

    zone: str
    count: int
    days: tuple[str, ...]
    bounds: tuple[str, ...]


NIGHTS = {
    "an hour is lost": Nights(
        "America/New_York",
        3,
        ("2024-03-09", "2024-03-10", "2024-03-11"),
        ("2024-03-09T05:00", "2024-03-10T05:00", "2024-03-11T04:00", "2024-03-12T04:00"),
    ),
    "an hour is gained": Nights(
        "America/New_York",
        3,
        ("2024-11-02", "2024-11-03", "2024-11-04"),
        ("2024-11-02T04:00", "2024-11-03T04:00", "2024-11-04T05:00", "2024-11-05T05:00"),
    ),
    "half an hour is gained": Nights(
        "Australia/Lord_Howe",
        3,
        ("2026-04-04", "2026-04-05", "2026-04-06"),
        ("2026-04-03T13:00", "2026-04-04T13:00", "2026-04-05T13:30", "2026-04-06T13:30"),
    ),
    "half an hour is lost": Nights(
        "Australia/Lord_Howe",
        3,
        ("2026-10-03", "2026-10-04", "2026-10-05"),
        ("2026-10-02T13:30", "2026-10-03T13:30", "2026-10-04T13:00", "2026-10-05T13:00"),
    ),
    "midnight is missing": Nights(
        "America/Havana",
        3,
        ("2024-03-09", "2024-03-10", "2024-03-11"),
        ("2024-03-09T05:00", "2024-03-10T05:00", "2024-03-11T04:00", "2024-03-12T04:00"),
    ),
    "midnight comes twice": Nights(
        "America/Havana",
        3,
        ("2024-11-02", "2024-11-03", "2024-11-04"),
        ("2024-11-02T04:00", "2024-11-03T04:00", "2024-11-04T05:00", "2024-11-05T05:00"),
    ),
    "30 December 2011 is missing": Nights(
        "Pacific/Apia",
        5,
        ("2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"),
        ("2011-12-28T10:00", "2011-12-29T10:00", "2011-12-30T10:00", "2011-12-31T10:00", "2012-01-01T10:00"),
    ),
    "a leap year": Nights(
        "Europe/Berlin",
        3,
        ("2028-02-28", "2028-02-29", "2028-03-01"),
        ("2028-02-27T23:00", "2028-02-28T23:00", "2028-02-29T23:00", "2028-03-01T23:00"),
    ),
    "no leap year": Nights(
        "Europe/Berlin",
        2,
        ("2027-02-28", "2027-03-01"),
        ("2027-02-27T23:00", "2027-02-28T23:00", "2027-03-01T23:00"),
    ),
}


async def bounds(brand: Brand, who: str) -> list[tuple[str, str]]:
    """Where each period begins and the last instant it includes."""
    rows = (await brand.seen(who))["targets"]
    return [(row["periodStartDateWithTimeStampISO"], row["periodEndDateWithTimeStampISO"]) for row in rows]


def last_millisecond(end: str) -> str:
    """2026-03-07T05:00 is excluded; what comes right before it."""
    hour, minute = divmod(int(end[11:13]) * 60 + int(end[14:16]) - 1, 60)
    return f"{end[:11]}{hour:02}:{minute:02}:59.999Z"


@pytest.mark.asyncio
@pytest.mark.parametrize("nights", NIGHTS.values(), ids=NIGHTS)
async def test_a_daily_streak_counts_every_day_at_its_first_instant_and_at_its_last(
    found: Found, globex: Brand, nights: Nights
) -> None:
    acme = await found("Acme", zone=nights.zone, at=nights.days[0])
    length = len(nights.days)
    one_purchase = {"targetEntity": "TRANSACTION", "targetType": "COUNT"}
    await acme.create(
        programme(
            periods=nights.count, step="DAILY", first=nights.days[0], target=1, measure=one_purchase, levels=[length]
        )
    )
    for who in ("ana", "ben"):
        await acme.enrol(who)

    lines = []
    for number, day in enumerate(nights.days, start=1):
        reached = f"; level_reached Level_{length} {length}; reward_earned Level_{length} {10 * length}"
        met = f"progressed Cycle_{number} 1; achieved Cycle_{number}{reached if number == length else ''}"
        lines += [
            f"{day} 00:00:00.000  ben buys 1      -> {met}",
            f"{day} 23:59:59.999  ana buys 1      -> {met}",
            f"                    ben stands at   -> {number}" + (f"; Level_{length}" if number == length else ""),
        ]
    await tell(acme, "\n".join(lines))

    assert [period["startDate"] for period in acme.group["periods"]] == list(nights.days)
    assert [period["endDate"] for period in acme.group["periods"]] == list(nights.days)
    assert await bounds(acme, "ana") == [
        (f"{start}:00.000Z", last_millisecond(end)) for start, end in pairwise(nights.bounds)
    ]


@pytest.mark.asyncio
async def test_both_passes_of_a_repeated_hour_are_one_day(found: Found, globex: Brand) -> None:
    """In New York 01:30 comes at 05:30 UTC and again at 06:30 UTC; written without zone it is the first."""
    acme = await found("Acme", zone="America/New_York", at="2026-11-01 03:00")
    await acme.create(programme(periods=2, step="DAILY", first="2026-11-01", target=10, levels=[1]))
    await acme.enrol("ana")
    await acme.buy("ana", 1, dated="2026-11-01 01:30")

    again = [await acme.resend("ana", occurredAt=f"2026-11-01T0{hour}:30:00Z") for hour in (5, 6)]

    assert again == [["duplicate"], ["refused 390005"]]
    assert await acme.buy("ana", 1, dated="2026-11-01T06:30:00Z") == ["progressed Cycle_1 2"]


@pytest.mark.asyncio
async def test_a_skipped_local_time_is_the_instant_of_the_jump(found: Found, globex: Brand) -> None:
    """In Lord Howe clocks go from 02:00 to 02:30: all between them is 15:30 UTC the day before."""
    acme = await found("Acme", zone="Australia/Lord_Howe", at="2026-10-04 12:00")
    await acme.create(programme(first="2026-10-01"))
    await acme.enrol("ana")
    await acme.buy("ana", 1, dated="2026-10-04 02:15")

    assert await acme.resend("ana", occurredAt="2026-10-03T15:30:00Z") == ["duplicate"]


@pytest.mark.asyncio
async def test_the_programmes_zone_wins_over_the_organisations(acme: Brand) -> None:
    """Berlin's brand, a programme in Tokyo: its February begins at 16:00 in Berlin."""
    await acme.create(programme(timeZoneName="Asia/Tokyo", rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-01-10 12:00         ana enrols     -> enrolled Cycle_1
                                 ana buys 100   -> progressed Cycle_1 100; achieved Cycle_1
        2026-01-31 15:59:59.999  ana buys 1     -> progressed Cycle_1 101
        2026-01-31 16:00:00.000  ana buys 1     -> reward_earned Cycle_1 80; period_ended Cycle_1
                                                -> progressed Cycle_2 1
        """,
    )


@pytest.mark.asyncio
async def test_months_from_the_31st_begin_on_the_last_day_of_a_short_month(acme: Brand) -> None:
    group = await acme.create(programme(first="2026-01-31"))

    assert [(period["startDate"], period["endDate"]) for period in group["periods"]] == [
        ("2026-01-31", "2026-02-27"),
        ("2026-02-28", "2026-03-30"),
        ("2026-03-31", "2026-04-29"),
        ("2026-04-30", "2026-05-30"),
        ("2026-05-31", "2026-06-29"),
    ]


@pytest.mark.asyncio
async def test_an_end_is_included_down_to_its_grain(acme: Brand) -> None:
    """Written as a day, a second or a millisecond, 29 March ends where the 30th begins, in summer time already."""
    for grain in ("", "T23:59:59", "T23:59:59.999"):
        await acme.create(programme(name=f"Until {grain}", periods=[("Easter", "2026-03-28", f"2026-03-29{grain}")]))
        await acme.enrol("ana")

        assert await bounds(acme, "ana") == [("2026-03-27T23:00:00.000Z", "2026-03-29T21:59:59.999Z")]


@pytest.mark.asyncio
async def test_a_purchase_dated_on_a_day_that_never_was_counts_on_the_next(found: Found, globex: Brand) -> None:
    acme = await found("Acme", zone="Pacific/Apia", at="2011-12-31 12:00")
    await acme.create(programme(periods=4, step="DAILY", first="2011-12-29"))
    await acme.enrol("ana")

    assert [period["startDate"] for period in acme.group["periods"]] == ["2011-12-29", "2011-12-31", "2012-01-01"]
    assert await acme.buy("ana", 1, dated="2011-12-30 12:00") == ["progressed Cycle_2 1"]
