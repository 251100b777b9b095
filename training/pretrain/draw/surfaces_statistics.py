"""Pictures that share natural images' statistics rather than a material: dead leaves, coloured noise, Gabor noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field, colour_name
from edge_ad.training.pretrain.draw.picture import Draw, FloatImage, Picture
from edge_ad.training.pretrain.draw.surfaces_common import by_index, jitter_1d, log_uniform, pick, split, surface


def _outlines(rng: np.random.Generator, kind: str, count: int) -> npt.NDArray[np.float64]:
    """Corners (count, n, 2) of unit leaves about the origin, all of one kind, each squeezed and turned its own way."""
    if kind == "polygons":
        around = np.sort(rng.uniform(0, 2 * np.pi, (count, int(rng.integers(3, 8)))), axis=1)
    else:
        corners = 4 if kind == "rectangles" else 24
        around = np.broadcast_to(np.pi / 4 + np.linspace(0, 2 * np.pi, corners, endpoint=False), (count, corners))
    points = np.stack([np.cos(around), np.sin(around)], -1)
    if kind in ("ellipses", "rectangles", "blobs"):
        points[..., 1] *= rng.uniform(0.35, 1, (count, 1))
    if kind == "blobs":
        wave = np.ones_like(around)
        for k in range(2, 6):
            wave += rng.normal(0, 0.25 / k, (count, 1)) * np.cos(k * around + rng.uniform(0, 2 * np.pi, (count, 1)))
        points *= wave[..., None]
    turn = rng.uniform(0, 2 * np.pi, count)
    c, s = np.cos(turn), np.sin(turn)
    turning = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], 1)
    return np.asarray(points @ turning)


_SHAPES = ("discs", "ellipses", "rectangles", "polygons", "blobs")


def _numbers(rng: np.random.Generator, side: int, count: int, kinds: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """Leaves painted over each other: int32 side,side, the number of the leaf on top, in [0, count]."""
    canvas = Image.new("I", (side, side), 0)
    pen = ImageDraw.Draw(canvas)
    # radii with density r^-3 between the limits: their pictures are scale invariant (Ruderman 1997; Lee et al. 2001)
    low, high = side * log_uniform(rng, 0.01, 0.06), side * log_uniform(rng, 0.15, 0.5)
    u = rng.random(count)
    radii = 1 / np.sqrt((1 - u) / low**2 + u / high**2)
    centres = rng.uniform(-0.1, 1.1, (count, 2)) * side
    # the greatest first: a picture that keeps its small leaves, though fewer of them are drawn
    if rng.random() < 0.6:
        radii = -np.sort(-radii * rng.uniform(0.7, 1.3, count))
    # a few great ones below, so that hardly any ground is bare
    radii[:8] = side * rng.uniform(0.2, 0.6, 8)
    outlines = [_outlines(rng, kind, -(-count // len(kinds))) for kind in kinds]
    for k in range(count):
        corners = outlines[k % len(kinds)][k // len(kinds)] * radii[k] + centres[k]
        pen.polygon(corners.ravel().tolist(), fill=k + 1)
    return np.asarray(canvas, np.int32)


def _textures(rng: np.random.Generator, side: int, count: int) -> Field:
    """`count` textures of zero mean and unit deviation, float32 (count, side, side)."""
    bank = np.empty((count, side, side), np.float32)
    for k in range(count):
        roll = rng.random()
        if roll < 0.35:
            bank[k] = fields.spectral_noise(rng, side, rng.uniform(0.5, 3), log_uniform(rng, 1, 8), rng.uniform(0, 3.1))
        elif roll < 0.55:
            bank[k] = fields.gabor_noise(
                rng, side, side / log_uniform(rng, 5, 24), rng.uniform(0, 3.1), rng.uniform(0.02, 0.3)
            )
        elif roll < 0.75:
            bank[k] = fields.stripes(side, side / log_uniform(rng, 5, 40), rng.uniform(0, 3.1)) * 1.4
        elif roll < 0.88:
            frequency = side / log_uniform(rng, 6, 40)
            one = fields.stripes(side, frequency, angle := rng.uniform(0, 3.1))
            bank[k] = one * fields.stripes(side, frequency, angle + np.pi / 2) * 2
        else:
            bank[k] = fields.band_noise(rng, side, side / log_uniform(rng, 4, 20), 0.4)
    return bank


def leaves(rng: np.random.Generator, side: int, numbers: Sequence[npt.NDArray[np.int32]], tones: int) -> FloatImage:
    """Colour numbered regions: each gets its own colours, texture, gradient; some cast shadows on those below.

    Args:
        rng: the generator.
        side: the side in pixels.
        numbers: int32 side,side, one or several of the same regions seen at different sub-pixels, which are averaged; a
            larger number lies above a smaller one.
        tones: how many palettes the regions draw from.

    Returns:
        float32 side,side,3, not clipped.
    """
    count = max(int(number.max()) for number in numbers) + 1
    kinds = rng.choice(list(fields.KINDS), tones)
    inks = np.concatenate([fields.palette(rng, str(kind), 6, rng.uniform(0.2, 0.8)) for kind in kinds])
    base = inks[rng.integers(0, len(inks), count)]
    accent = np.where(rng.random((count, 1)) < 0.4, inks[rng.integers(0, len(inks), count)], base * 1.5)
    span = (accent - base).astype(np.float32)
    bank = _textures(rng, side, 4).reshape(-1)
    start = rng.integers(0, 4, count) * side * side
    amount = np.where(rng.random(count) < 0.3, 0, rng.gamma(1.2, 0.12, count)).astype(np.float32)
    slope = rng.normal(0, rng.uniform(0, 0.35), (2, count)).astype(np.float32)
    y, x = fields.coords(side)
    pixel = np.arange(side * side).reshape(side, side)
    image = np.zeros((side, side, 3), np.float32)
    for number in numbers:
        share = np.clip(np.float32(0.3) + amount[number] * bank[start[number] + pixel], -0.5, 1.5)
        level = 1 + slope[0][number] * y + slope[1][number] * x
        image += (base[number] + span[number] * share[..., None]) * np.maximum(level, 0)[..., None]
    image *= (_depth(rng, numbers[0]) / np.float32(len(numbers)))[..., None]
    return image


def _depth(rng: np.random.Generator, number: npt.NDArray[np.int32]) -> Field:
    """Shadows that regions cast on those below them, and now and then dark outlines: a factor of the light."""
    side = number.shape[0]
    light = np.ones((side, side), np.float32)
    if rng.random() < 0.5:
        dy, dx = (int(d) for d in rng.integers(-side // 40, side // 40 + 1, 2))
        over = (np.roll(number, (dy, dx), (0, 1)) > number).astype(np.float32)
        light *= 1 - np.float32(rng.uniform(0.2, 0.6)) * fields.blur(over, rng.uniform(0.8, max(side / 80, 1)))
    if rng.random() < 0.25:
        edge = np.zeros((side, side), np.float32)
        edge[1:] = number[1:] != number[:-1]
        edge[:, 1:] = np.maximum(edge[:, 1:], number[:, 1:] != number[:, :-1])
        light *= 1 - np.float32(rng.uniform(0.2, 0.8)) * np.minimum(fields.blur(edge, 0.7) * 2, 1)
    return light


def dead_leaves(rng: np.random.Generator, size: int) -> Picture:
    """Dead leaves (Matheron): shapes of power-law sizes that hide each other, each with its own texture."""
    some = rng.permutation(_SHAPES)[: int(rng.integers(1, 4))]
    kinds = tuple(str(kind) for kind in some)
    smooth = rng.random() < 0.5
    side = size * 2 if smooth else size
    number = _numbers(rng, side, int(log_uniform(rng, 120, 700)), kinds)
    # the picture's pixel is the mean of two diagonal sub-pixels: edges get a half-tone
    parts = [number[::2, ::2], number[1::2, 1::2]] if smooth else [number]
    image = leaves(rng, size, parts, int(rng.integers(1, 5)))
    noun = pick(rng, ("pile", "clutter", "collage", "arrangement"))
    return surface(rng, image, f"{noun} of overlapping {' and '.join(kinds)}")


_GRAINS = (
    ("light", "rice grains"),
    ("wood", "seeds"),
    ("ceramic", "tablets"),
    ("leather", "coffee beans"),
    ("plastic", "plastic pellets"),
    ("plant", "peas"),
    ("skin", "beans"),
)
"""Material of the colours, and what is seen."""


def dead_grains(rng: np.random.Generator, size: int) -> Picture:
    """Heap of shaded grains of one kind: rice, seeds, tablets, beans."""
    count = int(log_uniform(rng, 150, 600))
    radius = size * np.sqrt(1.6 / count) * rng.uniform(0.7, 1.1)
    squeeze = rng.uniform(0.35, 1)
    centre = rng.uniform(-0.05, 1.05, (count, 2)) * size
    turn = rng.uniform(0, np.pi, count)
    fat = radius * (1 + rng.normal(0, 0.06, count))
    height = np.full((size, size), -1e3, np.float32)
    number = np.zeros((size, size), np.int32)
    depth = np.sort(rng.uniform(0, radius * 1.5, count))
    for k in range(count):
        reach = fat[k]
        top, left = int(max(centre[k, 0] - reach, 0)), int(max(centre[k, 1] - reach, 0))
        bottom, right = int(min(centre[k, 0] + reach + 2, size)), int(min(centre[k, 1] + reach + 2, size))
        if bottom <= top or right <= left:
            continue
        y = (np.arange(top, bottom, dtype=np.float32) - np.float32(centre[k, 0]))[:, None]
        x = (np.arange(left, right, dtype=np.float32) - np.float32(centre[k, 1]))[None]
        c, s = np.float32(np.cos(turn[k])), np.float32(np.sin(turn[k]))
        a, b = (c * x + s * y) / np.float32(reach), (c * y - s * x) / np.float32(reach * squeeze)
        inside = 1 - a * a - b * b
        body = np.where(inside > 0, np.sqrt(np.maximum(inside, 0)) * np.float32(reach * squeeze) + depth[k], -1e4)
        patch = height[top:bottom, left:right]
        above = body > patch
        np.copyto(patch, body.astype(np.float32), where=above)
        np.copyto(number[top:bottom, left:right], np.int32(k), where=above)
    empty = height < -1
    height = np.maximum(height, 0)
    kind, word = _GRAINS[int(rng.integers(len(_GRAINS)))]
    colours = fields.palette(rng, kind, 7, rng.uniform(0.05, 0.4))
    rgb = by_index(number, colours[rng.integers(0, 7, count)])
    light = fields.random_light(rng, 0.6, 1.3)
    tone = fields.lit(
        fields.blur(height, 0.6), light, rng.uniform(0.4, 0.9), rng.uniform(0.05, 0.7), rng.uniform(6, 40)
    )
    tone *= 0.35 + 0.65 * fields.smoothstep(0, float(height.max()) * 0.9, height)
    tone = np.where(empty, np.float32(0.12), tone) * (1 + rng.uniform(0, 0.08) * fields.spectral_noise(rng, size, 1.2))
    return surface(rng, rgb * tone[..., None], f"heap of {colour_name(colours[3])} {word}")


def colour_noise(rng: np.random.Generator, size: int) -> Picture:
    """1/f noise of several octaves in each colour, correlated."""
    exponent = rng.uniform(1.2, 3.4)
    shared = fields.spectral_noise(rng, size, exponent, log_uniform(rng, 1, 4), rng.uniform(0, 3.1))
    own = np.stack([fields.spectral_noise(rng, size, exponent + rng.uniform(-0.5, 0.8)) for _ in range(3)], -1)
    blend = rng.uniform(0.2, 0.9)
    centre = fields.colour(rng, "any")
    contrast = log_uniform(rng, 0.05, 0.3)
    image = centre + np.float32(contrast) * (shared[..., None] * np.float32(1 - blend) + own * np.float32(blend))
    if rng.random() < 0.3:
        levels = rng.integers(3, 9)
        image = np.floor(image * levels) / levels
    return surface(
        rng, image, f"{pick(rng, ('mottled', 'cloudy', 'marbled', 'blotchy'))} {colour_name(centre)} surface"
    )


def gabor(rng: np.random.Generator, size: int) -> Picture:
    """Gabor noise: one to four wavy textures laid over each other."""
    field = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        wave = fields.gabor_noise(
            rng, size, size / log_uniform(rng, 4, 50), rng.uniform(0, np.pi), rng.uniform(0.03, 0.5)
        )
        field += wave * np.float32(rng.uniform(0.3, 1))
    if rng.random() < 0.3:
        field = np.sin(field * np.float32(rng.uniform(1, 4)))
    if rng.random() < 0.4:
        tone = fields.lit(field * np.float32(rng.uniform(0.5, 3)), rng, 0.6, rng.uniform(0, 0.8))
        colours = fields.palette(rng, "any", 4, 0.4)
        image = fields.colourise(fields.normalise(field), colours) * tone[..., None]
    else:
        colours = np.concatenate([fields.palette(rng, "any", 2, 0.5), fields.palette(rng, "any", 2, 0.5)])
        image = fields.colourise(fields.normalise(field), colours)
    return surface(
        rng, image, f"{colour_name(colours[1])} wavy {pick(rng, ('pattern', 'relief', 'texture', 'stripes'))}"
    )


def patches(rng: np.random.Generator, size: int) -> Picture:
    """Voronoi cells or a grid of rectangles, each with a texture of its own."""
    if rng.random() < 0.5:
        _, _, cell = fields.worley(rng, size, int(log_uniform(rng, 3, 12)), rng.uniform(0, 1))
        word = "patchwork"
    else:
        pitch = log_uniform(rng, 24, 120)
        v, u = fields.turned(size, rng.uniform(0, 3.1), size / 2 / pitch)
        row, column = split(v + 500)[0], split(u + 500 + rng.random())[0]
        cell = (row * 31 + column * 17) % 211
        word = "checked patchwork"
    number = rng.permutation(4096).astype(np.int32)[cell % 4096] % 400
    image = leaves(rng, size, [number], int(rng.integers(1, 4)))
    return surface(rng, image, f"{word} of different {pick(rng, ('fabrics', 'papers', 'materials', 'tiles'))}")


def gradients(rng: np.random.Generator, size: int) -> Picture:
    """Nearly plain surface: a soft gradient, little grain; many parts are just this."""
    kind = pick(rng, ("plastic", "paint", "grey", "light", "dark", "steel", "paper"))
    colours = fields.palette(rng, kind, 3, rng.uniform(0.02, 0.4))
    v, u = fields.turned(size, rng.uniform(0, 6.3))
    tone = 0.5 + rng.uniform(-0.5, 0.5) * v + rng.uniform(-0.3, 0.3) * u * u
    tone = tone + by_index(np.zeros(1, np.int32), jitter_1d(rng, 0.1))[0] + 0.04 * fields.spectral_noise(rng, size, 3)
    tone = tone + log_uniform(rng, 0.003, 0.05) * fields.spectral_noise(rng, size, rng.uniform(0, 1.5))
    word = pick(rng, ("smooth", "plain", "even"))
    return surface(rng, fields.colourise(tone, colours), f"{word} {colour_name(colours[1])} surface")


FAMILIES: dict[str, Draw] = {
    "dead_leaves": dead_leaves,
    "grains": dead_grains,
    "colour_noise": colour_noise,
    "gabor": gabor,
    "patches": patches,
    "plain": gradients,
}
"""Family name to drawing function."""
