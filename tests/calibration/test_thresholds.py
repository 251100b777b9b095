"""Estimates, operating points, and the options they come from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.calibration.estimate import fitted_threshold, student_quantile
from edge_ad.calibration.limits import map_threshold
from edge_ad.calibration.operating import cost_threshold, f1_threshold
from edge_ad.calibration.options import area_of, numbers, pixel_of
from edge_ad.errors import OptionError
from edge_ad.regions import find_regions
from edge_ad.runtime.result import decide, normalised_score

SCORES = st.lists(st.integers(0, 30).map(lambda n: n / 10), min_size=1, max_size=25)


@pytest.mark.parametrize("freedom", [1, 1.7, 2, 3, 7, 30, 400])
def test_student_quantiles_are_scipys(freedom):
    stats = pytest.importorskip("scipy.stats")
    for probability in (1e-4, 0.01, 0.3, 0.5, 0.9, 0.975, 0.99, 0.9999):
        expected = stats.t.ppf(probability, freedom)
        assert student_quantile(probability, freedom) == pytest.approx(expected, rel=2e-4, abs=1e-9)


def test_an_estimate_is_a_prediction_limit_of_the_logarithms():
    rng = np.random.default_rng(0)
    passed = []
    for _ in range(3000):
        scores = np.exp(rng.normal(-1, 0.3, 9))
        passed.append(scores[-1] >= fitted_threshold([[score] for score in scores[:-1]], 0.05))
    assert 0.03 < np.mean(passed) < 0.06  # a little below 5 %, since the highest score is never passed


def test_an_estimate_never_lies_within_the_scores():
    assert fitted_threshold([[1.0], [1.1], [9.0]], 0.9) > 9.0
    assert fitted_threshold([[1.0, 1.1, 0.9], [1.2, 1.3, 1.1]], 0.01) > fitted_threshold([[1.0], [1.2]], 0.2)
    for score in (63.69653177045817, *np.random.default_rng(0).uniform(0, 100, 200)):  # exp(log(x)) may be below x
        assert fitted_threshold([[score]] * 3, 0.01) > score
    with pytest.raises(ValueError, match="two scores"):
        fitted_threshold([[1.0]], 0.1)


@given(st.floats(0, 1e30), st.sampled_from([1.0, 1 + 1e-9]))
def test_a_threshold_of_a_map_lies_above_the_level_that_it_is_to_exclude(value, factor):
    level = np.float32(value)
    pixels = np.array([[level]])
    assert find_regions(pixels, map_threshold(float(np.nextafter(float(level), np.inf)))) == []
    assert len(find_regions(pixels, map_threshold(float(level)))) == 1
    found = map_threshold(value * factor)
    assert found >= value * factor
    assert float(np.float32(found)) == found
    assert np.isfinite(map_threshold(1e300))


@pytest.mark.parametrize("parts", [2, 4])
def test_an_estimate_from_few_shots_keeps_the_rate_and_is_no_number_that_every_part_passes(parts):
    rng = np.random.default_rng(0)
    passed, found = [], []
    for _ in range(800):
        groups = [np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.3, 5)) for _ in range(parts)]
        found.append(fitted_threshold(groups, 0.05))
        passed.append(np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.3)) >= found[-1])
    assert np.mean(passed) < 0.06
    assert np.quantile(found, 0.9) < 10  # with k - 1 degrees of freedom, 43 for two shots


@given(SCORES, SCORES)
def test_best_f1_is_that_of_trying_every_threshold(good, bad):
    choice = f1_threshold(good, bad)

    def f1(threshold):
        hits, alarms = sum(s >= threshold for s in bad), sum(s >= threshold for s in good)
        return 2 * hits / (hits + alarms + len(bad))

    assert f1(choice.threshold) == pytest.approx(max(f1(t) for t in {*good, *bad}))
    assert choice.false_rejects == pytest.approx(np.mean([s >= choice.threshold for s in good]))
    assert choice.escapes == pytest.approx(np.mean([s < choice.threshold for s in bad]))


@given(SCORES, SCORES, st.floats(0.1, 50), st.one_of(st.none(), st.floats(0.001, 0.9)))
def test_lowest_cost_is_that_of_trying_every_threshold(good, bad, ratio, share):
    choice = cost_threshold(good, bad, ratio, share)
    pi = len(bad) / (len(good) + len(bad)) if share is None else share

    def cost(threshold):
        return pi * ratio * np.mean([s < threshold for s in bad]) + (1 - pi) * np.mean([s >= threshold for s in good])

    assert cost(choice.threshold) == pytest.approx(min(cost(t) for t in {*good, *bad, 99.0}))


def test_costs_that_cannot_be_are_refused():
    for arguments in (([], [1.0], 1), ([1.0], [], 1), ([1.0], [2.0], 0), ([1.0], [2.0], 1, 1.5)):
        with pytest.raises(ValueError, match="cost"):
            cost_threshold(*arguments)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-6, 1e6), st.one_of(st.none(), st.floats(0, 1e6)))
def test_normalised_scores_rise_with_the_score_and_are_a_half_at_the_threshold(one, other, threshold, middle):
    low, high = (normalised_score(score, threshold, middle) for score in sorted((one, other)))
    assert 0 <= low <= high <= 1
    assert normalised_score(threshold, threshold, middle) == 0.5
    for score, value in zip(sorted((one, other)), (low, high)):
        assert (value >= 0.5) == (decide(score, threshold) == "bad")
    if middle is not None and middle < threshold:
        assert normalised_score(middle, threshold, middle) == pytest.approx(0.25)
    assert normalised_score(one, None, middle) is None


def test_a_score_that_is_no_number_is_not_good():
    assert decide(float("nan"), 1.0) == "bad"


def test_options_are_read_or_refused():
    assert numbers("--lambda", "auto", low=0, high=1) is None
    assert numbers("--lambda", "keep", low=0, high=1) == ()
    assert numbers("--lambda", "0.2,0.4,0.2", low=0, high=1) == (0.2, 0.4)
    assert (pixel_of("auto"), pixel_of("1.5")) == (None, 1.5)
    assert (area_of("12", None), area_of("12px", None)) == (12.0, 12.0)
    assert area_of("0.5mm2", 0.1) == pytest.approx(50)
    assert area_of("0.5mm²", 0.1) == pytest.approx(50)
    for call in (
        lambda: numbers("--lambda", "0,0.5", low=0, high=1, open_low=True),
        lambda: numbers("--lambda", "much", low=0, high=1),
        lambda: numbers("--fusion", "1.5", low=0, high=1),
        lambda: pixel_of("-1"),
        lambda: pixel_of("nan"),
        lambda: area_of("0", None),
        lambda: area_of("1mm2", None),
        lambda: area_of("1mm2", -1.0),
    ):
        with pytest.raises(OptionError, match="--"):
            call()
