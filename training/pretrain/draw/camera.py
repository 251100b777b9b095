"""The camera between a drawn scene and a picture of it: light, lens, sensor, file."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field
from edge_ad.training.pretrain.draw.picture import Picture

Planes = npt.NDArray[np.float32]
"""float32 H,W,C with C = 3, or 1 from a grey camera."""

GREY_SHARE = 0.3
"""Of the pictures, those from a grey camera."""


def photograph(rng: np.random.Generator, picture: Picture) -> Picture:
    """Take a picture of a drawn scene.

    Light that falls off, a soft shadow, vignetting, white balance, exposure, lens and motion blur, shot and read noise,
    a tone curve, now and then a grey sensor or JPEG: each drawn at random, mild as on an inspection line.

    Args:
        rng: the generator.
        picture: what a drawing function returned, float32 H,W,3 in [0, 1].

    Returns:
        The same caption and foreground with a uint8 H,W,3 image; a grey camera's three channels are equal.
    """
    scene = picture.image.astype(np.float32, copy=False)
    planes = _grey(rng, scene) if rng.random() < GREY_SHARE else scene * _white_balance(rng)
    planes = planes * illumination(rng, scene.shape[0])[..., None]
    planes = planes * np.float32(exposure(rng, float(planes.mean())))
    planes = _noisy(rng, _blurred(rng, planes))
    seen = _tone_curve(rng)[(np.clip(planes, 0, 1) * 4095 + 0.5).astype(np.int32)]
    if rng.random() < 0.2:
        seen = _jpeg(seen, int(rng.integers(70, 96)))
    if seen.shape[2] == 1:
        seen = np.repeat(seen, 3, axis=2)
    return replace(picture, image=np.ascontiguousarray(seen))


def _grey(rng: np.random.Generator, scene: Planes) -> Planes:
    """A grey sensor's picture: its weights vary with the lamp and the filter."""
    weights = np.array([0.3, 0.5, 0.2]) + rng.normal(0, 0.08, 3)
    weights = np.clip(weights, 0.02, None)
    grey: Planes = (scene @ (weights / weights.sum()).astype(np.float32))[..., None]
    return grey


def _white_balance(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Gains of the three channels: mostly along the warm-cold line."""
    warm, tint = rng.normal(0, 0.05), rng.normal(0, 0.02)
    return np.array([1 + warm, 1 + tint, 1 - warm], np.float32)


def illumination(rng: np.random.Generator, size: int) -> Field:
    """The light at each pixel, float32 H,W about 1: a gradient, now and then a spot or a soft shadow, vignetting."""
    y, x = fields.coords(size)
    angle, slope = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.12))
    light: Field = 1 + np.float32(np.cos(angle) * slope) * x + np.float32(np.sin(angle) * slope) * y
    squared = x * x + y * y
    if rng.random() < 0.7:
        light *= 1 - np.float32(rng.uniform(0, 0.16)) * squared
    if rng.random() < 0.25:
        cy, cx = (np.float32(c) for c in rng.uniform(-1, 1, 2))
        spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / np.float32(rng.uniform(0.2, 2)))
        light *= 1 + np.float32(rng.uniform(0.05, 0.35)) * spot
    if rng.random() < 0.2:
        _, u = fields.turned(size, rng.uniform(0, 2 * np.pi))
        edge, soft = rng.uniform(-0.8, 0.8), rng.uniform(0.08, 0.6)
        light *= 1 - np.float32(rng.uniform(0.05, 0.35)) * fields.smoothstep(edge - soft, edge + soft, u)
    return np.maximum(light, np.float32(0.05)).astype(np.float32)


def exposure(rng: np.random.Generator, mean: float) -> float:
    """The gain of an exposure that is set roughly to the scene: dark things stay darker than bright ones."""
    target = rng.uniform(0.3, 0.6)
    gain = (target / max(mean, 0.02)) ** rng.uniform(0.2, 0.8)
    return float(np.clip(gain, 0.5, 3.0) * np.exp(rng.normal(0, 0.1)))


def _blurred(rng: np.random.Generator, planes: Planes) -> Planes:
    """Defocus (often a little, seldom much) and, rarely, motion."""
    size = planes.shape[0]
    roll = rng.random()
    if roll < 0.45:
        sigma = (rng.uniform(0.3, 0.8) if roll < 0.33 else rng.uniform(0.8, 1.8)) * size / 256
        for channel in range(planes.shape[2]):
            planes[..., channel] = ndimage.gaussian_filter(planes[..., channel], sigma, mode="nearest", truncate=3)
    elif roll < 0.49:
        length = int(rng.integers(2, max(3, size // 40)))
        planes = ndimage.uniform_filter1d(planes, length, axis=int(rng.integers(2)), mode="nearest")
    return planes


def _noisy(rng: np.random.Generator, planes: Planes) -> Planes:
    """Shot noise (variance grows with the light) and read noise, both light."""
    shot = np.exp(rng.uniform(np.log(2e-5), np.log(1.2e-3)))
    read = np.exp(rng.uniform(np.log(5e-4), np.log(8e-3)))
    deviation: Planes = np.sqrt(np.maximum(planes, 0) * np.float32(shot) + np.float32(read**2))
    deviation *= rng.standard_normal(planes.shape, np.float32)
    deviation += planes
    return deviation


@lru_cache(maxsize=1)
def _levels() -> npt.NDArray[np.float64]:
    return np.linspace(0, 1, 4096)


def _tone_curve(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A table of 4096 levels to uint8: gamma about 1, an S-curve of contrast either way, black and white levels."""
    level = _levels() ** np.exp(rng.normal(0, 0.15))
    curve = level * level * (3 - 2 * level)
    level = level + rng.uniform(-0.25, 0.5) * (curve - level)
    black, white = rng.uniform(0, 0.05) * (rng.random() < 0.4), 1 - rng.uniform(0, 0.06) * (rng.random() < 0.4)
    table: npt.NDArray[np.uint8] = np.clip((black + (white - black) * level) * 255 + 0.5, 0, 255).astype(np.uint8)
    return table


def _jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Write and read again as JPEG; one channel stays one."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(stream, "JPEG", quality=quality)
    back = np.asarray(Image.open(stream))
    return back[..., None] if back.ndim == 2 else back
