"""Masks from generated anomaly parts, and the reasons to reject a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge_ad.images import BACKGROUND, Mask, Picture
from edge_ad.training.foreground import otsu
from edge_ad.training.foreground_rembg import open_u2net

MaskKind = Literal["threshold", "attention", "u2net", "sam"]
Reason = Literal["empty", "off-object", "whole", "apart", "faint"]


class PartSegmenter(Protocol):
    """A network that cuts the mask out of an anomaly part."""

    def __call__(self, part: Picture, rules: MaskRules) -> Mask:
        """bool S,S from an anomaly part uint8 S,S,3."""


@dataclass(frozen=True)
class MaskRules:
    """What makes a mask, and what is no defect.

    Attributes:
        floor: a pixel of the part differs from its ground by at least this, of 255, whatever Otsu's threshold says.
        drift: the ground may differ from mid-grey by this much, of 255: a short training does not hit it exactly.
        speck: a region smaller than this share of the largest is dropped.
        smallest: a mask of less than this share of the picture is empty.
        largest: one of more covers it all.
        on_object: at least this share of a mask lies on the object.
        agreement: picture and part are this alike inside the mask, see `agreement`; less, and the branches have drawn
            two different things.
        visible: the pair's `Alignment` is at least this, or that of the least visible training pair, see `visible`: in
            fewer the defect cannot be seen, and a mask of what cannot be seen teaches the wrong thing. 0 keeps all.
    """

    floor: float = 20.0
    drift: float = 48.0
    speck: float = 0.1
    smallest: float = 5e-4
    largest: float = 0.6
    on_object: float = 0.5
    agreement: float = 0.7
    visible: float = 0.7


def threshold_mask(part: Picture, rules: MaskRules) -> Mask:
    """The mask of an anomaly part: where it is not the mid-grey ground, by hysteresis, cleaned.

    The ground is the part's median colour, at most `rules.drift` from mid-grey. The difference is the largest of the
    three channels, smoothed a little. Otsu's threshold (never below
    `rules.floor`) finds the defect; what hangs together with it down to half of that belongs to it.

    Args:
        part: uint8 S,S,3, mid-grey where there is no defect.
        rules: thresholds.

    Returns:
        bool S,S.
    """
    from scipy import ndimage

    ground = np.clip(np.median(part, axis=(0, 1)), BACKGROUND - rules.drift, BACKGROUND + rules.drift)
    difference = np.abs(part.astype(np.float32) - ground).max(-1)
    smooth = ndimage.gaussian_filter(difference, len(part) / 256)
    high = max(otsu(smooth), rules.floor)
    seeds, reach = smooth > high, smooth > max(high / 2, rules.floor / 2)
    return clean(ndimage.binary_propagation(seeds, mask=reach), rules)


def attention_mask(weights: npt.NDArray[np.float32], size: int, rules: MaskRules) -> Mask:
    """The mask of an average cross-attention map float32 h,w, resized to size × size, above Otsu's threshold."""
    from PIL import Image

    wide = np.asarray(Image.fromarray(weights.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))
    return clean(wide > otsu(wide), rules)


def clean(mask: Mask, rules: MaskRules) -> Mask:
    """Gaps closed, holes filled, specks dropped."""
    from scipy import ndimage

    width = max(1, len(mask) // 128)
    closed = ndimage.binary_closing(np.pad(mask, 2 * width), iterations=width)[
        2 * width : -2 * width, 2 * width : -2 * width
    ]
    filled = ndimage.binary_fill_holes(closed)
    labels, count = ndimage.label(filled, np.ones((3, 3)))
    if count == 0:
        return filled
    areas = np.bincount(labels.ravel())[1:]
    kept: Mask = np.isin(labels, np.flatnonzero(areas >= rules.speck * areas.max()) + 1)
    return kept


class SalientObject:
    """U²-Net (Qin et al. 2020) through rembg, as the paper takes its masks. Nothing is downloaded.

    Raises:
        InputError: rembg is not installed, or its model file is missing or unreadable.
    """

    def __init__(self) -> None:
        self._salient = open_u2net("--masks u2net")

    def __call__(self, part: Picture, rules: MaskRules) -> Mask:
        """bool S,S from an anomaly part uint8 S,S,3."""
        return clean(self._salient(part), rules)


def agreement(picture: Picture, part: Picture, mask: Mask) -> float | None:
    """1 - mean |I - I_a| / 255 inside the mask: whether both branches drew the same defect; None without a mask."""
    if not mask.any():
        return None
    difference = np.abs(picture.astype(np.float32) - part.astype(np.float32))[mask]
    return round(1 - float(difference.mean()) / 255, 4)


def visible(real: Sequence[float], rules: MaskRules) -> float:
    """How visible a defect must be: `rules.visible`, or as the least of the training pairs' alignments where less."""
    return min([rules.visible, *real])


def rejection(
    mask: Mask, foreground: Mask | None, alike: float | None, alignment: float | None, least: float, rules: MaskRules
) -> Reason | None:
    """Why a pair is no use, or None.

    Args:
        mask: bool S,S.
        foreground: the object, bool S,S; None where the product fills the picture.
        alike: the pair's `agreement`.
        alignment: the pair's `Alignment`, if there are good pictures to tell.
        least: from `visible`.
        rules: limits.
    """
    share = float(mask.mean())
    if share < rules.smallest:
        return "empty"
    if share > rules.largest:
        return "whole"
    if foreground is not None and float(foreground[mask].mean()) < rules.on_object:
        return "off-object"
    if alike is not None and alike < rules.agreement:
        return "apart"
    return "faint" if alignment is not None and alignment < least else None
