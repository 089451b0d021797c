"""What a programme answers of itself."""

from tests.core.builders import build_programme, day

from kosminar.core.period import NUMBERS_PER_ID, numbered_id
from kosminar.core.window.fixed import EXPLICIT_COUNT_MAX, GENERATED_COUNT_MAX


def test_a_period_is_known_by_its_number_within_and_by_its_id_outside() -> None:
    programme = build_programme(target_group_id=3)

    ids = [3 * 1024 + number for number in (1, 2, 3, 4, 5)]
    assert [programme.period_id(period.number) for period in programme.periods] == ids
    assert [programme.period_number(period_id) for period_id in ids] == [1, 2, 3, 4, 5]


def test_an_id_of_another_programme_has_no_number_here() -> None:
    programme = build_programme(target_group_id=3, period_count=5)
    before, after = build_programme(target_group_id=2), build_programme(target_group_id=4)

    foreign = (0, 1, 3 * 1024, 3 * 1024 + 6, before.period_id(5), after.period_id(1))
    assert [programme.period_number(period_id) for period_id in foreign] == [None] * 6
    assert programme.period_number(3 * 1024 + 1) == 1
    assert programme.period_number(3 * 1024 + 5) == 5


def test_the_largest_group_and_the_most_periods_make_an_id_that_javascript_reads_exactly() -> None:
    assert numbered_id(2**43 - 1, 1_000) < 2**53
    assert GENERATED_COUNT_MAX < NUMBERS_PER_ID > EXPLICIT_COUNT_MAX


def test_the_programme_of_an_earlier_version_was_not_yet_deactivated_or_not_there() -> None:
    programme = build_programme(created_version=3, deactivated_version=5, deactivated_at=day(2))

    assert programme.as_of(2) is None
    for version, deactivated in ((3, False), (4, False), (5, True), (6, True)):
        seen = programme.as_of(version)
        assert seen is not None
        assert (seen.deactivated(day(2)), seen.window) == (deactivated, programme.window)
