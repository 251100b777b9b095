"""Augmented views of a shot (AnomalySD, section 5.1): contrast, brightness, scale, rotation, as the category allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_ad.training.prompts import CategoryInfo

Picture = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
_SMALL_DEGREES = 5.0


def augment(image: Picture, foreground: Bools, info: CategoryInfo, rng: np.random.Generator) -> tuple[Picture, Bools]:
    """One augmented view and its foreground.

    Args:
        image: uint8 S,S,3.
        foreground: bool S,S, turned and scaled with the picture.
        info: which augmentations leave the product a normal one.
        rng: of the view.

    Returns:
        uint8 S,S,3 and bool S,S.
    """
    if info.turn in ("quarter", "free"):
        turns = int(rng.integers(4))
        image, foreground = np.rot90(image, turns), np.rot90(foreground, turns)
    if info.mirror and rng.random() < 0.5:
        image, foreground = image[:, ::-1], foreground[:, ::-1]
    degrees = {"free": 45.0, "small": _SMALL_DEGREES, "quarter": _SMALL_DEGREES, "none": 0.0}[info.turn]
    angle = float(rng.uniform(-degrees, degrees))
    scale, shift = float(rng.uniform(0.94, 1.06)), rng.uniform(-0.03, 0.03, 2) * len(image)
    if not info.scale:  # drawn all the same, so that a switch leaves the rest of the view as it is
        scale, shift = 1.0, np.zeros(2)
    image = _warp(np.ascontiguousarray(image), angle, scale, shift, Image.Resampling.BICUBIC)
    foreground = (
        _warp(np.ascontiguousarray(foreground).astype(np.uint8), angle, scale, shift, Image.Resampling.NEAREST) > 0
    )
    if info.colour:
        contrast, brightness = rng.uniform(0.9, 1.1), rng.uniform(-0.06, 0.06) * 255
        mean = image.mean()
        image = np.clip((image.astype(np.float32) - mean) * contrast + mean + brightness, 0, 255).astype(np.uint8)
    return image, foreground


def _warp(
    array: npt.NDArray[Any], angle: float, scale: float, shift: Any, resample: Image.Resampling
) -> npt.NDArray[Any]:
    """Turn by `angle` degrees and scale about the centre, then shift in px; the edge is mirrored outside."""
    size = len(array)
    pad = size // 2
    widths = ((pad, pad), (pad, pad)) + ((0, 0),) * (array.ndim - 2)
    wide = np.pad(array, widths, mode="reflect")
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    centre, middle = size / 2, pad + size / 2
    x, y = float(shift[0]), float(shift[1])
    # Pillow's affine maps output pixels to input pixels
    matrix = (
        cos, -sin, middle - cos * (centre + x) + sin * (centre + y),
        sin, cos, middle - sin * (centre + x) - cos * (centre + y),
    )  # fmt: skip
    warped = Image.fromarray(wide).transform((size, size), Image.Transform.AFFINE, matrix, resample=resample)
    return np.asarray(warped)
