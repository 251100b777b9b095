import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.runtime.masks import checkerboard
from edge_ad.training import masks
from edge_ad.training.masks import ForegroundRectangles, iou

sizes, seeds = st.integers(8, 40), st.integers(0, 2**32 - 1)
MAKERS = (masks.rectangle, masks.several, masks.group, masks.blob, masks.full, masks.mixed)


def slow_iou(first, second):
    both = either = 0
    for a, b in zip(first.flat, second.flat):
        both, either = both + (a and b), either + (a or b)
    return both / either if either else 0.0


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@given(seed=seeds, size=sizes)
@settings(max_examples=40, deadline=None)
def test_every_mask_is_float32_zeros_and_ones_and_hides_something(make, seed, size):
    mask = make(np.random.default_rng(seed), size)
    assert mask.dtype == np.float32
    assert mask.shape == (size, size)
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert mask.any()
    np.testing.assert_array_equal(mask, make(np.random.default_rng(seed), size))


@given(seed=seeds, size=sizes)
@settings(max_examples=60, deadline=None)
def test_a_rectangle_is_one_and_not_too_small(seed, size):
    mask = masks.rectangle(np.random.default_rng(seed), size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert min(len(rows), len(columns)) >= max(1, size // 8)


@given(seed=seeds, size=sizes)
@settings(max_examples=60, deadline=None)
def test_group_masks_are_those_that_the_grouped_plan_shows(seed, size):
    mask = masks.group(np.random.default_rng(seed), size)
    assert any((mask == shown).all() for k in (2, 4, 8) for shown in checkerboard(size, k))


def test_every_group_comes_up():
    rng = np.random.default_rng(0)
    seen = {masks.group(rng, 16).tobytes() for _ in range(300)}
    assert seen == {shown.tobytes() for k in (2, 4, 8) for shown in checkerboard(16, k)}


@given(seed=seeds, size=st.integers(1, 12), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_iou_by_a_loop(seed, size, share):
    rng = np.random.default_rng(seed)
    first, second = rng.random((size, size)) < share, rng.random((size, size)) < share
    assert abs(iou(first, second) - slow_iou(first, second)) < 1e-12


@given(seed=seeds, size=sizes, gamma=st.sampled_from([0.0, 0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_mask_design_keeps_its_word_or_counts_it(seed, size, gamma):
    """IoU(m, m_f) > γ, or one more in `fallbacks`; the foreground is a random rectangle or free shape."""
    rng = np.random.default_rng(seed)
    foreground = (masks.rectangle if seed % 2 else masks.blob)(rng, size) > 0
    design = ForegroundRectangles(gammas=(gamma,))
    mask = design(rng, foreground)
    assert design.drawn == 1
    assert (slow_iou(mask > 0, foreground) > gamma) == (design.fallbacks == 0)


@given(seed=seeds, size=sizes)
@settings(max_examples=30, deadline=None)
def test_a_thin_object_ends_and_takes_the_best_rectangle_seen(seed, size):
    """No rectangle that may be drawn reaches an IoU of 0.5 with a diagonal line."""
    foreground = np.eye(size, dtype=bool)
    design = ForegroundRectangles(gammas=(0.5,), tries=16)
    mask = design(np.random.default_rng(seed), foreground)
    assert design.fallbacks == design.drawn == 1
    again = np.random.default_rng(seed)
    again.choice((0.5,))
    best = max(slow_iou(masks.rectangle(again, size) > 0, foreground) for _ in range(16))
    assert abs(slow_iou(mask > 0, foreground) - best) < 1e-12


def test_an_empty_foreground_still_gives_a_mask():
    design = ForegroundRectangles(tries=4)
    assert design(np.random.default_rng(0), np.zeros((16, 16), bool)).any()
    assert design.fallbacks == 1


def test_thresholds_are_drawn_equally_often():
    """γ ∈ {0, 0.2, 0.5} with equal probability (section 5.1): what is reached above 0.2 only falls back a third."""
    foreground = np.zeros((32, 32), bool)
    foreground[:, 15] = True  # IoU of 0.25 at most: rectangles are at least 4 wide
    design = ForegroundRectangles(tries=400)
    rng = np.random.default_rng(0)
    for _ in range(150):
        design(rng, foreground)
    assert 0.2 < design.fallbacks / design.drawn < 0.75
