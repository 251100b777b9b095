import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.training.augment import augment
from edge_ad.training.prompts import CategoryInfo

SIZE = 64
seeds = st.integers(0, 2**32 - 1)
ALL = np.ones((SIZE, SIZE), bool)


def info(turn="none", mirror=False, colour=False, scale=True):
    return CategoryInfo("part", ("A perfect part.",), turn=turn, mirror=mirror, colour=colour, scale=scale)


def coordinates():
    """A picture whose red and green are four times the column and the row of the pixel."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([4 * x, 4 * y, np.full_like(x, 128)], -1).astype(np.uint8)


def motion(image):
    """The 2 x 2 matrix from output to input places and the input place of the centre, fitted to the middle."""
    low, high = SIZE // 3, SIZE - SIZE // 3
    y, x = np.mgrid[low:high, low:high] - (SIZE - 1) / 2
    columns = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    places = image[low:high, low:high, :2].reshape(-1, 2) / 4
    solution, *_ = np.linalg.lstsq(columns, places, rcond=None)
    return solution[:2].T, solution[2]


def angle(matrix):
    return np.degrees(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1]))


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_with_every_switch_off_only_scale_and_shift_are_left(seed):
    out, _ = augment(coordinates(), ALL, info(), np.random.default_rng(seed))
    matrix, centre = motion(out)
    assert abs(matrix[0, 1]) < 0.01
    assert abs(matrix[1, 0]) < 0.01
    assert 1 / 1.09 < matrix[0, 0] < 1 / 0.91
    assert abs(matrix[0, 0] - matrix[1, 1]) < 0.04  # Pillow's bicubic kernel bends a ramp a little
    assert np.abs(centre - (SIZE - 1) / 2).max() < 0.03 * SIZE / 0.94 + 0.3


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_with_scale_off_too_the_view_is_the_shot(seed):
    foreground = coordinates()[..., 0] > 90
    out, mask = augment(coordinates(), foreground, info(scale=False), np.random.default_rng(seed))
    np.testing.assert_array_equal(out, coordinates())
    np.testing.assert_array_equal(mask, foreground)


def test_colour_off_leaves_colours():
    flat = np.full((SIZE, SIZE, 3), (200, 90, 30), np.uint8)
    for seed in range(5):
        out, _ = augment(flat, ALL, info("free", True), np.random.default_rng(seed))
        np.testing.assert_array_equal(out, flat)


def test_colour_on_changes_brightness_and_contrast_a_little():
    picture = coordinates()
    spread, level = [], []
    for seed in range(20):
        plain, _ = augment(picture, ALL, info(), np.random.default_rng(seed))
        coloured, _ = augment(picture, ALL, info(colour=True), np.random.default_rng(seed))
        middle = slice(SIZE // 3, -SIZE // 3)
        spread.append(coloured[middle, middle, 0].std() / plain[middle, middle, 0].std())
        level.append(float(coloured[..., 2].mean()) - 128)
    assert 0.88 < min(spread) < 0.97 < 1.03 < max(spread) < 1.12
    assert -18 < min(level) < -5 < 5 < max(level) < 18


@pytest.mark.parametrize(("turn", "limit"), [("none", 0.5), ("small", 5.5), ("quarter", 5.5), ("free", 45.5)])
def test_turns_stay_within_what_the_category_allows(turn, limit):
    angles = []
    for seed in range(24):
        out, _ = augment(coordinates(), ALL, info(turn), np.random.default_rng(seed))
        matrix, _ = motion(out)
        assert np.linalg.det(matrix) > 0, "mirrored"
        angles.append(angle(matrix))
    quarters = {round(a / 90) % 4 for a in angles}
    rest = np.abs([(a + 45) % 90 - 45 for a in angles])
    assert rest.max() <= limit
    assert rest.max() > limit / 2 or turn == "none"
    assert quarters == ({0, 1, 2, 3} if turn in ("quarter", "free") else {0})


def test_mirror_only_where_it_is_allowed():
    def mirrored(allowed):
        return sum(
            np.linalg.det(motion(augment(coordinates(), ALL, info(mirror=allowed), np.random.default_rng(seed))[0])[0])
            < 0
            for seed in range(30)
        )

    assert mirrored(False) == 0
    assert 5 < mirrored(True) < 25


@given(seeds, st.sampled_from(["none", "small", "quarter", "free"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_foreground_moves_with_the_picture(seed, turn, mirror):
    """A bright L, which no turn or mirror maps onto itself, is where its foreground says."""
    foreground = np.zeros((SIZE, SIZE), bool)
    foreground[16:48, 20:30] = foreground[38:48, 20:44] = True
    picture = np.where(foreground[..., None], 230, 20).astype(np.uint8).repeat(3, 2)
    kept = picture.copy()
    out, moved = augment(picture, foreground, info(turn, mirror), np.random.default_rng(seed))
    assert (out.shape, out.dtype, moved.shape, moved.dtype) == (picture.shape, np.uint8, foreground.shape, bool)
    bright = out[..., 0] > 125
    assert (bright & moved).sum() / (bright | moved).sum() > 0.85
    np.testing.assert_array_equal(picture, kept)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_same_generator_gives_the_same_view(seed):
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    asked = info("free", True, True)
    first, again = (augment(picture, ALL, asked, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    other, _ = augment(picture, ALL, asked, np.random.default_rng(seed + 1))
    assert (other != first[0]).any()
