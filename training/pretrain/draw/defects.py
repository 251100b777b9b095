"""Defects drawn into a picture, each a pure function that also gives the exact mask of what it changed.

Every function takes (image float32 H,W,3 in 0..1, foreground bool H,W, generator) and returns (image, mask): a new
image, and a bool H,W mask. Pixels outside the mask are those of the input, bit for bit. A pixel is in the mask when a
channel changed by more than `VISIBLE`; unchanged pixels that such pixels enclose (the turning line inside a dent) are
in it too, as a person who marks the defect would have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from edge_ad.training.pretrain.draw.fields import sample, spectral_noise

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Defect = Callable[[Image, Mask, np.random.Generator], tuple[Image, Mask]]
"""(image, foreground, generator) -> (image, mask)."""

VISIBLE = 0.025
"""Smallest change of a channel, 0..1, that counts as changed: above the cameras' noise."""


def changed(before: Image, after: Image, gap: int = 2) -> Mask:
    """Where two pictures differ visibly: bool H,W, gaps up to 2 `gap` px closed, enclosed pixels filled."""
    mask = np.abs(after - before).max(axis=2) > VISIBLE
    # on a padded copy, since closing erodes at the border
    closed = ndimage.binary_closing(np.pad(mask, gap), iterations=gap)[gap:-gap, gap:-gap]
    return np.asarray(ndimage.binary_fill_holes(mask | closed), bool)


def settle(before: Image, after: Image, where: Mask | None = None, gap: int = 2) -> tuple[Image, Mask]:
    """Keep the visible change only: the new image equals `before` outside the returned mask.

    `where` limits the change to an area, such as the product; `gap` as in `changed`.
    """
    after = np.clip(after, 0, 1).astype(np.float32)
    if where is not None:
        after = np.where(where[..., None], after, before)
    mask = changed(before, after, gap)
    if where is not None:
        mask &= where
    return np.where(mask[..., None], after, before), mask


