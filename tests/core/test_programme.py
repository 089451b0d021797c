"""What a programme answers of itself."""

from tests.core.builders import build_programme, day


def test_a_period_is_known_by_its_number_within_and_by_its_id_outside() -> None:
    programme = build_programme(period_ids=(70, 71, 90, 12, 13))

    assert [programme.period_id(period.number) for period in programme.periods] == [70, 71, 90, 12, 13]
    assert [programme.period_number(period_id) for period_id in (70, 71, 90, 12, 13)] == [1, 2, 3, 4, 5]


def test_an_id_of_another_programme_has_no_number_here() -> None:
    programme = build_programme()

    assert [programme.period_number(period_id) for period_id in (0, 1, 100, 106)] == [None] * 4
    assert programme.period_number(101) == 1


def test_the_programme_of_an_earlier_version_was_not_yet_deactivated_or_not_there() -> None:
    programme = build_programme(created_version=3, deactivated_version=5, deactivated_at=day(2))

    assert programme.as_of(2) is None
    for version, deactivated in ((3, False), (4, False), (5, True), (6, True)):
        seen = programme.as_of(version)
        assert seen is not None
        assert (seen.deactivated(day(2)), seen.window) == (deactivated, programme.window)
