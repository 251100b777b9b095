from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_ad.calibration.conformal import (
    conformal_threshold,
    lowest_rate,
    needed,
    resplit_rates,
    shortage,
)

SCORES = st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=60)
RATES = st.one_of(st.floats(0.002, 0.9), st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5]))


def rejected_by_p_value(scores, new, rate):
    """The definition: reject where the conformal p-value, the share of scores at least as high, is `rate` or less.

    In exact fractions, the rate being the decimal number that is written: 0.3333333333333333 is less than a third.
    """
    return Fraction(1 + sum(score >= new for score in scores), len(scores) + 1) <= Fraction(repr(rate))


@given(SCORES, RATES, st.floats(0, 100, allow_nan=False))
@example([0.0, 0.0, 0.0, 0.0, 1.0], 0.3333333333333333, 0.0)
def test_the_threshold_decides_as_the_conformal_p_value(scores, rate, new):
    promise = conformal_threshold(scores, rate)
    for value in [new, *scores]:
        rejects = promise is not None and value >= promise.threshold
        assert rejects == rejected_by_p_value(scores, value, rate)
    if promise is not None:
        assert promise.rate <= rate + 1e-12
        assert promise.rate > rate - 1 / (len(scores) + 1) - 1e-12


@given(st.integers(1, 1500))
def test_needed_is_the_fewest_images_and_lowest_rate_the_lowest(images):
    rate = lowest_rate(images)
    assert conformal_threshold(np.arange(images), rate * 1.0000001) is not None
    assert conformal_threshold(np.arange(images), rate * 0.9999999) is None
    # a rate that needs one more image is not promised
    assert needed(1 / (images + 2)) in (images + 1, images + 2)  # 1/(n+2) as a decimal may lie a digit below


@pytest.mark.parametrize(("rate", "images"), [(0.001, 999), (0.01, 99), (0.05, 19), (0.03, 33), (0.5, 1), (0.9, 1)])
def test_images_needed(rate, images):
    assert needed(rate) == images
    assert conformal_threshold(np.arange(images), rate) is not None
    assert images == 1 or conformal_threshold(np.arange(images - 1), rate) is None


def test_the_sentence_for_too_few_images():
    assert shortage(0.001, 40) == (
        "needs 999 images for 0.1 %, you gave 40: the lowest rate that can be promised is 2.44 %"
    )
    assert shortage(0.01, 0) == "needs 99 images for 1 %, you gave none that the model has not seen"


@given(st.integers(1, 3000))
def test_the_rate_that_the_sentence_names_can_be_promised(images):
    named = float(shortage(1e-6, images).rsplit(" ", 2)[1]) / 100
    assert named == 1 or conformal_threshold(np.zeros(images), named) is not None
    assert named <= 1.02 * lowest_rate(images)


@pytest.mark.parametrize(("images", "rate"), [(19, 0.05), (50, 0.1), (99, 0.03)])
def test_the_promise_holds_in_simulation(images, rate):
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(6000):
        scores = rng.gamma(2, size=images + 1)
        rejected.append(scores[-1] >= conformal_threshold(scores[:-1], rate).threshold)
    promised = conformal_threshold(np.arange(images), rate).rate
    # for continuous scores the promise is met exactly; 4 standard errors
    assert abs(np.mean(rejected) - promised) < 4 * np.sqrt(promised * (1 - promised) / 6000)


def test_ties_reject_fewer_never_more():
    scores = [1.0] * 50
    assert not (np.array(scores) >= conformal_threshold(scores, 0.2).threshold).any()


def test_scores_that_are_none_are_refused():
    with pytest.raises(ValueError, match="finite"):
        conformal_threshold([1.0, float("nan")], 0.5)
    for rate in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            conformal_threshold([1.0], rate)


@settings(max_examples=20)
@given(st.integers(4, 80), st.integers(0, 100))
def test_resplits_stay_at_the_rate_on_average(images, seed):
    scores = np.random.default_rng(seed).normal(size=images)
    found = resplit_rates(scores, (0.3, 0.5), splits=200, seed=seed)
    assert found.shape == (200, 2)
    for rate, column in zip((0.3, 0.5), found.T):
        known = column[~np.isnan(column)]
        assert len(known) == (200 if images // 2 >= needed(rate) else 0)
        assert not len(known) or known.mean() <= rate + 0.08