def inside(foreground: Mask, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A random point (y, x) at least `margin` px inside the product, or its innermost point if it is too small."""
    depth = ndimage.distance_transform_edt(np.pad(foreground, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= margin)
    if not len(places):
        places = np.argwhere(depth >= depth.max())
    y, x = places[int(rng.integers(len(places)))]
    return float(y), float(x)


def _grid(image: Image) -> tuple[Image, Image]:
    h, w = image.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    return y, x


def _path(
    rng: np.random.Generator, start: tuple[float, float], length: float, bend: float, wobble: float = 0.0
) -> Image:
    """Points (n, 2) of a curve that turns smoothly by about `bend` radians and jitters by `wobble` radians a step."""
    n = max(int(length), 6)
    heading = rng.uniform(0, 2 * math.pi) + np.linspace(-0.5, 0.5, n) * rng.normal(0, bend)
    heading = heading + wobble * np.cumsum(rng.normal(0, 1, n)) / math.sqrt(8)
    steps = np.stack([np.sin(heading), np.cos(heading)], 1) * (length / n)
    points = np.cumsum(steps, 0)
    return (points - points.mean(0) + np.asarray(start)).astype(np.float32)


def _away(image: Image, points: Image) -> Image:
    """Distance in px from a curve of points about one px apart: float32 H,W."""
    h, w = image.shape[:2]
    scale = 2  # the curve is set on a finer raster, so that the distance is exact to a quarter of a pixel
    raster = np.ones((h * scale, w * scale), bool)
    fine = np.concatenate([points[:-1] + (points[1:] - points[:-1]) * t for t in (0, 0.25, 0.5, 0.75)])
    at = np.round(fine * scale + 0.5).astype(int)
    keep = ((at >= 0) & (at < (h * scale, w * scale))).all(1)
    raster[tuple(at[keep].T)] = False
    if raster.all():
        return np.full((h, w), 1e3, np.float32)
    distance = ndimage.distance_transform_edt(raster).astype(np.float32) / scale
    return np.asarray(distance.reshape(h, scale, w, scale).mean((1, 3)), np.float32)


def _blob(image: Image, rng: np.random.Generator, centre: tuple[float, float], radius: float, rough: float) -> Image:
    """Signed distance in px (approximate) to an irregular blob."""
    y, x = _grid(image)
    v, u = y - np.float32(centre[0]), x - np.float32(centre[1])
    angle = np.arctan2(v, u)
    bend = np.ones_like(angle)
    for k in range(1, 7):
        amount = rough / k
        bend += np.float32(rng.normal(0, amount)) * np.cos(k * angle) + np.float32(rng.normal(0, amount)) * np.sin(
            k * angle
        )
    turn, long = rng.uniform(0, math.pi), rng.uniform(1.0, 1.6)
    c, s = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    r = np.hypot((c * v + s * u) * np.float32(long), c * u - s * v)
    return r - np.float32(radius) * np.maximum(bend, 0.3)


def _unit(image: Image) -> float:
    return image.shape[0] / 256


def scratch(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """One to three thin scratches: a bright or dark core with a lit edge, fading along the length."""
    unit = _unit(image)
    after = image.copy()
    bright = 1.0 if rng.random() < 0.7 else -1.0
    start = inside(foreground, rng, 12 * unit)
    for _ in range(int(rng.integers(1, 4))):
        points = _path(rng, start, rng.uniform(25, 110) * unit, 0.35, 0.02)
        away = _away(image, points)
        width = rng.uniform(0.6, 1.4) * unit
        depth = rng.uniform(0.18, 0.45) * bright
        core = np.exp(-((away / np.float32(width)) ** 2))
        after = after + np.float32(depth) * core[..., None]
        lip = np.exp(-(((away - np.float32(1.8 * width)) / np.float32(0.8 * width)) ** 2))
        after = after - np.float32(0.3 * depth) * lip[..., None]
        start = (start[0] + rng.normal(0, 8) * unit, start[1] + rng.normal(0, 8) * unit)
    return settle(image, after, foreground)


def dent(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A round dent or bump: one side lit, the other in shade."""
    unit = _unit(image)
    radius = rng.uniform(6, 17) * unit
    y, x = inside(foreground, rng, radius * 1.2)
    v, u = _grid(image)
    v, u = (v - np.float32(y)) / np.float32(radius), (u - np.float32(x)) / np.float32(radius)
    turn, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0.7, 1.0)
    c, s = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    along, across = c * u + s * v, (c * v - s * u) / np.float32(squeeze)
    slope = along * np.exp(-2 * (along * along + across * across)) * np.float32(3.3)
    strength = np.float32(rng.uniform(0.22, 0.5))
    after = image * (1 + strength * slope)[..., None] + np.float32(0.06) * np.maximum(slope, 0)[..., None]
    return settle(image, after, foreground)


