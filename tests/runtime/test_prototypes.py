import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.runtime.prototypes import PrototypeBank, otsu_threshold, prototype_mask, variance_sum_threshold

maps = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.sampled_from([0.0, 1.0, 2.5]), st.floats(0, 100, width=32)),
)


def costs(error, weighted):
    """Every threshold that can matter, tried one after another: {r: cost}."""
    tried = {}
    for r in np.unique(error)[:-1]:
        low, high = error[error <= r].astype(np.float64), error[error > r].astype(np.float64)
        parts = (low.size, high.size) if weighted else (1, 1)
        tried[float(r)] = parts[0] * low.var() + parts[1] * high.var()
    return tried


@given(maps)
def test_r_minimises_the_plain_sum_of_the_two_variances(error):
    check(error, variance_sum_threshold(error), weighted=False)


@given(maps)
def test_otsu_minimises_the_weighted_sum(error):
    check(error, otsu_threshold(error), weighted=True)


def check(error, r, weighted):
    tried = costs(error, weighted)
    if not tried:
        assert r == error.max()
        assert not (error > r).any()
        return
    assert r in tried
    scale = float(np.ptp(error)) ** 2 * (error.size if weighted else 1)
    assert tried[r] <= min(tried.values()) + 1e-9 * scale


def test_a_constant_map_and_one_element_mask_nothing():
    for error in (np.full((4, 4), 3.0), np.array([[2.0]])):
        for rule in (variance_sum_threshold, otsu_threshold):
            r = rule(error)
            assert r == error[0, 0]
            assert not (error > r).any()


def test_the_two_rules_differ_on_one_outlier():
    """Two plateaus are parted alike; beside an evenly spread map the plain sum takes the outlier alone."""
    error = np.concatenate([np.zeros(50), np.ones(50), [1.5]])
    assert variance_sum_threshold(error) == 0.0
    assert otsu_threshold(error) == 0.0
    outlier = np.concatenate([np.linspace(0, 1, 100), [10.0]])
    assert variance_sum_threshold(outlier) == 1.0


def test_a_level_hides_what_no_good_part_reaches():
    rng = np.random.default_rng(0)
    good = rng.random((8, 8)).astype(np.float32)
    bad = good.copy()
    bad[2:4, 5] = 3
    level = np.ones((64, 64), np.float32)
    assert not prototype_mask(good, level, "level").any()
    np.testing.assert_array_equal(np.argwhere(prototype_mask(bad, level, "level")), [[2, 5], [3, 5]])
    level[16:24, 40:48] = 4  # a level a pixel: the place of patch 2, 5
    np.testing.assert_array_equal(np.argwhere(prototype_mask(bad, level, "level")), [[3, 5]])
    # the paper's rule and Otsu's part the good map too
    for rule, threshold in (("variance-sum", variance_sum_threshold), ("otsu", otsu_threshold)):
        np.testing.assert_array_equal(prototype_mask(good, level, rule), good > threshold(good))
        assert prototype_mask(good, level, rule).any()


def test_maps_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        variance_sum_threshold(np.array([1.0, np.nan]))


@pytest.mark.parametrize("common", [0.0, 100.0])
def test_e_is_the_squared_distance_to_the_nearest_prototype(common):
    """Eq. 14 against two loops, also where all features share a large part."""
    rng = np.random.default_rng(0)
    bank = (rng.standard_normal((37, 9)) + common).astype(np.float32)
    features = (rng.standard_normal((9, 5, 4)) + common).astype(np.float32)
    expected = np.array([[min(((features[:, y, x] - p) ** 2).sum() for p in bank) for x in range(4)] for y in range(5)])
    found = PrototypeBank(bank).error_map(features, block=7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_prototype_itself_has_no_error():
    bank = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float16)
    found = PrototypeBank(bank).error_map(bank[:4].astype(np.float32).T.reshape(6, 2, 2))
    assert found.min() >= 0
    assert found.max() < 1e-5


def test_a_bank_of_another_network_is_refused():
    with pytest.raises(ValueError, match="channels"):
        PrototypeBank(np.ones((3, 4), np.float16)).error_map(np.ones((5, 2, 2), np.float32))
