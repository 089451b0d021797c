"""The account: numbers in order, and a reward given once by whatever works on one customer."""

import pytest
from tests.core.builders import build_programme, day

from kosminar.core.account import Account
from kosminar.core.activity import Activity
from kosminar.core.decide import Enrol
from kosminar.core.ledger import RewardGivenTwice


def build_account() -> Account:
    return Account(4, day(1.5), handed_over=lambda _: False)


def bill(number: int) -> Activity:
    return Activity(f"bill-{number}", "transaction", day(1.5), {"amount": 100})


def test_each_entry_takes_the_next_number_and_a_refusal_none() -> None:
    programme, account = build_programme(), build_account()

    _, first = account.command(Enrol(7), programme)
    _, refused = account.command(Enrol(7), programme)
    second = account.accept(bill(1), [programme])

    assert first is not None
    assert refused is None
    assert (first.number, second.number, account.number) == (5, 6, 6)
    assert second.changes[0].after is account.standing(programme)


def test_a_reward_that_was_given_is_not_given_again_though_the_standing_forgot_it() -> None:
    programme, account = build_programme(), build_account()
    account.command(Enrol(7), programme)
    enrolled = account.standing(programme)
    account.accept(bill(1), [programme])
    account.standings[programme.target_group_id] = enrolled

    with pytest.raises(RewardGivenTwice):
        account.accept(bill(2), [programme])
