"""What products lie on: plain tables, textured surfaces, a conveyor belt, a light table."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw.fields import colour, colour_name, coords, spectral_noise, stripes, worley

Image = npt.NDArray[np.float32]


def background(rng: np.random.Generator, size: int, kind: str | None = None) -> tuple[Image, str]:
    """Draw a background: (float32 S,S,3 in 0..1, words such as "a dark table"); `kind` as in KINDS, None for any."""
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=_SHARES))
    image, words = KINDS[kind](rng, size)
    return np.clip(image, 0, 1).astype(np.float32), words


def _tinted(rng: np.random.Generator, size: int, tint: Image, noise: float, exponent: float) -> Image:
    """One colour with a light slope and fine noise."""
    y, x = coords(size)
    angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.12)
    tone = 1 + np.float32(slope) * (np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y)
    if noise > 0:
        tone = tone + np.float32(noise) * spectral_noise(rng, size, exponent)
    return tone[..., None] * tint


def _white(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = np.float32(rng.uniform(0.82, 0.98)) * (1 - rng.uniform(0, 0.05, 3)).astype(np.float32)
    words = str(rng.choice(["a white background", "a white table", "white paper"]))
    return _tinted(rng, size, tint, rng.uniform(0, 0.012), 1.5), words


def _black(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = np.float32(rng.uniform(0.02, 0.12)) * (1 - rng.uniform(0, 0.3, 3)).astype(np.float32)
    words = str(rng.choice(["a black background", "a dark table", "black cloth"]))
    return _tinted(rng, size, tint, rng.uniform(0, 0.2), rng.uniform(0.3, 2)), words


def _grey(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = np.float32(rng.uniform(0.25, 0.75)) * (1 - rng.uniform(0, 0.06, 3)).astype(np.float32)
    words = str(rng.choice(["a grey background", "a grey table", "a grey tray"]))
    return _tinted(rng, size, tint, rng.uniform(0, 0.06), rng.uniform(0.2, 2)), words


def _coloured(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = colour(rng, str(rng.choice(["plastic", "paint", "fabric", "light", "dark"])))
    noun = str(rng.choice(["background", "table", "mat"]))
    return _tinted(rng, size, tint, rng.uniform(0, 0.05), rng.uniform(0.2, 2)), f"a {colour_name(tint)} {noun}"


def _brushed(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    field = spectral_noise(rng, size, rng.uniform(0.6, 1.6), rng.uniform(6, 30), rng.uniform(0, math.pi))
    tone = 1 + np.float32(rng.uniform(0.03, 0.15)) * field
    return tone[..., None] * colour(rng, "steel"), "a metal plate"


def _wood(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    angle = rng.choice([0, math.pi / 2]) + rng.uniform(-0.1, 0.1)
    grain = spectral_noise(rng, size, 2.2, rng.uniform(6, 14), angle)
    lines = np.sin(grain * np.float32(rng.uniform(2, 7)))
    fibre = spectral_noise(rng, size, 0.6, 12, angle)
    tone = 1 + np.float32(rng.uniform(0.05, 0.14)) * lines + np.float32(rng.uniform(0.02, 0.06)) * fibre
    return tone[..., None] * colour(rng, "wood"), "a wooden table"


def _cloth(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    count, angle = rng.uniform(16, 45), rng.uniform(0, math.pi)
    warp = stripes(size, count, angle, rng.uniform(0, 6))
    weft = stripes(size, count * rng.uniform(0.8, 1.2), angle + math.pi / 2, rng.uniform(0, 6))
    tone = 1 + np.float32(rng.uniform(0.05, 0.14)) * (warp + weft) + np.float32(0.04) * spectral_noise(rng, size, 0.7)
    tint = colour(rng, "fabric")
    return tone[..., None] * tint, f"a {colour_name(tint)} cloth"


def _stone(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    _, _, cell = worley(rng, size, int(rng.integers(14, 50)))
    flakes = rng.normal(0, 1, int(cell.max()) + 1).astype(np.float32)[cell]
    tone = 1 + np.float32(rng.uniform(0.02, 0.12)) * flakes + np.float32(0.05) * spectral_noise(rng, size, 1.5)
    return tone[..., None] * colour(rng, "stone"), "a stone bench"


def _belt(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = colour(rng, str(rng.choice(["dark", "rubber", "board", "light"])))
    image = _tinted(rng, size, tint, rng.uniform(0.02, 0.08), rng.uniform(0, 1))
    upright = bool(rng.random() < 0.5)
    if rng.random() < 0.6:
        ribs = stripes(size, rng.uniform(10, 60), 0.0 if upright else math.pi / 2, rng.uniform(0, 6))
        image = image * (1 + np.float32(rng.uniform(0.03, 0.12)) * ribs)[..., None]
    if rng.random() < 0.5:  # the belt's edges, with the frame beside
        y, x = coords(size)
        across = np.abs((y if upright else x) + np.float32(rng.uniform(-0.05, 0.05)))
        edge = np.clip((across - np.float32(rng.uniform(0.82, 0.97))) * size / 2, 0, 1)
        frame = (
            colour(rng, "aluminium")
            * (1 - np.float32(0.6) * np.exp(-60 * np.abs(across - across.max() + 0.08)))[..., None]
        )
        image = image + edge[..., None] * (frame - image)
    return image, "a conveyor belt"


def _light_table(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    y, x = coords(size)
    cy, cx = rng.uniform(-0.3, 0.3, 2)
    fall = np.float32(rng.uniform(0.03, 0.22)) * ((y - np.float32(cy)) ** 2 + (x - np.float32(cx)) ** 2)
    tint = np.array([1.0, 1.0, 1.0], np.float32) * (1 - rng.uniform(0, 0.08, 3)).astype(np.float32)
    return (np.float32(rng.uniform(0.9, 1.0)) - fall)[..., None] * tint, "a light table"


def _tray(rng: np.random.Generator, size: int) -> tuple[Image, str]:
    tint = colour(rng, str(rng.choice(["plastic", "grey", "light", "dark"])))
    image = _tinted(rng, size, tint, 0.01, 1)
    y, x = coords(size)
    count = int(rng.integers(4, 16))
    dots = np.hypot(np.mod(y * count, 2) - 1, np.mod(x * count, 2) - 1) - np.float32(rng.uniform(0.15, 0.6))
    tone = 1 - np.float32(rng.uniform(0.1, 0.6)) * np.clip(0.5 - dots * size / (2 * count), 0, 1)
    return image * tone[..., None], "a perforated tray"


KINDS = {
    "white": _white,
    "black": _black,
    "grey": _grey,
    "coloured": _coloured,
    "brushed": _brushed,
    "wood": _wood,
    "cloth": _cloth,
    "stone": _stone,
    "belt": _belt,
    "light table": _light_table,
    "tray": _tray,
}
"""Background drawers by kind: (rng, size) -> (image, words)."""

_SHARES = [0.2, 0.16, 0.14, 0.12, 0.06, 0.06, 0.06, 0.04, 0.07, 0.05, 0.04]
