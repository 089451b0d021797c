"""Which activity counts: dated inside an enrolled stretch, arrived in time, judged once; and who is enrolled by it."""

import pytest
from tests.scenarios.brand import Brand, points, programme
from tests.scenarios.story import tell


@pytest.mark.asyncio
async def test_earlier_activity_of_the_first_period_counts_if_it_arrives_after_the_enrolment(acme: Brand) -> None:
    await acme.create(programme(offsetDays=20))

    await tell(
        acme,
        """
        2026-02-10 11:00  ana buys 40                                -> nothing
        2026-02-10 12:00  ana enrols                                 -> enrolled Cycle_2
                          ana's last purchase comes again            -> duplicate
                          ana buys 30 dated 2026-02-10 11:00         -> progressed Cycle_2 30
                          ana buys 30 dated 2026-02-01 00:00         -> progressed Cycle_2 60
                          ana buys 30 dated 2026-01-31 23:59:59.999  -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_tracked_from_enrolment_only_activity_dated_at_or_after_it_counts(acme: Brand) -> None:
    await acme.create(programme(trackFromEnrolment=True))

    await tell(
        acme,
        """
        2026-02-10 12:00  ana enrols                                 -> enrolled Cycle_2
                          ana buys 30 dated 2026-02-10 11:59:59.999  -> nothing
                          ana buys 30 dated 2026-02-10 12:00:00.000  -> progressed Cycle_2 30
        """,
    )


@pytest.mark.asyncio
async def test_a_stretch_includes_its_enrolment_and_excludes_its_un_enrolment(acme: Brand) -> None:
    await acme.create(programme())

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                                 -> enrolled Cycle_1
        2026-01-10 12:00  ana un-enrols                              -> un_enrolled Cycle_1
        2026-01-20 12:00  ana enrols                                 -> re_enrolled Cycle_1
        2026-01-21 12:00  ana buys 1 dated 2026-01-10 11:59:59.999   -> progressed Cycle_1 1
                          ana buys 1 dated 2026-01-10 12:00:00.000   -> nothing
                          ana buys 1 dated 2026-01-20 11:59:59.999   -> nothing
                          ana buys 1 dated 2026-01-20 12:00:00.000   -> progressed Cycle_1 2
        """,
    )


@pytest.mark.asyncio
async def test_while_outside_nothing_of_the_period_that_was_left_counts_whatever_its_date(acme: Brand) -> None:
    await acme.create(programme(offsetDays=5))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                                 -> enrolled Cycle_1
        2026-02-02 12:00  ana un-enrols                              -> un_enrolled Cycle_2
        2026-02-03 12:00  ana buys 1 dated 2026-02-01 12:00          -> nothing
                          ana buys 1 dated 2026-01-31 12:00          -> progressed Cycle_1 1
        2026-02-04 12:00  ana enrols                                 -> re_enrolled Cycle_2
                          ana buys 2 dated 2026-02-01 12:00          -> progressed Cycle_2 2
                          ana buys 4 dated 2026-02-03 12:00          -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_back_in_a_later_period_the_period_that_was_left_stays_closed(acme: Brand) -> None:
    await acme.create(programme(offsetDays=10))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                                 -> enrolled Cycle_1
        2026-01-20 12:00  ana un-enrols                              -> un_enrolled Cycle_1
        2026-02-02 12:00  ana enrols                                 -> re_enrolled Cycle_2
                          ana buys 1 dated 2026-01-10 12:00          -> nothing
                          ana buys 1 dated 2026-02-01 12:00          -> nothing
                          ana buys 1                                 -> progressed Cycle_2 1
        """,
    )


@pytest.mark.asyncio
async def test_outside_every_period_nothing_counts(acme: Brand) -> None:
    await acme.create(programme(periods=[("June", "2026-06-01", "2026-06-30"), ("August", "2026-08-01", "2026-08-31")]))

    await tell(
        acme,
        """
        2026-05-31 23:59:59.999  ana enrols  -> enrolled June
                                 ana buys 1  -> nothing
        2026-06-01 00:00:00.000  ana buys 1  -> progressed June 1
        2026-06-30 23:59:59.999  ana buys 1  -> progressed June 2
        2026-07-01 00:00:00.000  ana buys 1  -> nothing
        2026-09-01 00:00:00.000  ana buys 1  -> nothing
        """,
    )


@pytest.mark.asyncio
async def test_the_first_activity_that_counts_enrols_and_a_late_one_moves_the_enrolment_back(acme: Brand) -> None:
    await acme.create(programme(automatic=True, offsetDays=5, rewards=[points(80, "PERIOD_END")]))

    await tell(
        acme,
        """
        2026-03-02 12:00  ana buys 10                        -> enrolled Cycle_3; progressed Cycle_3 10
                          ana is out of                      -> Cycle_1; Cycle_2
        2026-03-03 12:00  ana buys 100 dated 2026-02-27      -> enrolment_moved_back Cycle_2; progressed Cycle_2 100
                                                             -> achieved Cycle_2
                          ana is out of                      -> Cycle_1
                          ana buys 100 dated 2026-01-27      -> warned 390007
                          ana is out of                      -> Cycle_1
        2026-03-06        ana waits                          -> reward_earned Cycle_2 80; period_ended Cycle_2
        """,
    )


@pytest.mark.asyncio
async def test_a_call_enrols_there_too_and_is_not_moved_back(acme: Brand) -> None:
    await acme.create(programme(automatic=True, offsetDays=5))

    await tell(
        acme,
        """
        2026-02-02 12:00  ana enrols with balance 5        -> enrolled Cycle_2; balance_set Cycle_2 5
                          ana buys 10 dated 2026-01-31     -> nothing
                          ana buys 10 dated 2026-02-01     -> progressed Cycle_2 15
        """,
    )


@pytest.mark.asyncio
async def test_who_opted_out_before_any_activity_is_brought_back_by_a_call_only(acme: Brand) -> None:
    await acme.create(programme(automatic=True))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana un-enrols  -> opted_out
                          ana un-enrols  -> warned 390001
        2026-01-06 12:00  ana buys 100   -> nothing
        2026-02-06 12:00  ana buys 100   -> nothing
        2026-02-07 12:00  ana enrols     -> enrolled Cycle_2
                          ana buys 10    -> progressed Cycle_2 10
        """,
    )


@pytest.mark.asyncio
async def test_who_left_an_auto_enrolling_programme_is_not_brought_back_by_activity(acme: Brand) -> None:
    await acme.create(programme(automatic=True))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana buys 10    -> enrolled Cycle_1; progressed Cycle_1 10
        2026-01-06 12:00  ana un-enrols  -> un_enrolled Cycle_1
        2026-01-07 12:00  ana buys 10    -> nothing
        2026-03-07 12:00  ana buys 10    -> nothing
        2026-03-08 12:00  ana enrols     -> re_enrolled Cycle_3
                          ana buys 10    -> progressed Cycle_3 10
        """,
    )


@pytest.mark.asyncio
async def test_measures_count_what_they_name_and_a_visit_once_a_day(acme: Brand) -> None:
    body = programme(
        automatic=True, target=2, measure={"targetEntity": "EVENT", "targetType": "VISIT", "eventName": "lap"}
    )
    await acme.create(body)
    await acme.at("2026-01-11")

    assert await acme.send("ana", type="swim", occurredAt="2026-01-10T12:00:00") == []
    assert await acme.send("ana", type="lap", occurredAt="2026-01-10T00:00:00") == [
        "enrolled Cycle_1",
        "progressed Cycle_1 1",
    ]
    assert await acme.send("ana", type="lap", occurredAt="2026-01-10T23:59:59.999") == ["progressed Cycle_1 1"]
    assert await acme.send("ana", type="lap", occurredAt="2026-01-11T00:00:00") == [
        "progressed Cycle_1 2",
        "achieved Cycle_1",
    ]


@pytest.mark.asyncio
async def test_each_period_has_its_own_target_value_and_nothing_is_carried_over(acme: Brand) -> None:
    await acme.create(programme(periods=3, target=[100, 200, 50]))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols        -> enrolled Cycle_1
                          ana buys 400      -> progressed Cycle_1 400; achieved Cycle_1
        2026-02-05 12:00  ana buys 199.999  -> progressed Cycle_2 199.999
                          ana buys 0.001    -> progressed Cycle_2 200; achieved Cycle_2
        2026-03-05 12:00  ana buys 49.9994  -> progressed Cycle_3 49.999
                          ana buys 0.0005   -> progressed Cycle_3 50; achieved Cycle_3
        """,
    )


@pytest.mark.asyncio
async def test_money_is_decimal(acme: Brand) -> None:
    await acme.create(programme(target=0.3))
    await acme.at("2026-01-05")
    await acme.enrol("ana")

    assert await acme.buy("ana", 0.1) == ["progressed Cycle_1 0.1"]
    assert await acme.buy("ana", "0.20") == ["progressed Cycle_1 0.3", "achieved Cycle_1"]
    assert await acme.buy("ana", "1_0") == ["refused 300004"]
    assert await acme.buy("ana", 10**12) == ["refused 300004"]


@pytest.mark.asyncio
async def test_of_an_ended_month_days_spent_outside_do_not_count_though_in_at_its_end(acme: Brand) -> None:
    await acme.create(programme(offsetDays=5))

    await tell(
        acme,
        """
        2026-01-05 12:00  ana enrols                           -> enrolled Cycle_1
        2026-01-10 12:00  ana un-enrols                        -> un_enrolled Cycle_1
        2026-01-20 12:00  ana enrols                           -> re_enrolled Cycle_1
        2026-02-02 12:00  ana buys 1 dated 2026-01-15 12:00    -> nothing
                          ana buys 1 dated 2026-01-07 12:00    -> progressed Cycle_1 1
                          ana buys 1 dated 2026-01-02 12:00    -> progressed Cycle_1 2
        """,
    )


@pytest.mark.asyncio
async def test_an_activity_without_the_measured_number_is_recorded_and_enrols_nobody(acme: Brand) -> None:
    await acme.create(programme(automatic=True))
    await acme.at("2026-01-05")
    nothing_measured = {"type": "transaction", "occurredAt": "2026-01-04", "attributes": {"billNumber": "7"}}

    assert await acme.send("ana", **nothing_measured) == []
    assert await acme.resend("ana") == ["duplicate"]
    assert await acme.buy("ana", -1) == ["refused 300004"], "a return is no purchase"
    assert await acme.buy("ana", 0) == ["enrolled Cycle_1", "progressed Cycle_1 0"]


@pytest.mark.asyncio
async def test_achieved_at_is_the_activitys_own_time(acme: Brand) -> None:
    await acme.create(programme(offsetDays=5))
    await acme.at("2026-01-05")
    await acme.enrol("ana")
    await acme.at("2026-02-03")
    await acme.buy("ana", 100, dated="2026-01-31T22:59:59.999Z")

    [january, *_] = (await acme.seen("ana"))["targets"]

    assert january["targetAchievedDateTimeISO"] == "2026-01-31T22:59:59.999Z"
    assert january["enrolledOnISO"] == "2026-01-04T23:00:00.000Z"


@pytest.mark.asyncio
async def test_a_streak_enrolled_by_late_activity_looks_back_over_its_days_anew(acme: Brand) -> None:
    await acme.create(programme(periods=9, step="DAILY", target=10, levels=[3], automatic=True, offsetDays=5))

    await tell(
        acme,
        """
        2026-01-03 12:00  ana buys 10                    -> enrolled Cycle_3; progressed Cycle_3 10; achieved Cycle_3
        2026-01-04 12:00  ana buys 10                    -> progressed Cycle_4 10; achieved Cycle_4
                          ana stands at                  -> 2
        2026-01-04 13:00  ana buys 10 dated 2026-01-01   -> enrolment_moved_back Cycle_1; progressed Cycle_1 10
                                                         -> achieved Cycle_1
                          ana stands at                  -> 2
                          ana buys 10 dated 2026-01-02   -> progressed Cycle_2 10; achieved Cycle_2
                                                         -> level_reached Level_3 3; reward_earned Level_3 30
                          ana stands at                  -> 4; Level_3
        """,
    )
