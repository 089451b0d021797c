"""What `make compare` makes of its pairs: medians, intervals and verdicts."""

import random

import pytest
from benchmarks.compare.judgement import Judgement, Sample, Verdict, interval


def samples(*cpu_us: float) -> list[Sample]:
    """Runs of 1,000 activities in a second, whose CPU is half the server's and half the database's."""
    return [Sample(1_000, 1.0, each / 2_000, each / 2_000) for each in cpu_us]


def judgement(*new: float, base: float = 100.0) -> Judgement:
    return Judgement("batches", "activity", samples(*[base] * len(new)), samples(*new))


def test_of_nine_ratios_the_second_lowest_and_the_second_highest_enclose_the_true_one_with_96_percent() -> None:
    found = interval([1.09, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08])

    assert (found.ratio, found.low, found.high) == (1.05, 1.02, 1.08)
    assert found.confidence == pytest.approx(1 - 20 / 512)


def test_of_eight_ratios_or_fewer_all_are_enclosed_and_below_six_that_is_less_than_95_percent() -> None:
    eight, six, five = interval([1, 2, 3, 4, 5, 6, 7, 8]), interval([1, 2, 3, 4, 5, 6]), interval([1, 2, 3, 4, 5])

    assert [(found.low, found.high) for found in (eight, six, five)] == [(1, 8), (1, 6), (1, 5)]
    assert six.confidence == pytest.approx(0.96875)
    assert five.confidence == pytest.approx(0.9375)


def test_one_pair_encloses_nothing() -> None:
    assert interval([1.5]).confidence == 0


def test_the_interval_holds_the_true_ratio_as_often_as_it_says_whatever_the_distribution() -> None:
    dice = random.Random(12)

    # A long tail to one side: its median is 1, its mean far from it.
    held = sum(
        found.low <= 1 <= found.high
        for found in (interval([dice.lognormvariate(0, 1) for _ in range(9)]) for _ in range(4_000))
    )

    assert 0.95 < held / 4_000 < 0.972


def test_what_disturbs_both_sides_of_a_pair_does_not_change_its_ratio() -> None:
    disturbed = Judgement("batches", "activity", samples(100, 300, 100), samples(110, 330, 110))

    found = disturbed.interval("cpu_us")

    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(1.1))


def test_halves_of_a_run_add_up() -> None:
    whole = Sample(100, 1.0, 0.2, 0.1) + Sample(300, 3.0, 0.6, 0.5)

    assert (whole.rate, whole.server_us, whole.database_us) == (100, pytest.approx(2_000), pytest.approx(1_500))
    assert whole.cpu_us == pytest.approx(3_500)


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ([105.0] * 9, Verdict.KEPT),
        ([105.1] * 9, Verdict.EXCEEDED),
        ([100.0, 100.0, *[107.0] * 7], Verdict.OPEN),
        ([100.0, *[107.0] * 8], Verdict.EXCEEDED),
        ([*[100.0] * 7, 107.0, 107.0], Verdict.OPEN),
        ([*[100.0] * 8, 107.0], Verdict.KEPT),
        ([50.0] * 9, Verdict.KEPT),
    ],
)
def test_a_bound_is_exceeded_only_if_the_whole_interval_is_beyond_it(new: list[float], verdict: Verdict) -> None:
    assert judgement(*new).verdict(5) is verdict


def test_a_sentence_says_which_way_it_went_or_that_nothing_was_seen() -> None:
    more, less, same = judgement(*[103.0] * 9), judgement(*[90.0] * 9), judgement(*[99.0, 101.0] * 5)

    assert "CPU of one activity 3.0 % more (3.0 to 3.0 %)" in more.sentence()
    assert "CPU of one activity 10.0 % less (10.0 to 10.0 %)" in less.sentence()
    assert "CPU of one activity not seen to change: +0.0 % (-1.0 to +1.0 %)" in same.sentence()
    assert "rate not seen to change" in more.sentence()


@pytest.mark.parametrize("pair_count", [1, 9])
def test_the_table_has_a_line_for_each_measure_with_both_medians_and_the_ratio(pair_count: int) -> None:
    in_all, server, database, rate = judgement(*[103.0] * pair_count).lines()

    assert "100 (100 to 100)" in in_all
    assert "103 (103 to 103)  us/activity  1.030 (1.030 to 1.030)" in in_all
    assert "us/activity  1.030" in server
    assert "us/activity  1.030" in database
    assert "1,000 (1,000 to 1,000)  activity/s   1.000" in rate


def test_the_result_for_machines_has_every_run_and_every_interval() -> None:
    result = judgement(*[103.0] * 9).result()

    assert set(result["measures"]) == {"cpu_us", "server_us", "database_us", "rate"}
    assert result["measures"]["cpu_us"]["base"] == [100.0] * 9
    assert result["measures"]["server_us"]["new_median"] == 51.5
    assert (result["measures"]["cpu_us"]["ratio"], result["measures"]["cpu_us"]["low"]) == (1.03, 1.03)
