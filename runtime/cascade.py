"""The cascade: the prototype error E alone decides the clear parts, inpainting is spent on the others.

In a plan whose weights floor the inpainting map S, the score is E times something that is never below the floor. So the
score with S at its floor, computed from E alone, is a lower bound of the score:

- from `upper` on, just above the threshold, the part is bad whatever inpainting would find: no good part is rejected
  that the plan would not have rejected;
- below `lower` it is good with a stated risk: `miss_rate` of the defects that the plan rejects may be passed. Where the
  bundle has a segmenter for the category, it must agree: it sees defects that E does not, so `lower` may be higher.

What lies between the two goes the plan's whole way. A plan without a floor, such as the paper's, has no such bound.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import CascadeLimits, Weights
from edge_ad.errors import OptionError
from edge_ad.runtime.category import Category
from edge_ad.runtime.fusion import combined, gaussian

Floats = NDArray[np.float32]

#: Room for rounding between this bound and the score that the graphs compute, also in half precision.
MARGIN = 1e-3


def bounded(weights: Weights) -> bool:
    """Whether E alone gives a lower bound of the score."""
    return weights.error_power > 0 and weights.map_floor > 0


def bound(error: Floats, weights: Weights, levels: Floats) -> tuple[Floats, float]:
    """The score map and score with S at its floor: no pixel and no score of the plan is lower, but for rounding.

    Args:
        error: float32 h,w, E of eq. 14.
        weights: for which `bounded` holds.
        levels: float32 2,S,S, what S and E measure on normal parts.

    Returns:
        float32 S,S and the score.
    """
    rows, columns = (_smoothing(levels.shape[-1], points) for points in error.shape)
    smooth: Floats = np.maximum(rows @ error @ columns.T, np.float32(0))
    return combined(np.full_like(smooth, weights.map_floor), smooth / levels[1], weights)


def decides(limits: CascadeLimits, score: float, opinion: float | None = None) -> bool:
    """Whether a score of `bound` decides, with the segmenter's opinion where the limits ask for it.

    Never where one that is needed is missing or no number.
    """
    if score < limits.lower and limits.segmenter is not None:
        return opinion is not None and opinion <= limits.segmenter.score
    return score < limits.lower or score >= limits.upper


def category_limits(category: Category, plan: str, precision: str, segmenter: str | None) -> CascadeLimits:
    """The limits of a category; OptionError where calibration has set none for this plan, precision and seed.

    segmenter: digest of the bundle's, None where it has none; limits that ask another one are refused too.
    """
    limits = None if category.calibration is None else category.calibration.cascade
    if limits is None:
        raise OptionError(
            f'--cascade: category "{category.name}" has no limits for plan {plan} at {precision}; run edge-ad '
            "calibrate --cascade 0.02 with it, or leave --cascade out"
        )
    if limits.segmenter is not None and limits.segmenter.graph != segmenter:
        raise OptionError(
            f'--cascade: the limits of category "{category.name}" were found with another segmenter than the bundle '
            "has; run edge-ad calibrate --cascade 0.02 again, or leave --cascade out"
        )
    return limits


@lru_cache(maxsize=8)
def _smoothing(size: int, points: int) -> Floats:
    """Bilinear upsampling (pixel centres), then the blur of the score, along one axis: float32 size,points."""
    place = np.clip((np.arange(size) + 0.5) * points / size - 0.5, 0, points - 1)
    low = np.minimum(place.astype(np.int64), max(points - 2, 0))
    share = (place - low).astype(np.float32)
    upsampling = np.zeros((size, points), np.float32)
    upsampling[np.arange(size), low] = 1 - share
    upsampling[np.arange(size), np.minimum(low + 1, points - 1)] += share
    kernel = gaussian(size)
    padded = np.pad(upsampling, ((len(kernel) // 2, len(kernel) // 2), (0, 0)), mode="edge")
    smoothed: Floats = sum(weight * padded[i : i + size] for i, weight in enumerate(kernel))
    return smoothed
