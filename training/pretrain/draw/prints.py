"""Flat artwork drawn once in pixels and printed on parts: text, barcodes, signs, circuit layers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_ad.training.pretrain.draw.fields import sample
from edge_ad.training.pretrain.draw.shapes import Field

_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_DIGITS = "0123456789"


@lru_cache(maxsize=64)
def font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font at a height in px."""
    return ImageFont.load_default(max(height, 6))


def code(rng: np.random.Generator) -> str:
    """A type code or lot number, as parts carry them: "KR 2047", "L83B", "16V 470"."""
    letters = "".join(rng.choice(list(_LETTERS), int(rng.integers(1, 4))))
    digits = "".join(rng.choice(list(_DIGITS), int(rng.integers(1, 5))))
    return str(rng.choice([f"{letters}{digits}", f"{letters} {digits}", f"{digits}{letters}", letters, digits]))


class Artwork:
    """A one-channel drawing on a rectangle of half sides `half` (y, x), sampled at the part's coordinates.

    Draw with `pen` in px of a canvas `shape`; `at(y, x)` then gives its ink, 0..1, at any coordinates, 0 outside.
    """

    def __init__(self, half: tuple[float, float], long_side: int = 256):
        self.half = half
        scale = long_side / (2 * max(half))
        self.scale = scale
        self.shape = (max(round(2 * half[0] * scale), 4), max(round(2 * half[1] * scale), 4))
        self.canvas = Image.new("L", (self.shape[1], self.shape[0]), 0)
        self.pen = ImageDraw.Draw(self.canvas)
        self._ink: Field | None = None

    def px(self, y: float, x: float) -> tuple[float, float]:
        """Canvas (x, y) of a point in the part's units, in Pillow's order."""
        return (x + self.half[1]) * self.scale, (y + self.half[0]) * self.scale

    def text(self, words: str, y: float, x: float, height: float) -> None:
        """Write words centred on (y, x), letters `height` units high."""
        self.pen.text(self.px(y, x), words, fill=255, font=font(round(height * self.scale)), anchor="mm")

    def at(self, y: Field, x: Field) -> Field:
        """Ink at coordinates: float32 H,W in 0..1."""
        if self._ink is None:
            # a border of nothing, for what is outside
            self._ink = np.pad(np.asarray(self.canvas, np.float32) / np.float32(255), 1).astype(np.float32)
        h, w = self._ink.shape
        row = np.clip((y + np.float32(self.half[0])) * np.float32(self.scale) + np.float32(0.5), 0, h - 1)
        column = np.clip((x + np.float32(self.half[1])) * np.float32(self.scale) + np.float32(0.5), 0, w - 1)
        return sample(self._ink, row, column)


def barcode(rng: np.random.Generator, art: Artwork, box: tuple[float, float, float, float]) -> None:
    """Print a one-dimensional barcode into the box (y0, x0, y1, x1)."""
    widths = rng.integers(1, 4, int(rng.integers(25, 60))).astype(float)
    edges = np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    y0, x0, y1, x1 = box
    for a, b in zip(edges[0:-1:2], edges[1::2]):
        art.pen.rectangle([art.px(y0, x0 + a * (x1 - x0)), art.px(y1, x0 + b * (x1 - x0))], fill=255)


def matrix(rng: np.random.Generator, art: Artwork, box: tuple[float, float, float, float]) -> None:
    """Print a data-matrix-like code into the box (y0, x0, y1, x1)."""
    n = int(rng.integers(10, 22))
    bits = rng.random((n, n)) < 0.5
    bits[:, 0] = bits[-1] = True
    y0, x0, y1, x1 = box
    for i, j in np.argwhere(bits):
        corner = (y0 + (y1 - y0) * i / n, x0 + (x1 - x0) * j / n)
        other = (y0 + (y1 - y0) * (i + 1) / n, x0 + (x1 - x0) * (j + 1) / n)
        art.pen.rectangle([art.px(*corner), art.px(*other)], fill=255)


def lines_of_text(
    rng: np.random.Generator, art: Artwork, box: tuple[float, float, float, float], height: float
) -> None:
    """Fill the box with lines of codes and short words."""
    y0, x0, y1, x1 = box
    y = y0 + height / 2
    while y < y1 - height / 3:
        words = " ".join(code(rng) for _ in range(int(rng.integers(1, 5))))
        left, top = art.px(y, x0)
        room = max(int((x1 - x0) / (0.62 * height)), 1)
        art.pen.text((left, top), words[:room], fill=255, font=font(round(height * art.scale)), anchor="lm")
        y += height * 1.35
