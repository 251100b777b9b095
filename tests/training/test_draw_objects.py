"""Products on backgrounds: what every family must give, and the geometry they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.backgrounds import KINDS, background
from edge_ad.training.pretrain.draw.objects import OBJECTS
from edge_ad.training.pretrain.draw.prints import Artwork
from edge_ad.training.pretrain.draw.scene import Light, Paint, Scene, render, slopes


def _coords(n=65, reach=1.5):
    axis = np.linspace(-reach, reach, n, dtype=np.float32)
    return np.meshgrid(axis, axis, indexing="ij")


def test_there_are_many_families():
    assert len(OBJECTS) >= 25


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_family(name):
    pictures = [OBJECTS[name](np.random.default_rng([7, k]), 96) for k in range(4)]
    for p in pictures:
        assert p.image.dtype == np.float32
        assert p.image.shape == (96, 96, 3)
        assert np.isfinite(p.image).all()
        assert p.image.min() >= 0
        assert p.image.max() <= 1
        assert p.foreground.dtype == bool
        assert p.foreground.shape == (96, 96)
        assert 3 <= len(p.caption) < 120
        assert p.caption == p.caption.strip()
        assert "  " not in p.caption
    assert any(p.foreground.any() for p in pictures)
    again = OBJECTS[name](np.random.default_rng([7, 0]), 96)
    assert np.array_equal(again.image, pictures[0].image)
    assert np.array_equal(again.foreground, pictures[0].foreground)
    assert again.caption == pictures[0].caption
    assert not np.array_equal(pictures[0].image, pictures[1].image)


def test_pictures_vary_and_are_seldom_blank():
    rng = np.random.default_rng(0)
    names = sorted(OBJECTS)
    stds = [OBJECTS[names[k % len(names)]](rng, 64).image.std() for k in range(2 * len(names))]
    assert np.median(stds) > 0.08
    assert np.mean(np.asarray(stds) < 0.01) < 0.05


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_background(kind):
    image, words = background(np.random.default_rng(3), 64, kind)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert words


@given(half_y=st.floats(0.1, 1.2), half_x=st.floats(0.1, 1.2), corner=st.floats(0, 0.5))
@settings(max_examples=25, deadline=None)
def test_box_is_the_distance_to_its_edge(half_y, half_x, corner):
    y, x = _coords(31)
    corner = min(corner, half_y, half_x)
    # slow reference: the nearest of many points on the outline
    t = np.linspace(0, np.pi / 2, 60)
    ay = np.concatenate(
        [half_y - corner + corner * np.sin(t), np.full(120, half_y), np.linspace(0, half_y - corner, 120)]
    )
    ax = np.concatenate(
        [half_x - corner + corner * np.cos(t), np.linspace(0, half_x - corner, 120), np.full(120, half_x)]
    )
    nearest = np.hypot(np.abs(y)[..., None] - ay, np.abs(x)[..., None] - ax).min(-1)
    d = sh.box(y, x, half_y, half_x, corner)
    assert np.allclose(np.abs(d), nearest, atol=0.015)
    assert ((d <= 0) | (np.abs(y) > half_y - 1e-5) | (np.abs(x) > half_x - 1e-5) | (corner > 0)).all()


@given(count=st.integers(2, 12), radius=st.floats(0.3, 1.2))
@settings(max_examples=20, deadline=None)
def test_around_repeats_a_hole(count, radius):
    y, x = _coords(33)
    folded = sh.disc(*sh.around(y, x, count, radius), 0.05)
    angles = 2 * np.pi * np.arange(count) / count
    each = [np.hypot(y - radius * np.sin(a), x - radius * np.cos(a)) - 0.05 for a in angles]
    assert np.allclose(folded, np.min(each, 0), atol=1e-4)


def test_along_repeats_only_its_cells():
    x = np.linspace(-3, 3, 601, dtype=np.float32)
    reference = np.min([np.abs(x - c) for c in (-0.5, 0.0, 0.5)], 0)
    assert np.allclose(np.abs(sh.along(x, 0.5, 3)), reference, atol=1e-5)


def test_cover_has_the_area_of_the_shape():
    n = 201
    y, x = _coords(n, 1.0)
    px = 2 / (n - 1)
    assert sh.cover(sh.disc(y, x, 0.7), px).sum() * px * px == pytest.approx(np.pi * 0.49, rel=2e-3)


def test_slopes_of_a_plane():
    y, x = _coords(21)
    px = float(y[1, 0] - y[0, 0])
    gy, gx = slopes(3 * y - 2 * x, px)
    assert np.allclose(gy[1:-1], 3, atol=1e-3)
    assert np.allclose(gx[:, 1:-1], -2, atol=1e-3)


def test_a_part_may_lie_half_outside_and_holes_show_the_ground():
    def part(y, x, px):
        paint = Paint(y.shape).add(sh.cover(sh.disc(y, x, 1.0), px), (0.9, 0.1, 0.1), height=0.0)
        return paint.pierce(sh.cover(sh.disc(y, x, 0.5), px))

    light = Light(0.0, 0.5, 0.866, 0.4, (1, 1, 0, 0.3), 0.0)
    scene = Scene(np.full((64, 64, 3), 0.5, np.float32), light)
    scene.place(part, (0.0, 32.0), 20)
    assert np.allclose(scene.image[2, 32], 0.5, atol=1e-5)
    assert scene.mask[15, 32]
    assert not scene.mask[2, 32]
    # what lies wholly outside changes nothing
    before = scene.image.copy()
    scene.paste(render(part, 5, 0.3, (1, 1), light), (500, 500))
    assert np.array_equal(before, scene.image)


def test_artwork_is_sampled_where_it_was_drawn():
    art = Artwork((0.5, 1.0), 200)
    art.pen.rectangle([art.px(-0.2, -0.4), art.px(0.2, 0.4)], fill=255)
    y, x = _coords(301)
    ink = art.at(y, x)
    assert ink[150, 150] == pytest.approx(1)
    inside = (np.abs(y) < 0.18) & (np.abs(x) < 0.38)
    outside = (np.abs(y) > 0.23) | (np.abs(x) > 0.43)
    assert (ink[inside] > 0.99).all()
    assert (ink[outside] < 0.01).all()
