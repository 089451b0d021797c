"""What a milestone's period end gives, and what leaving early loses."""

from tests.core.builders import Customer, build_programme, day

from kosminar.core.fact import FactName
from kosminar.core.reward import PROGRAMME_DEACTIVATED, UN_ENROLLED_BEFORE_PERIOD_END

EARNED, FORFEITED = FactName.REWARD_EARNED, FactName.REWARD_FORFEITED


def rewards(customer: Customer) -> list[tuple[str, int, int | None]]:
    return [
        (fact.name.value, fact.reward_definition_id, fact.period_number)
        for fact in customer.facts
        if fact.name in (EARNED, FORFEITED)
    ]


def test_the_immediate_reward_comes_with_the_activity_and_the_other_at_the_period_end() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)

    ana.buy(1.5)
    assert rewards(ana) == [("reward_earned", 1, 1)]

    ana.wait(2)
    assert rewards(ana) == [("reward_earned", 1, 1), ("reward_earned", 2, 1)]
    assert ana.facts[-1].at == day(2)


def test_a_period_is_settled_once() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)

    assert [fact.name for fact in ana.wait(2)] == [EARNED, FactName.PERIOD_ENDED]
    assert ana.wait(4) == []


def test_one_microsecond_before_it_is_due_nothing_is_paid() -> None:
    ana = Customer(build_programme(offset_days=1))
    ana.enrol(1)
    ana.buy(1.5)

    assert ana.wait(3 - 1e-9) == []
    assert ana.wait(3) != []


def test_leaving_forfeits_the_achieved_period_end_reward_and_keeps_the_immediate_one() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)

    decision = ana.un_enrol(1.7)

    assert rewards(ana) == [("reward_earned", 1, 1), ("reward_forfeited", 2, 1)]
    assert decision.facts[-1].reason == UN_ENROLLED_BEFORE_PERIOD_END
    assert ana.wait(9) == [ana.facts[-1]]
    assert ana.facts[-1].name is FactName.PERIOD_ENDED


def test_leaving_short_of_the_target_forfeits_nothing() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5, "99.999")

    ana.un_enrol(1.7)

    assert rewards(ana) == []


def test_left_after_the_period_ended_but_before_it_was_due_it_is_still_paid() -> None:
    ana = Customer(build_programme(offset_days=2))
    ana.enrol(1)
    ana.buy(1.5)

    ana.un_enrol(2.5)
    ana.wait(4)

    assert rewards(ana) == [("reward_earned", 1, 1), ("reward_earned", 2, 1)]


def test_left_at_the_very_end_is_left_in_the_next_period() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)

    ana.un_enrol(2)

    assert rewards(ana) == [("reward_earned", 1, 1), ("reward_earned", 2, 1)]


def test_a_forfeited_reward_comes_back_for_who_is_achieved_and_in_at_the_end() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)
    ana.un_enrol(1.6)

    ana.enrol(1.8, initial_balance=None)
    ana.wait(2)

    assert rewards(ana) == [("reward_earned", 1, 1), ("reward_forfeited", 2, 1), ("reward_earned", 2, 1)]


def test_a_replaced_balance_withdraws_the_achievement_and_never_pays_twice() -> None:
    ana = Customer(build_programme())
    ana.enrol(1)
    ana.buy(1.5)
    ana.un_enrol(1.6)
    ana.enrol(1.7, initial_balance=0)

    assert ana.part.progress[0].achieved_at is None
    ana.buy(1.8)

    assert ana.part.progress[0].achieved_at == day(1.8)
    assert [r for r in rewards(ana) if r[1] == 1] == [("reward_earned", 1, 1)]


def test_a_balance_alone_never_achieves_but_the_next_counted_activity_does() -> None:
    ana = Customer(build_programme())
    ana.enrol(1, initial_balance=150_000)
    assert ana.part.progress[0].achieved_at is None

    ana.buy(1.5, "0")

    assert ana.part.progress[0].achieved_at == day(1.5)


def test_deactivation_forfeits_the_running_period_and_pays_the_ended_one() -> None:
    programme = build_programme(offset_days=1)
    ana = Customer(programme)
    ana.enrol(1)
    ana.buy(1.5)
    ana.buy(2.5)

    ana.programme = build_programme(offset_days=1, deactivated_at=day(2.7), deactivated_version=2)
    ana.wait(9)

    # In the order of their instants: deactivated at 2.7, the first period due at 3.
    assert rewards(ana)[2:] == [("reward_forfeited", 2, 2), ("reward_earned", 2, 1)]
    assert {fact.reason for fact in ana.facts if fact.name is FORFEITED} == {PROGRAMME_DEACTIVATED}