def stain(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A stain of oil, rust or water: an irregular patch of another tint, darker towards its rim."""
    unit = _unit(image)
    radius = rng.uniform(8, 26) * unit
    d = _blob(image, rng, inside(foreground, rng, radius * 0.6), radius, 0.12)
    soft = rng.uniform(1.5, 4) * unit
    body = 1 / (1 + np.exp(np.clip(d / np.float32(soft), -30, 30)))
    rim = np.exp(-(((d + np.float32(2 * soft)) / np.float32(2 * soft)) ** 2))
    mottle = 1 + np.float32(0.15) * spectral_noise(rng, image.shape[0], 2.5)
    amount = np.float32(rng.uniform(0.35, 0.75)) * np.clip(body * mottle, 0, 1) * (0.7 + 0.3 * rim)
    tints = ((0.45, 0.4, 0.33), (0.62, 0.42, 0.24), (0.55, 0.57, 0.6), (0.3, 0.28, 0.27))
    tint = np.asarray(tints[int(rng.integers(len(tints)))], np.float32)
    return settle(image, image * (1 - amount[..., None] * (1 - tint)), foreground)


def contamination(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Foreign matter on the product: a fibre, or a few crumbs of dirt, with a faint shadow."""
    unit = _unit(image)
    at = inside(foreground, rng, 22 * unit)
    dark = np.float32(rng.uniform(0.05, 0.3)) * np.asarray([1.0, rng.uniform(0.75, 1), rng.uniform(0.6, 1)], np.float32)
    tint = dark if image[foreground].mean() > 0.3 or rng.random() < 0.3 else np.float32(1) - dark
    after = image
    if rng.random() < 0.5:
        away = _away(image, _path(rng, at, rng.uniform(30, 80) * unit, 2.5, 0.12))
        bodies = [away - np.float32(rng.uniform(0.7, 1.5) * unit)]
    else:
        bodies = []
        for _ in range(int(rng.integers(1, 5))):
            near = (at[0] + rng.normal(0, 9) * unit, at[1] + rng.normal(0, 9) * unit)
            bodies.append(_blob(image, rng, near, rng.uniform(2, 6) * unit, 0.2))
    for d in bodies:
        shadow = (np.clip(1 - np.roll(d, 2, (0, 1)) / np.float32(3 * unit), 0, 1) * 0.25).astype(np.float32)
        cover = np.clip(np.float32(0.5) - d / np.float32(1.2), 0, 1)
        grain = 1 + np.float32(0.25) * spectral_noise(rng, image.shape[0], 1.0)
        after = after * (1 - shadow)[..., None]
        after = after + cover[..., None] * (tint * grain[..., None] - after)
    return settle(image, after)


def crack(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A jagged dark crack with one or two branches."""
    unit = _unit(image)
    at = inside(foreground, rng, 14 * unit)
    trunk = _path(rng, at, rng.uniform(30, 100) * unit, 0.4, 0.25)
    away, width = _away(image, trunk), rng.uniform(0.6, 1.3) * unit
    for _ in range(int(rng.integers(0, 3))):
        fork = trunk[int(rng.integers(len(trunk)))]
        branch = _path(rng, (0.0, 0.0), rng.uniform(12, 35) * unit, 0.3, 0.25)
        away = np.minimum(away, _away(image, branch - branch[0] + fork) + np.float32(0.3 * width))
    ink = np.exp(-((away / np.float32(width)) ** 2)) * np.float32(rng.uniform(0.55, 0.9))
    lip = np.exp(-(((away - np.float32(2 * width)) / np.float32(width)) ** 2)) * np.float32(0.08)
    return settle(image, image * (1 - ink)[..., None] + lip[..., None], foreground)


def _ground(image: Image, foreground: Mask) -> Image:
    """The background continued under the product, by reflection at the product's edge."""
    behind = ndimage.binary_dilation(foreground, iterations=5)
    if behind.all():
        return np.zeros_like(image) + np.float32(0.04)
    nearest = ndimage.distance_transform_edt(behind, return_distances=False, return_indices=True)
    y, x = _grid(image)
    h, w = foreground.shape
    mirror_y = np.clip(2 * nearest[0] - y, 0, h - 1).astype(int)
    mirror_x = np.clip(2 * nearest[1] - x, 0, w - 1).astype(int)
    free = ~behind[mirror_y, mirror_x]
    ground = image[np.where(free, mirror_y, nearest[0]), np.where(free, mirror_x, nearest[1])]
    return np.asarray(ground, np.float32)


def chip(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A piece broken off the product's edge: the background shows, and the break has a bright ridge."""
    unit = _unit(image)
    edge = np.argwhere(foreground & ~ndimage.binary_erosion(foreground, border_value=1))
    if not len(edge):
        return crack(image, foreground, rng)
    y, x = edge[int(rng.integers(len(edge)))]
    d = _blob(image, rng, (float(y), float(x)), rng.uniform(8, 20) * unit, 0.15)
    cover = np.clip(np.float32(0.5) - d / np.float32(1.2), 0, 1)[..., None]
    ridge = np.exp(-(((d - np.float32(1.5 * unit)) / np.float32(1.5 * unit)) ** 2))[..., None]
    after = image * (1 + np.float32(rng.uniform(0.2, 0.5)) * ridge)
    after = after + cover * (_ground(image, foreground) * np.float32(0.9) - after)
    return settle(image, after, foreground)


def hole(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A hole torn through: dark inside, with a frayed rim."""
    unit = _unit(image)
    radius = rng.uniform(5, 14) * unit
    d = _blob(image, rng, inside(foreground, rng, radius * 1.5), radius, 0.14)
    d = d + np.float32(0.9 * unit) * spectral_noise(rng, image.shape[0], 1.2)
    cover = np.clip(np.float32(0.5) - d / np.float32(1.5 * unit), 0, 1)[..., None]
    rim = np.exp(-(((d - np.float32(2 * unit)) / np.float32(2 * unit)) ** 2))[..., None]
    fray = np.float32(0.25) * spectral_noise(rng, image.shape[0], 0.6)[..., None]
    after = image * (1 + rim * (np.float32(0.15) + fray))
    after = after + cover * (image.mean() * np.float32(rng.uniform(0.05, 0.25)) - after)
    return settle(image, after, foreground)


def colour_fault(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A patch whose colour has faded, darkened or run."""
    unit = _unit(image)
    radius = rng.uniform(13, 34) * unit
    d = _blob(image, rng, inside(foreground, rng, radius * 0.5), radius, 0.15)
    amount = (1 / (1 + np.exp(np.clip(d / np.float32(2.5 * unit), -30, 30))))[..., None]
    grey = image.mean(2, keepdims=True)
    if rng.random() < 0.5:
        other = grey + np.float32(rng.uniform(0.05, 0.4)) * (image - grey) + np.float32(rng.uniform(0.04, 0.14))
    else:
        other = image * (1 - rng.uniform(0.15, 0.5, 3)).astype(np.float32)
    return settle(image, image + amount * (other - image), foreground)


def thread_pull(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A pulled thread: the weave puckers along a line, and the thread lies on it as a loop."""
    unit = _unit(image)
    y0, x0 = inside(foreground, rng, 30 * unit)
    lying = rng.random() < 0.5
    y, x = _grid(image)
    v, u = (y - np.float32(y0), x - np.float32(x0)) if lying else (x - np.float32(x0), y - np.float32(y0))
    length, width = rng.uniform(28, 70) * unit, rng.uniform(2.5, 5) * unit
    envelope = np.exp(-((u / np.float32(length * 0.6)) ** 4)) * np.exp(-((v / np.float32(width)) ** 2))
    shift = np.float32(rng.uniform(3, 7) * unit) * envelope * np.sign(rng.normal())
    ripple = np.sin(u * np.float32(rng.uniform(0.3, 0.6) / unit)) * np.float32(1.2 * unit) * envelope
    after = sample(image, y + shift, x + ripple) if lying else sample(image, y + ripple, x + shift)
    after = after * (1 - np.float32(0.25) * envelope)[..., None]
    bow = np.float32(rng.uniform(3, 8) * unit) * np.exp(-((u / np.float32(length * 0.3)) ** 2))
    loop = np.clip(1.3 * unit - np.abs(v - bow), 0, 1) * (np.abs(u) < length * 0.45)
    tone = np.minimum(image.max((0, 1)) * np.float32(0.92), 1)
    return settle(image, after + (np.float32(0.85) * loop)[..., None] * (tone - after), foreground)


def misweave(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A weaving fault: in a narrow band the threads float, smeared along the band and out of step."""
    unit = _unit(image)
    y0, x0 = inside(foreground, rng, 20 * unit)
    lying = rng.random() < 0.5
    y, x = _grid(image)
    v, u = (y - np.float32(y0), x - np.float32(x0)) if lying else (x - np.float32(x0), y - np.float32(y0))
    half, length = rng.uniform(2.5, 6.5) * unit, rng.uniform(30, 150) * unit
    band = np.clip(np.float32(half) + 0.5 - np.abs(v), 0, 1) * np.clip(np.float32(length / 2) - np.abs(u), 0, 1)
    axis = 1 if lying else 0
    float_ = ndimage.uniform_filter1d(image, round(18 * unit), axis=axis, mode="reflect")
    float_ = np.roll(float_, round(half), axis=1 - axis) * np.float32(rng.choice([0.72, 0.82, 1.18, 1.28]))
    return settle(image, image + band[..., None] * (float_ - image), foreground)


def bend(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A part pushed out of shape: the product's edge is displaced over a short stretch."""
    unit = _unit(image)
    edge = np.argwhere(foreground & ~ndimage.binary_erosion(foreground, border_value=1))
    if not len(edge):
        return dent(image, foreground, rng)
    y0, x0 = (float(v) for v in edge[int(rng.integers(len(edge)))])
    y, x = _grid(image)
    radius = np.float32(rng.uniform(12, 26) * unit)
    falloff = np.exp(-((y - np.float32(y0)) ** 2 + (x - np.float32(x0)) ** 2) / (radius * radius))
    middle = np.argwhere(foreground).mean(0)
    out = np.asarray([y0, x0]) - middle
    out /= max(float(np.hypot(*out)), 1e-6)
    push = rng.uniform(5, 10) * unit * (1 if rng.random() < 0.7 else -1)
    falloff = (push * falloff).astype(np.float32)
    dy, dx = np.float32(out[0]), np.float32(out[1])
    after = sample(image, (y + dy * falloff).astype(np.float32), (x + dx * falloff).astype(np.float32))
    return settle(image, after, gap=6)  # a moved pattern meets itself in places, which are moved all the same


def solder_bridge(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A splash of solder: a small shiny drop, or a bridge of two drops."""
    unit = _unit(image)
    y, x = inside(foreground, rng, 14 * unit)
    turn, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0, 11) * unit
    radius = rng.uniform(4, 8) * unit
    other = (y + reach * math.sin(turn), x + reach * math.cos(turn))
    d = np.minimum(_blob(image, rng, (y, x), radius, 0.1), _blob(image, rng, other, radius * 0.8, 0.1))
    cover = np.clip(np.float32(0.5) - d / np.float32(1.2), 0, 1)
    tall = np.sqrt(np.clip(-d / np.float32(radius), 0, 1))
    gy, gx = np.gradient(tall)
    shade = np.clip(0.55 + np.float32(1.6 * unit) * (gy + gx) + np.float32(0.35) * tall**3, 0.15, 1)
    tone = shade[..., None] * np.asarray([0.82, 0.83, 0.85], np.float32)
    dark = np.clip(1 - np.roll(d, 1, (0, 1)) / np.float32(2.5 * unit), 0, 1) * np.float32(0.35)
    after = image * (1 - dark)[..., None]
    return settle(image, (after + cover[..., None] * (tone - after)).astype(np.float32), foreground)


def smear(image: Image, foreground: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A print fault: ink or gel dragged in one direction."""
    unit = _unit(image)
    radius = rng.uniform(14, 28) * unit
    d = _blob(image, rng, inside(foreground, rng, radius * 0.5), radius, 0.1)
    amount = np.clip(np.float32(0.5) - d / np.float32(6 * unit), 0, 1)[..., None]
    axis = int(rng.integers(2))
    dragged = ndimage.uniform_filter1d(image, round(rng.uniform(11, 25) * unit), axis=axis, mode="reflect")
    dragged = dragged * np.float32(rng.uniform(0.8, 0.92))  # a thicker film is darker; an even area shows it too
    return settle(image, image + amount * (dragged - image), foreground)
