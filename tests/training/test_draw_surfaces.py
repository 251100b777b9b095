"""The drawn surfaces, the light on them and the camera: shapes, ranges, determinism, variety, and the maths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import OptionError
from edge_ad.training.pretrain.draw import fields, surfaces_woven
from edge_ad.training.pretrain.draw.camera import photograph
from edge_ad.training.pretrain.draw.families import DEAD_LEAVES_SHARE, OBJECT_SHARE, PRETRAIN, SURFACES, draw, family_of
from edge_ad.training.pretrain.draw.objects import OBJECTS
from edge_ad.training.pretrain.draw.picture import Picture

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", SURFACES)
def test_family_is_well_formed_and_varied(name: str) -> None:
    pictures = [SURFACES[name](np.random.default_rng([k, 7]), 96) for k in range(6)]
    for picture in pictures:
        assert picture.image.shape == (96, 96, 3)
        assert picture.image.dtype == np.float32
        assert np.isfinite(picture.image).all()
        assert picture.image.min() >= 0
        assert picture.image.max() <= 1
        assert picture.foreground.shape == (96, 96)
        assert picture.foreground.dtype == np.bool_
        assert picture.foreground.all()
        assert picture.caption == picture.caption.strip() != ""
        assert picture.image.std() > 0.002, "a blank picture"
        assert 0.01 < picture.image.mean() < 0.99
    stack = np.stack([picture.image for picture in pictures])
    assert stack.std(0).mean() > 0.02
    assert len({picture.caption for picture in pictures}) > 1


@pytest.mark.parametrize("name", SURFACES)
def test_same_seed_same_picture(name: str) -> None:
    (_, first), (_, again), (_, other) = draw(3, name, 64), draw(3, name, 64), draw(4, name, 64)
    assert np.array_equal(first.image, again.image)
    assert first.caption == again.caption
    assert not np.array_equal(first.image, other.image)


@given(seed=SEEDS, size=st.integers(32, 150))
@settings(max_examples=40, deadline=None)
def test_any_seed_and_size_draws_a_uint8_picture(seed: int, size: int) -> None:
    name, picture = draw(seed, size=size)
    assert name == family_of(seed)
    assert picture.image.shape == (size, size, 3)
    assert picture.image.dtype == np.uint8
    assert picture.caption


def test_families_are_many_and_named_once() -> None:
    assert len(SURFACES) >= 30
    assert not set(SURFACES) & set(OBJECTS)
    assert set(PRETRAIN) == set(SURFACES) | set(OBJECTS)


def test_families_are_drawn_in_their_shares() -> None:
    names = [family_of(seed) for seed in range(3000)]
    assert abs(np.mean([name in OBJECTS for name in names]) - OBJECT_SHARE) < 0.04
    assert abs(names.count("dead_leaves") / 3000 - DEAD_LEAVES_SHARE) < 0.02


def test_some_cameras_are_grey_and_then_channels_are_equal() -> None:
    scene = np.zeros((64, 64, 3), np.float32) + np.array([0.9, 0.3, 0.1], np.float32)
    picture = Picture(scene, "an orange sheet", np.ones((64, 64), bool))
    grey = 0
    for seed in range(200):
        image = photograph(np.random.default_rng(seed), picture).image.astype(int)
        spread = np.ptp(image, axis=2)
        # an orange scene stays far from grey unless the sensor is grey
        assert (spread == 0).all() or spread.mean() > 20
        grey += bool((spread == 0).all())
    assert 35 <= grey <= 85
    assert scene.max() <= np.float32(0.9), "the scene itself is not changed"


def test_photographs_keep_what_the_scene_shows() -> None:
    y, _ = fields.coords(64)
    scene = np.repeat(((y > 0) * np.float32(0.6) + np.float32(0.2))[..., None], 3, 2)
    picture = Picture(scene, "two halves", np.ones((64, 64), bool))
    for seed in range(60):
        image = photograph(np.random.default_rng(seed), picture).image.astype(float)
        assert image[40:].mean() > image[:24].mean() + 10


@pytest.mark.parametrize(
    ("arguments", "words"), [((-1,), "seed"), ((0, "no such family"), "no such family"), ((0, None, 8), "side")]
)
def test_bad_arguments_are_named(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        draw(*arguments)  # type: ignore[arg-type]


def _worley_slowly(points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cells = len(points)
    # every point with its eight neighbours in the repeats of the plane
    repeats = [(a, b) for a in (-cells, 0, cells) for b in (-cells, 0, cells)]
    inside = [(i, j) for i in range(cells) for j in range(cells)]
    where = [(i + points[i, j, 0] + a, j + points[i, j, 1] + b, i * cells + j) for i, j in inside for a, b in repeats]
    first, second, index = np.empty((size, size)), np.empty((size, size)), np.empty((size, size), int)
    for r in range(size):
        for c in range(size):
            y, x = (r + 0.5) * cells / size, (c + 0.5) * cells / size
            ranked = sorted((np.hypot(y - py, x - px), k) for py, px, k in where)
            (first[r, c], index[r, c]), (second[r, c], _) = ranked[0], ranked[1]
    return first, second, index


@pytest.mark.parametrize("jitter", [0.5, 1.0])
def test_worley_against_every_distance(jitter: float) -> None:
    size, cells = 24, 5
    first, second, index = fields.worley(np.random.default_rng(1), size, cells, jitter)
    points = 0.5 + jitter * (np.random.default_rng(1).random((cells, cells, 2), np.float32) - 0.5)
    slow_first, slow_second, slow_index = _worley_slowly(points, size)
    # the search looks at the nearest nine cells: exact for F1 nearly always, F2 may lie farther at full jitter
    assert np.mean(np.abs(first - slow_first) < 1e-4) > 0.99
    assert np.mean(index == slow_index) > 0.99
    assert np.mean(np.abs(second - slow_second) < 1e-4) > 0.9
    assert (first <= second).all()


@given(seed=SEEDS, exponent=st.floats(0, 4), anisotropy=st.floats(1, 30), angle=st.floats(0, 3.14))
@settings(max_examples=25, deadline=None)
def test_spectral_noise_is_normalised(seed: int, exponent: float, anisotropy: float, angle: float) -> None:
    noise = fields.spectral_noise(np.random.default_rng(seed), 64, exponent, anisotropy, angle)
    assert noise.shape == (64, 64)
    assert noise.dtype == np.float32
    assert abs(float(noise.mean())) < 1e-4
    assert abs(float(noise.std()) - 1) < 1e-3


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_spectral_noise_has_its_slope(exponent: float) -> None:
    power = np.mean([np.abs(np.fft.fft2(fields.spectral_noise(np.random.default_rng(k), 128, exponent))) ** 2
                     for k in range(12)], 0)  # fmt: skip
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128, 1 / 128), np.fft.fftfreq(128, 1 / 128)))
    bands = np.array([4, 8, 16, 32])
    means = [power[(radius > b * 0.8) & (radius < b * 1.25)].mean() for b in bands]
    slope = np.polyfit(np.log(bands), np.log(means), 1)[0]
    assert abs(slope + exponent) < 0.2


def test_anisotropy_stretches_along_the_angle() -> None:
    noise = fields.spectral_noise(np.random.default_rng(0), 128, 1.5, 12, 0.0)
    along, across = np.abs(np.diff(noise, axis=1)).mean(), np.abs(np.diff(noise, axis=0)).mean()
    assert along < across / 1.7
    turned = fields.spectral_noise(np.random.default_rng(0), 128, 1.5, 12, np.pi / 2)
    assert np.abs(np.diff(turned, axis=0)).mean() < np.abs(np.diff(turned, axis=1)).mean() / 1.7


def test_light_is_one_on_the_flat_and_brighter_towards_the_lamp() -> None:
    lamp = (0.6, 0.0, 0.8)
    assert np.allclose(fields.lit(np.zeros((16, 16), np.float32), lamp, 1, 0.5), 1, atol=1e-5)
    _, x = fields.coords(16)
    # a slope that falls to the right faces a lamp on the right
    assert fields.lit(-x * 4, lamp).mean() > 1 > fields.lit(x * 4, lamp).mean()


def test_light_against_a_pixel_by_pixel_reference() -> None:
    height = fields.spectral_noise(np.random.default_rng(2), 16, 2)
    lamp = np.array(fields.random_light(np.random.default_rng(3)))
    fast = fields.lit(height, tuple(lamp), 0.7, 0.4, 20)
    half = lamp + [0, 0, 1]
    half /= np.linalg.norm(half)
    for r in range(1, 15):
        for c in range(1, 15):
            gy, gx = 0.35 * (height[r + 1, c] - height[r - 1, c]), 0.35 * (height[r, c + 1] - height[r, c - 1])
            normal = np.array([-gx, -gy, 1]) / np.sqrt(gx**2 + gy**2 + 1)
            value = 0.3 + 0.7 * max(normal @ lamp, 0) / max(lamp[2], 0.2)
            value += 0.4 * (max(normal @ half, 0) ** 20 - half[2] ** 20)
            assert abs(fast[r, c] - max(value, 0)) < 1e-4


@given(seed=SEEDS, angle=st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_rotation_there_and_back(seed: int, angle: float) -> None:
    field = fields.spectral_noise(np.random.default_rng(seed), 64, 4)
    back = fields.rotate(fields.rotate(field, angle), -angle)
    # inside the circle that no turn takes out of the picture
    middle = slice(20, 44)
    assert np.abs(back[middle, middle] - field[middle, middle]).max() < 0.25


def test_sample_reads_pixels_and_wraps() -> None:
    field = np.arange(12, dtype=np.float32).reshape(3, 4)
    y, x = np.mgrid[0:3, 0:4].astype(np.float32)
    assert np.array_equal(fields.sample(field, y, x), field)
    assert np.array_equal(fields.sample(field, y + 3, x - 4), field)
    assert fields.sample(field, np.float32([[0.5]]), np.float32([[0.5]]))[0, 0] == pytest.approx(2.5)


@given(seed=SEEDS, kind=st.sampled_from(fields.KINDS), count=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_palettes_are_colours(seed: int, kind: str, count: int) -> None:
    rng = np.random.default_rng(seed)
    colours = fields.palette(rng, kind, count)
    assert colours.shape == (count, 3)
    assert colours.dtype == np.float32
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert fields.colour_name(colours[0])
    image = fields.colourise(np.linspace(-0.5, 1.5, 64, dtype=np.float32).reshape(8, 8), colours)
    assert image.shape == (8, 8, 3)
    assert np.allclose(image[0, 0], colours[0], atol=1e-3)
    assert np.allclose(image[-1, -1], colours[-1], atol=1e-3)


@given(over=st.integers(1, 4), under=st.integers(1, 4))
def test_twill_moves_by_one_each_row(over: int, under: int) -> None:
    weave = surfaces_woven.twill_weave(over, under)
    assert ((weave == 1).sum(1) == over).all()
    assert all(np.array_equal(np.roll(weave[k], 1), weave[k + 1]) for k in range(len(weave) - 1))


def test_satin_has_one_crossing_in_each_row_and_column() -> None:
    for n, step in ((5, 2), (8, 3), (7, 2)):
        weave = surfaces_woven.satin_weave(n, step)
        assert ((weave == -1).sum(0) == 1).all()
        assert ((weave == -1).sum(1) == 1).all()


def test_woven_shows_warp_and_weft_in_their_share() -> None:
    red, blue = np.float32([[0.8, 0, 0]]), np.float32([[0, 0, 0.8]])
    for over, under in ((1, 1), (3, 1), (1, 3)):
        image = surfaces_woven.woven(
            np.random.default_rng(0), 128, surfaces_woven.twill_weave(over, under), 8, red, blue,
            fill=1.0, hairiness=0, irregularity=0, twist=0,
        )  # fmt: skip
        # the thread on top covers most of its crossings; the sides of the other show beside it
        share = float((image[..., 0] > image[..., 2]).mean())
        assert abs(share - over / (over + under)) < 0.12
