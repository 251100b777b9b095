"""The pixels of one inspection at the station: what the worker needs, and the pictures for people. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_ad.heatmap import overlay
from edge_ad.images import thumbnail

Picture = NDArray[np.uint8]

#: The longer side of the defect map's picture: enough for a screen, and quick to colour whatever the camera's size.
MAP_SIDE = 768


def map_picture(small: Picture, score_map: NDArray[Any], limits: tuple[float, float]) -> Picture:
    """The defect map over the image: uint8 h,w,3 (see `small_copy`), float32 S,S and the range of colours."""
    return overlay(small, score_map, *limits)


def small_copy(image: Picture) -> Picture:
    """The image with its longer side at most `MAP_SIDE`: uint8 H,W,3 to uint8 h,w,3."""
    return image if max(image.shape[:2]) <= MAP_SIDE else thumbnail(image, MAP_SIDE)


def unsquare(picture: Picture, original: tuple[int, int]) -> Picture:
    """Give a square picture, uint8 S,S,3, the aspect ratio of its original (H, W); the longer side stays S."""
    side, (height, width) = picture.shape[0], original
    longer = max(height, width)
    size = (max(1, round(side * width / longer)), max(1, round(side * height / longer)))
    if size == (side, side):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
