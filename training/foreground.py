"""Foreground masks m_f without any download: EfficientNet features far from those of the picture's border.

A background looks alike wherever it is seen, so a patch whose features are near some border patch is background. A
texture fills the picture: all of it is about as near to the border as border patches are to each other, and all of it
is foreground.
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

TEXTURE_EVIDENCE = (4.4, -3.2, -5.3)
"""Constant and weights of `texture_evidence`: a logistic regression on drawn surfaces and products, rounded. The script
benchmarks/foreground.py fits them again and measures how often they are right."""


def _normalised(features: Tensor) -> Tensor:
    """C,h,w → h,w,C of unit length."""
    moved = features.permute(1, 2, 0)
    return moved / moved.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def border_distance(features: list[Tensor], on_border: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """How far each patch is from the background that the borders of all shots show.

    Args:
        features: one tensor C,h,w a shot.
        on_border: bool h,w, the patches that count as border; see `ring`.

    Returns:
        float32 N,h,w: cosine distance to the nearest border patch of another place (a patch is compared with those at
        least a quarter of the side away).
    """
    shots = [_normalised(f) for f in features]
    side = shots[0].shape[0]
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    chosen = torch.from_numpy(on_border)
    places = torch.stack([rows, columns], -1)[chosen].float()
    everywhere = torch.stack([rows, columns], -1).reshape(-1, 2).float()
    near = torch.cdist(everywhere, places, p=float("inf")) < side / 4
    bank = [shot[chosen] for shot in shots]
    maps = []
    for index, shot in enumerate(shots):
        nearest = torch.full((side * side,), 2.0)
        for other, patches in enumerate(bank):
            distance = 1 - shot.reshape(side * side, -1) @ patches.T
            if other == index:
                distance = distance.masked_fill(near, 2.0)
            nearest = torch.minimum(nearest, distance.min(1).values)
        maps.append(nearest.reshape(side, side).numpy())
    return np.stack(maps).astype(np.float32)


def ring(side: int, depth: int, width: int) -> npt.NDArray[np.bool_]:
    """bool side,side: the patches at least `depth` and less than `depth + width` patches from the border."""
    place = np.minimum(np.arange(side), np.arange(side)[::-1])
    distance = np.minimum(place[:, None], place[None])
    found: npt.NDArray[np.bool_] = (distance >= depth) & (distance < depth + width)
    return found


def texture_signs(features: Tensor) -> tuple[float, float]:
    """The two signs of an object in a picture's features, C,h,w.

    The border here is a ring a little inside: patches at the very edge have seen their own mirror image, in which a
    slanted rib becomes a chevron, so that all edges look alike and the middle of a ribbed surface far from them.

    Returns:
        The logarithm of how many times the most distant patches (the 95th percentile) are as far from the ring as the
        ring's patches are from each other (their median), and the cosine distance of those patches.
    """
    side = features.shape[-1]
    depth = side // 16
    on_ring = ring(side, depth, max(1, side // 32))
    distance = border_distance([features], on_ring)[0]
    far = float(np.quantile(distance[depth : side - depth, depth : side - depth], 0.95))
    near = float(np.median(distance[on_ring]))
    return float(np.log(max(far, 1e-6) / max(near, 1e-6))), far


def texture_evidence(features: Tensor) -> float:
    """Log odds that a picture is of a texture, from its features C,h,w.

    A very regular surface shows the first sign of an object without the second, since its border patches hardly differ;
    a product before a cluttered background the second without much of the first.
    """
    constant, *weights = TEXTURE_EVIDENCE
    return constant + sum(weight * sign for weight, sign in zip(weights, texture_signs(features), strict=True))


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
    features = padded_features(images, net)
    # each picture by itself, as the weights were fitted
    if kind == "auto" and np.mean([texture_evidence(one) for one in features]) > 0:
        return everything, True
    side = features[0].shape[-1]
    maps = border_distance(features, ring(side, 0, max(1, side // 16)))
    level = otsu(maps)
    cell = size // maps.shape[-1]
    found = []
    for values in maps:
        mask = _closed(values > level)
        # a segmentation that finds nothing, or all, knows nothing: then every rectangle may be used
        sensible = 0.02 < mask.mean() < 0.98
        found.append(np.kron(mask if sensible else np.ones_like(mask), np.ones((cell, cell), bool)))
    return found, False


def padded_features(images: list[npt.NDArray[np.uint8]], net: Any) -> list[Tensor]:
    """Features C,S/8,S/8 of pictures uint8 S,S,3, mirrored outwards so that borders are not told by padding."""
    wide = np.pad(np.stack(images), ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    rim = PADDING // 8
    with torch.inference_mode():
        return [found[:, rim:-rim, rim:-rim] for found in net(torch.from_numpy(wide))]


def _closed(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Holes filled and single patches dropped."""
    from scipy import ndimage

    opened = ndimage.binary_opening(ndimage.binary_closing(np.pad(mask, 2), iterations=2))[2:-2, 2:-2]
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(opened)
    return filled
