"""Small changes of a good picture: those that a good part may show, and those of camera and light that should alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter

from edge_ad.images import Picture

Change = Callable[[Picture], Picture]


def brighter(image: Picture, factor: float) -> Picture:
    """Exposure times a factor, clipped: uint8 H,W,3."""
    return np.clip(np.rint(image.astype(np.float32) * factor), 0, 255).astype(np.uint8)


def blurred(image: Picture, sigma: float) -> Picture:
    """Out of focus: a Gaussian of `sigma` pixels."""
    return np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def moved(image: Picture, right: float, down: float, degrees: float = 0.0) -> Picture:
    """Moved by shares of the width and height and turned about the centre; borders are mirrored."""
    height, width = image.shape[:2]
    margin = max(height, width) // 4
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    turned = Pillow.fromarray(padded).rotate(
        degrees, Pillow.Resampling.BICUBIC, translate=(round(right * width), round(down * height))
    )
    return np.asarray(turned)[margin : margin + height, margin : margin + width]


def warmer(image: Picture, factor: float) -> Picture:
    """Another colour of the light: red times a factor, blue divided by it."""
    gains = np.array([factor, 1.0, 1 / factor], np.float32)
    return np.clip(np.rint(image.astype(np.float32) * gains), 0, 255).astype(np.uint8)


#: What a station should notice, from slight to plain; blur and shift are relative to the picture's side.
DRIFTS: dict[str, Change] = {
    "5 % brighter": lambda image: brighter(image, 1.05),
    "10 % darker": lambda image: brighter(image, 0.9),
    "20 % darker": lambda image: brighter(image, 0.8),
    "warmer light": lambda image: warmer(image, 1.06),
    "slightly out of focus": lambda image: blurred(image, 0.003 * max(image.shape[:2])),
    "out of focus": lambda image: blurred(image, 0.008 * max(image.shape[:2])),
    "moved by 3 %": lambda image: moved(image, 0.03, 0.0),
    "moved by 10 %": lambda image: moved(image, 0.1, 0.0),
}


def as_good(image: Picture, rng: np.random.Generator) -> Picture:
    """The same good part once more: moved by up to 1 %, turned by up to 1°, exposure within 2 %, a little noise."""
    right, down, degrees = rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01), rng.uniform(-1, 1)
    again = brighter(moved(image, right, down, degrees), rng.uniform(0.98, 1.02)).astype(np.float32)
    noise = rng.normal(0, 1.5, image.shape[:2])[:, :, None]
    return np.clip(np.rint(again + noise), 0, 255).astype(np.uint8)
