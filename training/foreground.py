"""Foreground masks m_f without any download: EfficientNet features far from those of the picture's border.

A background looks alike wherever it is seen, so a patch whose features are near some border patch is background. A
texture fills the picture: its middle is as near to the border as border patches are to each other, and all of it is
foreground.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PADDING = 32
"""Pixels by which pictures are mirrored outwards: with the network's own zeros there, all borders look alike, and the
middle of a texture would seem far from them."""

TEXTURE_RATIO = 1.6
"""The middle of an object is at least this many times as far from the border's features as border patches are apart."""


def _normalised(features: Tensor) -> Tensor:
    """C,h,w → h,w,C of unit length."""
    moved = features.permute(1, 2, 0)
    return moved / moved.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def border_distance(features: list[Tensor]) -> tuple[npt.NDArray[np.float32], float]:
    """How far each patch is from the background that the borders of all shots show.

    Args:
        features: one tensor C,h,w a shot.

    Returns:
        float32 N,h,w: cosine distance to the nearest border patch of another place (a border patch is compared with
        those at least a quarter of the side away), and the ratio of the middle's median to the border's.
    """
    shots = [_normalised(f) for f in features]
    side = shots[0].shape[0]
    ring = max(1, side // 16)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    on_border = (rows < ring) | (rows >= side - ring) | (columns < ring) | (columns >= side - ring)
    places = torch.stack([rows, columns], -1)[on_border].float()
    everywhere = torch.stack([rows, columns], -1).reshape(-1, 2).float()
    near = torch.cdist(everywhere, places, p=float("inf")) < side / 4
    bank = [shot[on_border] for shot in shots]
    maps = []
    for index, shot in enumerate(shots):
        nearest = torch.full((side * side,), 2.0)
        for other, patches in enumerate(bank):
            distance = 1 - shot.reshape(side * side, -1) @ patches.T
            if other == index:
                distance = distance.masked_fill(near, 2.0)
            nearest = torch.minimum(nearest, distance.min(1).values)
        maps.append(nearest.reshape(side, side).numpy())
    stack = np.stack(maps).astype(np.float32)
    quarter = side // 4
    middle = float(np.median(stack[:, quarter:-quarter, quarter:-quarter]))
    border = float(np.median(stack[:, on_border.numpy()]))
    return stack, middle / max(border, 1e-6)


def otsu(values: npt.NDArray[np.float32]) -> float:
    """Otsu's threshold over 128 equal bins: the one with the largest variance between the two classes."""
    counts, edges = np.histogram(values, 128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where(above > 0, between, -1.0))])


def foregrounds(
    images: list[npt.NDArray[np.uint8]], net: Any, kind: str = "auto"
) -> tuple[list[npt.NDArray[np.bool_]], bool]:
    """m_f of every shot of one category.

    Args:
        images: uint8 S,S,3, one size.
        net: a `FeatureNet`.
        kind: "object", "texture", or "auto".

    Returns:
        bool S,S for each picture, and whether the category was taken for a texture (then all True).
    """
    size = len(images[0])
    everything = [np.ones((size, size), bool) for _ in images]
    if kind == "texture":
        return everything, True
    wide = np.pad(np.stack(images), ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    rim = PADDING // 8
    with torch.inference_mode():
        features = [found[:, rim:-rim, rim:-rim] for found in net(torch.from_numpy(wide))]
    maps, ratio = border_distance(features)
    if kind == "auto" and ratio < TEXTURE_RATIO:
        return everything, True
    level = otsu(maps)
    cell = size // maps.shape[-1]
    found = []
    for values in maps:
        mask = _closed(values > level)
        # a segmentation that finds nothing, or all, knows nothing: then every rectangle may be used
        sensible = 0.02 < mask.mean() < 0.98
        found.append(np.kron(mask if sensible else np.ones_like(mask), np.ones((cell, cell), bool)))
    return found, False


def _closed(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Holes filled and single patches dropped."""
    from scipy import ndimage

    opened = ndimage.binary_opening(ndimage.binary_closing(np.pad(mask, 2), iterations=2))[2:-2, 2:-2]
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(opened)
    return filled
