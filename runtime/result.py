"""What an inspection returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.regions import Region, find_regions, rescale_region
from edge_ad.runtime.category import Category

Verdict = Literal["good", "bad", "undecided"]
Stage = Literal["prototypes", "inpainting"]


@dataclass(frozen=True)
class Inspection:
    """The decision on one image and what it rests on.

    category: the product it was compared with. score: 0 or more, higher is less normal. threshold: the calibrated
    limit for this plan and precision, None when the bundle has none. verdict: "bad" from the threshold on, "good"
    below, "undecided" without one. score_map: float32 S,S, the evidence a pixel, S the bundle's image size. regions:
    connected pixels at or above the pixel threshold (the image's, when there is no other) of at least the calibrated
    area, in pixels of the original image, highest peak first; empty without a threshold. inpainted: uint8 S,S,3 RGB,
    what the part should have looked like, when asked for. error_map: float32 h,w, squared distance to the nearest
    prototype (eq. 14). times: seconds by stage; in a batch, the batch's seconds divided by its images. normalised: the
    score on a scale that all categories share, see `normalised_score`; None without a threshold. rule: where the
    threshold comes from ("conformal", "estimate", "f1", "cost"; None: not calibrated). reason: why there is no verdict,
    None when there is one. pooled: float32 D, for `edge_ad.runtime.monitor`; None for a category without prototypes.
    stage: what decided; "prototypes" alone in a cascade, where nothing was inpainted, else "inpainting".

    Of a bundle with heads (docs/heads.md), for categories that they know: segmenter_map: float32 s,s in 0..1, s the
    heads' image size, how likely a pixel is defective. segmenter_score: 0..1. Neither enters the verdict. defect: the
    likeliest kind of defect of a part that is not good; defect_probability: among the category's kinds.
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
    normalised: float | None = None
    rule: str | None = None
    reason: str | None = None
    pooled: NDArray[np.float32] | None = None
    stage: Stage = "inpainting"
    segmenter_map: NDArray[np.float32] | None = None
    segmenter_score: float | None = None
    defect: str | None = None
    defect_probability: float | None = None


def concluded(
    category: Category,
    original: tuple[int, int],
    score_map: NDArray[np.float32],
    score: float,
    error: NDArray[np.float32],
    pooled: NDArray[np.float32] | None,
    *,
    inpainted: NDArray[np.uint8] | None = None,
    stage: Stage = "inpainting",
) -> Inspection:
    """The decision that a score and its map give by what was calibrated.

    original: height and width of the image as it came. The other arguments are fields of `Inspection`.
    """
    threshold, calibration = category.threshold, category.calibration
    pixel_threshold, min_area, middle = threshold, 1.0, None
    if calibration is not None:
        pixel_threshold = calibration.pixel_threshold if calibration.pixel_threshold is not None else threshold
        min_area, middle = calibration.min_area, calibration.middle
    return Inspection(
        category=category.name,
        score=score,
        threshold=threshold,
        verdict=decide(score, threshold),
        score_map=score_map,
        regions=regions_of(score_map, pixel_threshold, original, min_area),
        inpainted=inpainted,
        error_map=error,
        normalised=normalised_score(score, threshold, middle),
        rule=None if calibration is None else calibration.rule,
        reason=category.reason,
        pooled=pooled,
        stage=stage,
    )


def normalised_score(score: float, threshold: float | None, middle: float | None) -> float | None:
    """A score on a scale that all categories share: 0.5 is the threshold, 0.25 the middle good picture.

    1/2 + v / (2 + 2|v|) with v = (score - threshold) / (threshold - middle): rises with the score everywhere and stays
    between 0 and 1. middle: the median good score; without one, or with one not below the threshold, 0 takes its place.
    None without a threshold.
    """
    if threshold is None:
        return None
    spread = threshold - middle if middle is not None and middle < threshold else threshold
    v = (score - threshold) / (spread if spread > 0 else 1.0)
    return 0.5 + v / (2 + 2 * abs(v))


def decide(score: float, threshold: float | None) -> Verdict:
    """ "bad" from the threshold on, "good" below it, "undecided" without one."""
    if threshold is None:
        return "undecided"
    return "good" if score < threshold else "bad"  # a score that is no number is not good


def regions_of(
    score_map: NDArray[np.float32], threshold: float | None, original: tuple[int, int], min_area: float = 1.0
) -> list[Region]:
    """Regions of a score map (float32 S,S) at or above a threshold, in pixels of an image of size `original` (H, W).

    min_area: the smallest that counts, in pixels of that image.
    """
    if threshold is None:
        return []
    least = smallest_area(min_area, score_map.shape, original)
    return [rescale_region(found, score_map.shape, original) for found in find_regions(score_map, threshold, least)]


def smallest_area(min_area: float, shape: tuple[int, ...], original: tuple[int, int]) -> int:
    """An area in pixels of an image of size `original` (H, W), in whole pixels of its score map; at least 1."""
    return max(math.ceil(min_area * shape[0] * shape[1] / (original[0] * original[1]) - 1e-9), 1)


def to_uint8(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Float 3,H,W in [-1, 1] to uint8 H,W,3."""
    scaled = (picture.transpose(1, 2, 0).astype(np.float32) + 1) * 127.5
    pixels: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels
