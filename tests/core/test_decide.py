"""Which answer a command gets: the order of refusals, enrolled stretches, and what counts."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.builders import Customer, build_programme, build_streak, build_target, day

from kosminar.core import decide as deciding
from kosminar.core.activity import Activity
from kosminar.core.amount import AMOUNT_LIMIT, VALUE_LIMIT, text_of
from kosminar.core.decide import Decision, Enrol, Judgement, Reason, Verdict, decide
from kosminar.core.errors import Code
from kosminar.core.fact import FactName
from kosminar.core.measure.catalogue import measure_of
from kosminar.core.measure.measure import Entity
from kosminar.core.programme import EnrolmentMethod


def automatic(**overrides: object) -> Customer:
    return Customer(build_programme(target=build_target(enrolment_method=EnrolmentMethod.TRANSACTION), **overrides))


def test_enrolling_covers_the_running_period_and_all_later_ones() -> None:
    ana = Customer(build_programme())

    ana.enrol(2.5)

    assert [s.first_period_number for s in ana.part.stretches] == [2]


def test_a_period_by_name_whatever_its_case_unless_it_has_ended() -> None:
    assert Customer(build_programme()).enrol(2.5, period_name="cycle_4").errors == ()
    assert Customer(build_programme()).enrol(2.5, period_name="Cycle_2").errors == ()
    assert Customer(build_programme()).enrol(2.5, period_name="Cycle_1").errors == (Code.UNKNOWN_PERIOD,)
    assert Customer(build_programme()).enrol(2.5, period_name="Cycle_9").errors == (Code.UNKNOWN_PERIOD,)


def test_when_all_periods_are_over_there_is_none_to_enter_or_leave() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)

    assert ana.un_enrol(6).errors == (Code.UNKNOWN_PERIOD,)
    assert Customer(build_programme()).enrol(6).errors == (Code.UNKNOWN_PERIOD,)
    assert Customer(build_programme()).enrol(6 - 1e-9).errors == ()


def test_twice_in_is_an_error_and_twice_out_a_warning() -> None:
    ana = Customer(build_programme())
    assert ana.un_enrol(1).errors == (Code.NEVER_ENROLLED,)
    ana.enrol(1)
    assert ana.enrol(1.5).errors == (Code.ALREADY_ENROLLED,)
    ana.un_enrol(2)

    assert ana.un_enrol(2.5) == Decision(ana.standing, warnings=(Code.ALREADY_UN_ENROLLED,))


def test_a_streak_ignores_period_and_balance_with_warnings() -> None:
    decision = Customer(build_streak()).enrol(3, period_name="Cycle_9", initial_balance=5_000)

    assert decision.warnings == (Code.PERIOD_NAME_IGNORED, Code.INITIAL_BALANCE_IGNORED)
    assert decision.facts[0].period_number == 3


def test_the_first_activity_enrols_automatically_and_a_late_one_moves_it_back() -> None:
    ana = automatic(offset_days=3)

    ana.buy(3.5)
    ana.buy(2.5, at=4)

    assert ana.told(FactName.ENROLLED, FactName.ENROLMENT_MOVED_BACK) == [
        ("enrolled", 3),
        ("enrolment_moved_back", 2),
    ]


def test_an_opt_out_is_remembered_until_an_enrol_call() -> None:
    ana = automatic()
    ana.un_enrol(1.1)

    assert ana.buy(1.5).verdict is Verdict.NOT_COUNTED
    ana.enrol(1.6)
    assert ana.buy(1.7).verdict is Verdict.COUNTED


def test_activity_before_the_first_enrolment_counts_in_its_period_unless_tracked_from_enrolment() -> None:
    for tracked, verdict in ((False, Verdict.COUNTED), (True, Verdict.NOT_COUNTED)):
        ana = Customer(build_programme(track_from_enrolment=tracked))
        ana.enrol(1.5)

        assert ana.buy(1.4, at=1.6).verdict is verdict
        assert ana.buy(1.5, at=1.6).verdict is Verdict.COUNTED


def test_while_out_nothing_of_the_left_period_counts_and_once_back_what_lies_inside_does() -> None:
    ana = Customer(build_programme())
    ana.enrol(1.1)
    ana.un_enrol(1.5)
    assert ana.buy(1.3, at=1.6).verdict is Verdict.NOT_COUNTED
    ana.enrol(1.7)

    assert ana.buy(1.3, at=1.8).verdict is Verdict.COUNTED
    assert ana.buy(1.5, at=1.8).verdict is Verdict.NOT_COUNTED
    assert ana.buy(1.7, at=1.8).verdict is Verdict.COUNTED


def test_activity_of_an_ended_period_counts_for_who_was_in_at_its_end() -> None:
    ana = Customer(build_programme(offset_days=2))
    ana.enrol(1)
    ana.un_enrol(2.5)

    assert ana.buy(1.5, at=2.6).verdict is Verdict.COUNTED
    assert ana.buy(2.2, at=3.5).verdict is Verdict.NOT_COUNTED


def test_late_is_after_the_due_instant_and_only_said_to_who_would_have_been_counted() -> None:
    ana = Customer(build_programme(offset_days=1))
    ana.enrol(1)

    assert ana.buy(1.5, at=3 - 1e-9).verdict is Verdict.COUNTED
    assert ana.buy(1.5, at=3).verdict is Verdict.TOO_LATE
    assert Customer(build_programme(offset_days=1)).buy(1.5, at=3).verdict is Verdict.NOT_COUNTED


def test_nothing_counts_in_a_deactivated_programme() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.programme = build_programme(deactivated_at=ana.programme.periods[0].starts_at + timedelta(hours=12))

    assert ana.buy(1.4, at=1.6).verdict is Verdict.NOT_COUNTED


def test_an_activity_that_would_take_a_value_to_its_limit_counts_for_nothing() -> None:
    largest = AMOUNT_LIMIT - 1
    full, room = divmod(VALUE_LIMIT - 1, largest)
    ana = automatic()
    for _ in range(full):
        ana.buy(1.5, text_of(largest))
    before = ana.standing

    over = ana.buy(1.5, text_of(room + 1))
    assert (over.verdict, over.reason, ana.standing) == (Verdict.NOT_COUNTED, Reason.NO_NUMBER, before)
    assert ana.buy(1.5, text_of(room)).verdict is Verdict.COUNTED
    assert ana.part.progress_in(ana.programme.period(1)).value == VALUE_LIMIT - 1
    assert ana.buy(1.5, "0").verdict is Verdict.COUNTED
    assert ana.buy(1.5, "0.001").verdict is Verdict.NOT_COUNTED
    assert ana.buy(2.5, "0.001").verdict is Verdict.COUNTED


def test_an_activity_that_would_pass_the_limit_does_not_enrol(monkeypatch: pytest.MonkeyPatch) -> None:
    # One amount alone comes nowhere near the limit, so it is brought near here.
    monkeypatch.setattr(deciding, "VALUE_LIMIT", 100_000)
    ana, ben = automatic(), automatic()

    assert ana.buy(1.5, "100").verdict is Verdict.NOT_COUNTED
    assert ana.facts == []
    assert ana.part.stretches == ()
    assert ben.buy(1.5, "99.999").verdict is Verdict.COUNTED
    assert ben.part.enrolled


REASONS = {
    "deactivated": Reason.DEACTIVATED,
    "between two periods": Reason.OUTSIDE_PERIODS,
    "no number": Reason.NO_NUMBER,
    "opted out": Reason.OPTED_OUT,
    "never enrolled": Reason.NOT_ENROLLED,
    "in a later period only": Reason.NOT_ENROLLED,
    "before the enrolment": Reason.BEFORE_ENROLMENT,
    "while out": Reason.WHILE_OUT,
    "out at the end": Reason.WHILE_OUT,
    "too late": Reason.TOO_LATE,
    "counted": Reason.COUNTED,
    "a day twice": Reason.DAY_COUNTED,
}


@pytest.mark.parametrize("case", REASONS)
def test_every_judgement_says_the_first_reason_that_holds(case: str) -> None:
    judgement = judged(case)

    assert judgement.reason is REASONS[case]
    counted = judgement.reason in (Reason.COUNTED, Reason.DAY_COUNTED)
    assert (judgement.verdict is Verdict.COUNTED) is counted
    assert (judgement.value is not None) is counted


def judged(case: str) -> Judgement:
    ana = Customer(build_programme(offset_days=1))
    match case:
        case "deactivated":
            ana.enrol(1)
            ana.programme = build_programme(deactivated_at=day(1.2), deactivated_version=2)
            return ana.buy(1.1, "-1", at=1.5)
        case "between two periods":
            return ana.buy(9)
        case "no number":
            return ana.buy(1.5, "-1")
        case "opted out":
            ana = automatic()
            ana.un_enrol(1.1)
        case "in a later period only":
            ana.enrol(1.1, period_name="Cycle_3")
        case "before the enrolment":
            ana = Customer(build_programme(track_from_enrolment=True))
            ana.enrol(1.7)
            return ana.buy(1.5, at=1.8)
        case "while out":
            ana.enrol(1.1)
            ana.un_enrol(1.2)
        case "out at the end":
            ana.enrol(1)
            ana.un_enrol(1.7)
            return ana.buy(1.5, at=2.5)
        case "too late":
            ana.enrol(1)
            return ana.buy(1.5, at=3)
        case "counted":
            ana.enrol(1)
        case "a day twice":
            visits = measure_of(Entity.TRANSACTION, "VISIT", "transaction", None)
            ana = Customer(build_programme(target=build_target(measure=visits)))
            ana.enrol(1)
            ana.buy(1.3)
    return ana.buy(1.5)


def test_a_judgement_says_what_was_added_and_where_the_value_stands() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(2.5, "40")

    judgement = ana.buy(2.6, "0.5")

    assert (judgement.period_number, judgement.amount, judgement.value) == (2, 500, 40_500)


def test_a_group_of_several_targets_judges_by_each_and_wakes_for_the_first() -> None:
    spend = build_target()
    visits = build_target(target_id=8, measure=measure_of(Entity.TRANSACTION, "VISIT", "transaction", None))
    group = build_programme(targets=(spend, visits))
    standing = decide(group, group.untouched, Enrol(7), day(1)).standing

    decision = decide(group, standing, Activity("one", "transaction", day(1.5), {"amount": 100}), day(1.5))

    assert [(j.target_id, j.reason) for j in decision.judgements] == [(7, Reason.COUNTED), (8, Reason.NOT_ENROLLED)]
    assert {fact.target_id for fact in decision.facts} == {7}
    assert decision.standing.targets[1] is standing.targets[1]
    assert decision.standing.wakes_at == day(2)


def test_time_next_changes_a_standing_only_where_it_has_something_to_decide() -> None:
    ana, ben = Customer(build_programme(offset_days=1)), Customer(build_streak(offset_days=2))
    ana.enrol(1)
    ben.enrol(1)
    assert (ana.standing.wakes_at, ben.standing.wakes_at) == (None, None)

    ana.buy(2.5)
    ben.buy(2.5)
    assert (ana.standing.wakes_at, ben.standing.wakes_at) == (day(4), day(6))

    ana.buy(3.5)
    assert ana.standing.wakes_at == day(4)

    ana.wait(5)
    ben.un_enrol(2.7)
    assert (ana.standing.wakes_at, ben.standing.wakes_at) == (None, None)


def test_a_standing_of_an_earlier_definition_is_looked_at_again() -> None:
    ana = Customer(build_programme(offset_days=1))
    ana.enrol(1)
    ana.buy(1.5)
    assert ana.standing.wakes_at == day(3)

    ana.programme = build_programme(offset_days=1, deactivated_at=day(1.7), deactivated_version=2)

    assert [fact.name for fact in ana.wait(1.7)] == [FactName.REWARD_FORFEITED, FactName.PERIOD_ENDED]


def test_a_refusal_changes_nothing_not_even_what_fell_due() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)

    assert ana.enrol(2.5).facts == ()
    assert ana.wait(2.5) != []


STEPS = st.lists(
    st.tuples(
        st.floats(min_value=0.01, max_value=0.9),
        st.one_of(
            st.tuples(st.just("enrol"), st.booleans()),
            st.tuples(st.just("un_enrol"), st.none()),
            st.tuples(st.just("buy"), st.floats(min_value=0, max_value=2)),
        ),
    ),
    max_size=30,
)


@pytest.mark.parametrize("build", [build_programme, build_streak])
@settings(deadline=None, max_examples=150)
@given(steps=STEPS, offset_days=st.integers(min_value=0, max_value=2))
def test_deciding_is_total_and_when_it_is_settled_makes_no_difference(
    build: object, steps: list, offset_days: int
) -> None:
    eager, lazy = Customer(build(offset_days=offset_days)), Customer(build(offset_days=offset_days))
    at = 0.5
    for wait, (name, detail) in steps:
        at += wait
        eager.wait(at)
        for ana in (eager, lazy):
            match name:
                case "enrol":
                    ana.enrol(at, reset=detail)
                case "un_enrol":
                    ana.un_enrol(at)
                case "buy":
                    ana.buy(at - detail, "60", at=at)
    eager.wait(20)
    lazy.wait(20)

    assert eager.standing == lazy.standing
    assert eager.facts == lazy.facts
    earned = [
        (f.reward_definition_id, f.period_number, f.level_id, f.level_id and f.run)
        for f in eager.facts
        if f.name is FactName.REWARD_EARNED
    ]
    assert len(earned) == len(set(earned))
