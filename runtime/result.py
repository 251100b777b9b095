"""What an inspection returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.regions import Region, find_regions, rescale_region

Verdict = Literal["good", "bad", "undecided"]


@dataclass(frozen=True)
class Inspection:
    """The decision on one image and what it rests on.

    category: the product it was compared with. score: 0 or more, higher is less normal. threshold: the calibrated
    limit for this plan and precision, None when the bundle has none. verdict: "bad" from the threshold on, "good"
    below, "undecided" without one. score_map: float32 S,S, the evidence a pixel, S the bundle's image size. regions:
    connected pixels at or above the threshold, in pixels of the original image, highest peak first; empty without a
    threshold. inpainted: uint8 S,S,3 RGB, what the part should have looked like, when asked for. error_map: float32
    h,w, squared distance to the nearest prototype (eq. 14). times: seconds by stage; in a batch, the batch's seconds
    divided by its images.
    """

    category: str
    score: float
    threshold: float | None
    verdict: Verdict
    score_map: NDArray[np.float32]
    regions: list[Region]
    inpainted: NDArray[np.uint8] | None
    error_map: NDArray[np.float32]
    times: dict[str, float] = field(default_factory=dict)


def decide(score: float, threshold: float | None) -> Verdict:
    """ "bad" from the threshold on, "good" below it, "undecided" without one."""
    if threshold is None:
        return "undecided"
    return "bad" if score >= threshold else "good"


def regions_of(score_map: NDArray[np.float32], threshold: float | None, original: tuple[int, int]) -> list[Region]:
    """Regions of a score map (float32 S,S) at or above a threshold, in pixels of an image of size `original` (H, W)."""
    if threshold is None:
        return []
    return [rescale_region(found, score_map.shape, original) for found in find_regions(score_map, threshold)]


def to_uint8(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Float 3,H,W in [-1, 1] to uint8 H,W,3."""
    scaled = (picture.transpose(1, 2, 0).astype(np.float32) + 1) * 127.5
    pixels: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels
