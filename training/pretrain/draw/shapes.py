"""Signed distances of plane shapes, and what is made of them: anti-aliased cover, bevels and domes.

Every shape takes coordinates `y`, `x` (float arrays of one shape, in the part's own units) and returns the signed
distance to its edge in the same units: negative inside, positive outside. The forms are those of Inigo Quilez, "2D
distance functions" (https://iquilezles.org/articles/distfunctions2d/); where a form is only a bound far from the edge,
its docstring says so.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def disc(y: Field, x: Field, radius: float) -> Field:
    """Disc about the origin."""
    return np.hypot(y, x) - np.float32(radius)


def ring(y: Field, x: Field, inner: float, outer: float) -> Field:
    """Flat ring between two radii."""
    return np.abs(np.hypot(y, x) - np.float32((inner + outer) / 2)) - np.float32((outer - inner) / 2)


def box(y: Field, x: Field, half_y: float, half_x: float, corner: float = 0.0) -> Field:
    """Rectangle with half sides `half_y`, `half_x` and rounded corners of radius `corner`."""
    corner = min(corner, half_y, half_x)
    qy = np.abs(y) - np.float32(half_y - corner)
    qx = np.abs(x) - np.float32(half_x - corner)
    outside = np.hypot(np.maximum(qy, 0), np.maximum(qx, 0))
    return outside + np.minimum(np.maximum(qy, qx), 0) - np.float32(corner)


def segment(y: Field, x: Field, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Line from `start` to `end` (y, x) with round ends, `radius` thick on each side."""
    dy, dx = end[0] - start[0], end[1] - start[1]
    py, px = y - np.float32(start[0]), x - np.float32(start[1])
    t = np.clip((py * dy + px * dx) / max(dy * dy + dx * dx, 1e-12), 0, 1).astype(np.float32)
    return np.hypot(py - t * np.float32(dy), px - t * np.float32(dx)) - np.float32(radius)


def polygon(y: Field, x: Field, sides: int, apothem: float) -> Field:
    """Regular polygon by its apothem (centre to side); a lower bound outside its corners."""
    sector = 2 * math.pi / sides
    angle = np.mod(np.arctan2(y, x) + np.float32(sector / 2), np.float32(sector)) - np.float32(sector / 2)
    return np.hypot(y, x) * np.cos(angle) - np.float32(apothem)


def gear(y: Field, x: Field, teeth: int, radius: float, depth: float, slope: float = 2.5) -> Field:
    """Spur gear of tip radius `radius`, tooth depth `depth`, flanks steeper with `slope`; a bound near the flanks."""
    wave = np.clip(np.float32(slope) * np.cos(np.arctan2(y, x) * teeth), -1, 1)
    distance = np.hypot(y, x) - np.float32(radius - depth / 2) - np.float32(depth / 2) * wave
    return distance * np.float32(0.6)  # keeps the gradient near 1 on the flanks, so that edges stay one pixel soft


def outline(y: Field, x: Field, radius: float, cosines: npt.ArrayLike, sines: npt.ArrayLike) -> Field:
    """Blob of radius `radius` (1 + sum of `cosines[k]` cos((k+1)a) + `sines[k]` sin((k+1)a)); a bound far away."""
    angle = np.arctan2(y, x)
    bend = np.ones_like(angle)
    for k, (c, s) in enumerate(zip(np.asarray(cosines), np.asarray(sines)), start=1):
        bend += np.float32(c) * np.cos(angle * k) + np.float32(s) * np.sin(angle * k)
    return np.hypot(y, x) - np.float32(radius) * bend


def around(y: Field, x: Field, count: int, radius: float) -> tuple[Field, Field]:
    """Coordinates folded `count` times about the origin, with the new origin at `radius`: one hole becomes a circle."""
    sector = 2 * math.pi / count
    angle = np.mod(np.arctan2(y, x) + np.float32(sector / 2), np.float32(sector)) - np.float32(sector / 2)
    r = np.hypot(y, x)
    return r * np.sin(angle), r * np.cos(angle) - np.float32(radius)


def along(x: Field, pitch: float, count: int) -> Field:
    """One coordinate folded into `count` cells of `pitch` centred on 0; the cells are not repeated beyond the row."""
    shift = (count - 1) / 2
    cell = np.clip(np.round(x / np.float32(pitch) + np.float32(shift)), 0, count - 1) - np.float32(shift)
    return x - cell * np.float32(pitch)


def turned(y: Field, x: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates in a frame rotated by `angle` radians."""
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return c * y + s * x, c * x - s * y


def union(*distances: Field) -> Field:
    """Where any shape is."""
    return np.minimum.reduce(distances)


def cut(distance: Field, *holes: Field) -> Field:
    """The first shape without the others."""
    for hole in holes:
        distance = np.maximum(distance, -hole)
    return distance


def cover(distance: Field, px: float) -> Field:
    """Share of each pixel that the shape covers, 0..1; `px` is the side of a pixel in the part's units."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / px), 0, 1)


def bevel(distance: Field, width: float) -> Field:
    """Height of a rounded edge: 0 at the edge, `width` from `width` inwards, a quarter circle between."""
    t = 1 - np.clip(-distance * np.float32(1 / width), 0, 1)
    return np.float32(width) * np.sqrt(np.maximum(1 - t * t, 0))


def chamfer(distance: Field, width: float) -> Field:
    """Height of a 45-degree edge: 0 at the edge, `width` from `width` inwards."""
    return np.clip(-distance, 0, np.float32(width))


def dome(distance: Field, depth: float, height: float) -> Field:
    """Height of a pillow: 0 at the edge, `height` from `depth` inwards, with a smooth top."""
    t = np.clip(-distance * np.float32(1 / depth), 0, 1)
    return np.float32(height) * np.sqrt(t * (2 - t))
