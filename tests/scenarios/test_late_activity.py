"""Activity that comes late, early, twice, or under an id that was used."""

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.story import tell


@pytest.mark.asyncio
async def test_late_activity_counts_until_the_period_is_due_and_not_from_then_on(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")], offsetDays=3))

    await tell(
        acme,
        """
        2026-01-05 12:00         ana enrols                         -> enrolled Cycle_1
                                 ben enrols                         -> enrolled Cycle_1
        2026-02-03 23:59:59.999  ana buys 100 dated 2026-01-31      -> progressed Cycle_1 100; achieved Cycle_1
        2026-02-04 00:00:00.000  ben buys 100 dated 2026-01-31      -> warned 390007
                                 ana waits                          -> reward_earned Cycle_1 80; period_ended Cycle_1
                                 ben has                            -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_by_default_a_period_is_due_when_it_ends(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-05 12:00         ana enrols                                -> enrolled Cycle_1
        2026-01-31 23:59:59.999  ana buys 1                                -> progressed Cycle_1 1
        2026-02-01 00:00:00.000  ana buys 1 dated 2026-01-31 23:59:59.999  -> warned 390007
        """,
    )


@pytest.mark.asyncio
async def test_days_of_grace_are_days_of_the_calendar_across_a_change_of_clocks(acme: Brand) -> None:
    """Berlin loses an hour on 29 March: two days after the 28th are 47 hours."""
    await acme.create(programme(periods=[("Week", "2026-03-22", "2026-03-27")], offsetDays=2))

    await tell(
        acme,
        """
        2026-03-25 12:00         ana enrols                     -> enrolled Week
        2026-03-29 23:59:59.999  ana buys 1 dated 2026-03-27    -> progressed Week 1
        2026-03-30 00:00:00.000  ana buys 1 dated 2026-03-27    -> warned 390007
        """,
    )


@pytest.mark.asyncio
async def test_too_late_is_said_only_where_no_programme_counts_it_and_one_would_have(acme: Brand) -> None:
    await acme.create(programme(name="Patient", offsetDays=10, automatic=True))
    await acme.create(programme(name="Strict"))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                     -> enrolled Cycle_1
        2026-02-05 12:00  ana buys 1 dated 2026-01-31    -> enrolled Cycle_1; progressed Cycle_1 1
                          ben buys 1 dated 2026-01-31    -> enrolled Cycle_1; progressed Cycle_1 1
        2026-03-05 12:00  ana buys 1 dated 2026-01-31    -> warned 390007
                          ana buys 1 dated 2025-12-31    -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_five_minutes_ahead_is_a_clock_that_is_fast_and_more_is_refused(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-31 23:58  ana enrols                                   -> enrolled Cycle_1
                          ana buys 1 dated 2026-02-01 00:03:00.000     -> progressed Cycle_2 1
                          ana buys 1 dated 2026-02-01 00:03:00.001     -> refused 390006
        2026-01-31 23:58:00.001  ana's last purchase comes again       -> progressed Cycle_2 2
        """,
    )


@pytest.mark.asyncio
async def test_an_id_counts_once_and_other_content_under_it_is_a_conflict(acme: Brand) -> None:
    await acme.create(programme())
    await acme.at("2026-01-05")
    await acme.enrol("ana")
    await acme.enrol("ben")
    first = await acme.buy("ana", 1.0)
    dated = acme.sent[-1]["occurredAt"]

    assert first == ["progressed Cycle_1 1"]
    assert await acme.resend("ana") == ["duplicate"]
    assert await acme.resend("ana", attributes={"amount": "1.00", "grossAmount": 1}) == ["duplicate"]
    assert await acme.resend("ana", attributes={"amount": 1.001, "grossAmount": 1}) == ["refused 390005"]
    assert await acme.resend("ana", occurredAt="2026-01-04T23:00:00.001Z") == ["refused 390005"]
    assert await acme.resend("ana", occurredAt=dated.replace("T23:00:00Z", "T23:00:00.000Z")) == ["duplicate"]
    assert await acme.resend("ana", type="lap") == ["refused 390005"]
    assert await acme.resend("ben", customerId=602) == ["progressed Cycle_1 1"], "ids are each customer's own"
    assert await acme.values("ana") == ["Cycle_1 1"]


@pytest.mark.asyncio
async def test_a_refused_activity_leaves_its_id_free(acme: Brand) -> None:
    await acme.create(programme())
    await acme.at("2026-01-05")
    await acme.enrol("ana")

    assert await acme.buy("ana", 5, dated="2026-01-05T12:00:00") == ["refused 390006"]
    assert await acme.resend("ana", occurredAt="2026-01-05T00:00:00") == ["progressed Cycle_1 5"]


@pytest.mark.asyncio
async def test_who_is_out_by_now_still_earns_an_immediate_reward_of_an_ended_month(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(50)], offsetDays=5))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                     -> enrolled Cycle_1
        2026-02-02 12:00  ana un-enrols                  -> un_enrolled Cycle_2
        2026-02-03 12:00  ana buys 100 dated 2026-01-31  -> progressed Cycle_1 100; achieved Cycle_1
                                                         -> reward_earned Cycle_1 50
        """,
    )


@pytest.mark.asyncio
async def test_too_late_is_not_said_to_whom_it_would_not_have_counted_for_and_enrols_nobody(acme: Brand) -> None:
    await acme.create(programme(automatic=True))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana buys 1                   -> enrolled Cycle_1; progressed Cycle_1 1
        2026-01-06 12:00  ana un-enrols                -> un_enrolled Cycle_1
        2026-02-05 12:00  ana buys 1 dated 2026-01-31  -> nothing
                          ben buys 1 dated 2026-01-31  -> warned 390007
                          ben un-enrols                -> opted_out
        """,
    )


@pytest.mark.asyncio
async def test_five_minutes_ahead_may_reach_into_the_next_month_and_is_forfeited_with_it(acme: Brand) -> None:
    await acme.create(programme(rewards=[points(80, "PERIOD_END")], automatic=True))

    await tell(
        acme,
        """
        2026-01-31 23:58  ana buys 100 dated 2026-02-01 00:01  -> enrolled Cycle_2; progressed Cycle_2 100
                                                               -> achieved Cycle_2
                          ana buys 100                         -> enrolment_moved_back Cycle_1
                                                               -> progressed Cycle_1 100; achieved Cycle_1
        2026-01-31 23:59  ana un-enrols                        -> un_enrolled Cycle_1
                                                 -> reward_forfeited Cycle_1 80 "un-enrolled before period end"
                                                 -> reward_forfeited Cycle_2 80 "un-enrolled before period end"
        2026-03-01        ana has                -> Cycle_1 80 forfeited "un-enrolled before period end"
                                                 -> Cycle_2 80 forfeited "un-enrolled before period end"
        """,
    )
