import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.calibration.paste import PASTES, foreground, pasted, perlin
from edge_ad.calibration.vary import DRIFTS, as_good, moved


def product(seed, size=64):
    """A bright disc with some texture on a plain dark background, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    disc = np.hypot(x, y) < 0.6
    image = np.where(disc[:, :, None], 150 + 20 * np.sin(15 * x)[:, :, None], 30) + rng.normal(0, 3, (size, size, 3))
    return np.clip(image, 0, 255).astype(np.uint8), disc


@pytest.mark.parametrize("kind", PASTES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_pasted_defect_changes_what_its_mask_says_and_nothing_else(kind, seed):
    image, _ = product(seed)
    before = image.copy()
    after, mask = pasted(image, kind, seed)
    np.testing.assert_array_equal(image, before)
    assert mask.any()
    np.testing.assert_array_equal(after[~mask], image[~mask])
    assert (after[mask] != image[mask]).any(axis=1).all()
    assert not (mask & ~foreground(image)).any()
    again, mask_again = pasted(image, kind, seed)
    np.testing.assert_array_equal(after, again)
    np.testing.assert_array_equal(mask, mask_again)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(PASTES)),
    st.integers(0, 1000),
    st.sampled_from([(16, 90), (90, 16), (33, 47)]),
    st.sampled_from([0, 128, 255]),
)
def test_flat_pictures_of_any_shape_get_a_defect_too(kind, seed, shape, grey):
    after, mask = pasted(np.full((*shape, 3), grey, np.uint8), kind, seed)
    assert after.shape == (*shape, 3)
    assert after.dtype == np.uint8
    assert mask.any()
    assert (after[mask] != grey).any()


def test_a_product_on_a_plain_background_is_found_and_a_texture_is_everything():
    image, disc = product(0)
    found = foreground(image)
    assert (found == disc).mean() > 0.97
    texture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    assert foreground(texture).all()


def test_perlin_noise_is_zero_on_its_lattice_and_smooth_between():
    noise = perlin((64, 96), (4, 6), np.random.default_rng(0))
    assert noise.shape == (64, 96)
    np.testing.assert_allclose(noise[::16, ::16], 0, atol=1e-6)
    assert np.abs(noise).max() < 1
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2


def test_variations_keep_the_part_and_drifts_change_it():
    image, _ = product(1)
    again = as_good(image, np.random.default_rng(0))
    assert again.shape == image.shape
    assert 0 < np.abs(again.astype(int) - image).mean() < 8
    np.testing.assert_array_equal(moved(image, 0.25, 0.0)[:, 16:], image[:, :-16])
    for name, change in DRIFTS.items():
        changed = change(image)
        assert changed.dtype == np.uint8, name
        assert changed.shape == image.shape, name
        assert (changed != image).any(), name
