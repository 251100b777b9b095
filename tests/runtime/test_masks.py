import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.bundle import Plan
from edge_ad.runtime import masks
from edge_ad.runtime.costs import plan_cost
from edge_ad.runtime.plan import grouped_plan, layout, named_plan, paper_plan

sizes = st.integers(1, 40)


@given(sizes, st.data())
def test_each_pixel_is_hidden_exactly_once_a_scale(size, data):
    k = data.draw(st.integers(1, size))
    for made in (masks.patches(size, k), masks.checkerboard(size, k)):
        assert made.dtype == np.float32
        assert set(np.unique(made)) <= {0.0, 1.0}
        np.testing.assert_array_equal(made.sum(0), np.ones((size, size)))
        assert made.sum(axis=(1, 2)).min() >= 1
    assert len(masks.patches(size, k)) == k * k


def test_patches_are_those_of_the_paper():
    made = masks.patches(8, 2)
    expected = np.zeros((8, 8))
    expected[:4, 4:] = 1  # row 0, column 1
    np.testing.assert_array_equal(made[1], expected)


@given(st.integers(2, 8), st.integers(1, 4))
def test_patches_that_share_a_picture_do_not_touch(k, width):
    """Slow and plain: grow every patch by one pixel in all directions and look for another patch of its group."""
    size = k * width
    patches, groups = masks.patches(size, k), masks.checkerboard(size, k)
    for group in groups:
        members = [patch for patch in patches if (patch * group).sum() > 0]
        assert sum(patch.sum() for patch in members) == group.sum()
        for patch in members:
            ys, xs = np.nonzero(patch)
            grown = np.zeros_like(patch)
            grown[max(ys.min() - 1, 0) : ys.max() + 2, max(xs.min() - 1, 0) : xs.max() + 2] = 1
            others = group - patch
            assert (grown * others).sum() == 0


def test_a_grid_finer_than_the_pixels_is_refused():
    with pytest.raises(ValueError, match="4 pixels"):
        masks.patches(4, 5)


@given(st.integers(1, 9), st.integers(1, 4))
def test_upsampling_repeats_pixels(size, factor):
    mask = np.random.default_rng(size).integers(0, 2, (2, size, size)).astype(np.float32)
    np.testing.assert_array_equal(
        masks.upsample(mask, size * factor), mask.repeat(factor, axis=1).repeat(factor, axis=2)
    )


def test_the_paper_has_86_masks_and_the_grouped_plan_14():
    prototype = np.zeros((32, 32), np.float32)
    paper, grouped = layout(paper_plan("paper"), 32, prototype), layout(grouped_plan("grouped"), 32, prototype)
    assert (paper.inpaintings, paper.pictures) == (86, 86)
    assert (grouped.inpaintings, grouped.pictures) == (14, 5)
    for plan, steps, evaluations in ((paper_plan("paper"), 20, 1720), (grouped_plan("grouped"), 4, 52)):
        cost = plan_cost({}, plan, 32, steps=steps, feature_shape=(1, 1, 1), prototypes=1)
        assert cost.evaluations == evaluations


@pytest.mark.parametrize("make", [paper_plan, grouped_plan])
@pytest.mark.parametrize("with_prototype", [True, False])
@pytest.mark.parametrize("draws", [1, 4])
def test_a_layout_counts_every_pixel_once_a_scale(make, with_prototype, draws):
    """What enters eq. 18: over the pictures of a scale, weights and masks together cover each pixel exactly once."""
    plan: Plan = make("s").model_copy(update={"noise_draws": draws})
    prototype = (np.random.default_rng(0).random((16, 16)) > 0.7).astype(np.float32) if with_prototype else None
    made = layout(plan, 16, prototype)
    np.testing.assert_array_equal(made.assignment.sum(0), np.ones(made.inpaintings))
    composed = np.einsum("kb,buhw->kuhw", made.assignment, made.compose)
    if plan.decode == "scale":
        np.testing.assert_array_equal(composed, np.ones_like(composed))
    covered = np.einsum("rk,kuhw->ruhw", made.membership, made.picture_masks)
    np.testing.assert_array_equal(covered, np.ones((len(plan.scales), 1, 16, 16)))
    assert made.prototype.sum() == with_prototype
    if with_prototype:
        assert made.prototype[-1] == 1 / draws
        assert made.membership[:, -1].sum() == 0
        np.testing.assert_array_equal(made.picture_masks[-1, 0], prototype)


def test_plans_by_name():
    assert named_plan("paper") == (paper_plan("paper"), None, None)
    assert named_plan("grouped") == (grouped_plan("grouped"), None, None)
    assert named_plan("grouped-2") == (grouped_plan("grouped-2"), 2, None)
    assert named_plan("grouped-10-dpmsolver++") == (grouped_plan("grouped-10-dpmsolver++"), 10, "dpmsolver++")
    for name in ("", "Paper", "grouped-", "grouped-0", "grouped-2-euler", "paper-2", "grouped-2 "):
        with pytest.raises(ValueError, match="is not known; use paper, grouped"):
            named_plan(name)
