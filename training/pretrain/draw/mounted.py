"""Bodies mounted on a circuit board, drawn in a small window so that many cost little."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.materials import Colour
from edge_ad.training.pretrain.draw.scene import Paint
from edge_ad.training.pretrain.draw.shapes import Field

SOLDER = np.asarray([0.78, 0.79, 0.8], np.float32)
GOLD = np.asarray([0.85, 0.68, 0.32], np.float32)
PRINT = np.asarray([0.92, 0.93, 0.9], np.float32)


def window(y: Field, x: Field, at: tuple[float, float], reach: float) -> tuple[slice, slice] | None:
    """Rows and columns of the coordinates within `reach` of a point, so that small details cost little."""
    near = (np.abs(y - np.float32(at[0])) < reach) & (np.abs(x - np.float32(at[1])) < reach)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def put(paint: Paint, w: tuple[slice, slice], alpha: Field, tone: npt.ArrayLike, height: Field, gloss: float) -> None:
    """`Paint.add` inside a window, on what is there."""
    alpha = alpha * paint.alpha[w]
    paint.colour[w] += alpha[..., None] * (np.asarray(tone, np.float32) - paint.colour[w])
    paint.height[w] += alpha * (height - paint.height[w])
    paint.gloss[w] += alpha * (np.float32(gloss) - paint.gloss[w])
    paint.metal[w] *= 1 - alpha


def block(
    paint: Paint,
    y: Field,
    x: Field,
    px: float,
    at: tuple[float, float],
    half: tuple[float, float],
    tint: Colour,
    rise: float,
) -> None:
    """A box-shaped body on a board, with the shadow it throws on the board."""
    w = window(y, x, at, max(half) + 0.08)
    if w is None:
        return
    v, u = y[w] - np.float32(at[0]), x[w] - np.float32(at[1])
    d = sh.box(v, u, *half, 0.01)
    dark = np.float32(0.45) * np.clip(1 - d / np.float32(0.04), 0, 1) * (d > 0)
    paint.colour[w] *= (1 - dark)[..., None]
    put(paint, w, sh.cover(d, px), tint, np.float32(rise) + sh.chamfer(d, 0.02), 0.12)


def round_can(paint: Paint, y: Field, x: Field, px: float, at: tuple[float, float], r: float, tint: Colour) -> None:
    """An electrolytic capacitor from above: a metal disc with a polarity mark."""
    w = window(y, x, at, r + 0.08)
    if w is None:
        return
    v, u = y[w] - np.float32(at[0]), x[w] - np.float32(at[1])
    d = sh.disc(v, u, r)
    dark = np.float32(0.5) * np.clip(1 - d / np.float32(0.06), 0, 1) * (d > 0)
    paint.colour[w] *= (1 - dark)[..., None]
    face = np.where((u > r * 0.55)[..., None], np.float32(0.12), SOLDER)
    rim = sh.cover(sh.ring(v, u, r * 0.85, r), px)
    put(paint, w, sh.cover(d, px), face + rim[..., None] * (tint - face), np.float32(0.05) + sh.bevel(d, 0.02), 0.4)
