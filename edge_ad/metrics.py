"""How well scores tell bad from good: AUROC, average precision, best F1, per-region overlap. Exact, NumPy only.

Every threshold metric here follows from two counts at each distinct score of a positive: how many positives and how
many negatives score at least that. So the negatives, nearly all of the pixels, are sorted once and never ranked
together with the positives: 300 maps of 256 x 256 take about a second and 300 MB.

A set in which one of the two classes is absent has no metric: None, not a number and not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad.regions import label, region_areas

Floats = NDArray[np.float64]

#: The PRO curve is integrated up to this false-positive rate, as in MVTec AD (Bergmann et al., IJCV 2021, section 5.2).
PRO_MAX_FPR = 0.3


@dataclass(frozen=True)
class Curve:
    """Points of a curve, float64 n each: ROC (x false-, y true-positive rate) or precision-recall (x recall)."""

    x: Floats
    y: Floats
    thresholds: Floats


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting one half.

    Args:
        labels: bool, any shape, True for positives (bad images, defective pixels).
        scores: float, the same shape, higher means more anomalous.

    Returns:
        0..1, or None if one of the classes is absent.

    Raises:
        ValueError: the shapes differ, or a score is NaN.
    """
    return _auroc(*_split(labels, scores))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the precision-recall steps, sum of (R_n - R_n-1) P_n over distinct scores; arguments as `auroc`."""
    return _average_precision(*_split(labels, scores))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float] | None:
    """The best F1 of any threshold, and that threshold (positive where score >= threshold); arguments as `auroc`."""
    return _f1_max(*_split(labels, scores))


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """ROC curve with a point for every distinct score, from (0, 0) to (1, 1); arguments as `auroc`."""
    positives, negatives = _split(labels, scores)
    if not len(positives) or not len(negatives):
        return None
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    return Curve(
        np.append(0.0, _at_least(negatives, thresholds) / len(negatives)),
        np.append(0.0, _at_least(positives, thresholds) / len(positives)),
        np.append(np.inf, thresholds).astype(np.float64),
    )


def pr_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """Precision (y) over recall (x) for every distinct score, by rising recall; arguments as `auroc`."""
    positives, negatives = _split(labels, scores)
    if not len(positives) or not len(negatives):
        return None
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    hits = _at_least(positives, thresholds)
    return Curve(hits / len(positives), hits / (hits + _at_least(negatives, thresholds)), thresholds.astype(np.float64))


def sampled_curves(labels: ArrayLike, scores: ArrayLike, points: int = 65) -> tuple[Curve, Curve] | None:
    """ROC and precision-recall curves for drawing, at `points` evenly spaced true-positive rates at most.

    As `roc_curve` and `pr_curve`, but small enough to store for millions of pixels.
    """
    positives, negatives = _split(labels, scores)
    if not len(positives) or not len(negatives):
        return None
    ranks = np.unique(np.rint(np.linspace(0, len(positives) - 1, points)).astype(np.int64))
    thresholds = np.unique(positives[ranks])[::-1]
    hits, alarms = _at_least(positives, thresholds), _at_least(negatives, thresholds)
    tpr, fpr = hits / len(positives), alarms / len(negatives)
    levels = thresholds.astype(np.float64)
    ends = np.concatenate([[np.inf], levels, [-np.inf]])
    roc = Curve(np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], tpr, [1.0]]), ends)
    return roc, Curve(tpr, hits / (hits + alarms), levels)


def pro(
    score_maps: Sequence[NDArray[Any]] | NDArray[Any],
    masks: Sequence[NDArray[Any]] | NDArray[Any],
    max_fpr: float = PRO_MAX_FPR,
) -> float | None:
    """Per-region overlap, integrated over the false-positive rate up to `max_fpr` and divided by it.

    At a threshold, the overlap of a region (8-connected, of one mask) is the part of its pixels that score at least the
    threshold; PRO is its mean over all regions, small and large alike, and the false-positive rate is taken over the
    defect-free pixels of all images. The curve is exact: every distinct score is a point, joined by straight lines.
    Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5.2.

    Args:
        score_maps: n maps, float H,W each.
        masks: n masks, bool H,W each, all False for a good image.
        max_fpr: upper end of the integral, in (0, 1].

    Returns:
        0..1, or None without a defective or without a defect-free pixel.

    Raises:
        ValueError: shapes or counts differ, a score is NaN, or `max_fpr` is outside (0, 1].
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in (0, 1], not {max_fpr}")
    values, weights, negatives = _split_regions(score_maps, masks)
    return _pro(values, weights, np.sort(negatives), max_fpr)


def image_metrics(labels: ArrayLike, scores: ArrayLike) -> dict[str, float | None]:
    """`image_auroc`, `image_ap` and `image_f1max` of image scores; arguments as `auroc`, one entry an image."""
    positives, negatives = _split(labels, scores)
    best = _f1_max(positives, negatives)
    return {
        "image_auroc": _auroc(positives, negatives),
        "image_ap": _average_precision(positives, negatives),
        "image_f1max": None if best is None else best[0],
    }


def pixel_metrics(
    score_maps: Sequence[NDArray[Any]] | NDArray[Any],
    masks: Sequence[NDArray[Any]] | NDArray[Any],
    max_fpr: float = PRO_MAX_FPR,
) -> dict[str, float | None]:
    """`pixel_auroc`, `pixel_ap`, `pixel_f1max` and `pro` with one sort for all; arguments as `pro`."""
    values, weights, negatives = _split_regions(score_maps, masks)
    negatives.sort()
    result = {"pro": _pro(values, weights, negatives, max_fpr)}
    values = np.sort(values)
    best = _f1_max(values, negatives)
    return {
        "pixel_auroc": _auroc(values, negatives),
        "pixel_ap": _average_precision(values, negatives),
        "pixel_f1max": None if best is None else best[0],
        **result,
    }


def mean_metrics(categories: Iterable[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of each metric over the categories that have it; None where none has."""
    gathered: dict[str, list[float]] = {}
    for metrics in categories:
        for name, value in metrics.items():
            gathered.setdefault(name, []).extend([] if value is None else [value])
    return {name: float(np.mean(values)) if values else None for name, values in gathered.items()}


def _split(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sorted scores of the positives and of the negatives."""
    truth = np.asarray(labels).astype(bool, copy=False)
    values = np.asarray(scores)
    if truth.shape != values.shape:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} differ in shape")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError("a score is not a number")
    return np.sort(values[truth]), np.sort(values[~truth])


def _split_regions(
    score_maps: Sequence[NDArray[Any]] | NDArray[Any], masks: Sequence[NDArray[Any]] | NDArray[Any]
) -> tuple[NDArray[Any], Floats, NDArray[Any]]:
    """Scores of the defective pixels, each one's share in PRO (they sum to 1), and the other pixels' scores."""
    if len(score_maps) != len(masks):
        raise ValueError(f"{len(score_maps)} score maps and {len(masks)} masks")
    values: list[NDArray[Any]] = []
    weights: list[Floats] = []
    negatives: list[NDArray[Any]] = []
    regions = 0
    for scores, mask in zip(score_maps, masks):
        truth = np.asarray(mask).astype(bool, copy=False)
        scores = np.asarray(scores)
        if truth.shape != scores.shape:
            raise ValueError(f"score map {scores.shape} and mask {truth.shape} differ in shape")
        if np.isnan(scores).any():
            raise ValueError("a score map holds a value that is not a number")
        if truth.any():
            labels, count = label(truth)
            regions += count
            values.append(scores[truth])
            weights.append((1.0 / region_areas(labels, count))[labels[truth] - 1])
            negatives.append(scores[~truth])
        else:
            negatives.append(scores.ravel())
    if not values or not negatives:
        return np.empty(0), np.empty(0), np.concatenate(negatives) if negatives else np.empty(0)
    return np.concatenate(values), np.concatenate(weights) / regions, np.concatenate(negatives)


def _at_least(ordered: NDArray[Any], thresholds: NDArray[Any]) -> NDArray[np.int64]:
    """How many of `ordered` (ascending) are >= each threshold."""
    return len(ordered) - np.searchsorted(ordered, thresholds, side="left")


def _auroc(positives: NDArray[Any], negatives: NDArray[Any]) -> float | None:
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.float64)
    not_above = np.searchsorted(negatives, positives, side="right").sum(dtype=np.float64)
    return float((below + not_above) / 2 / len(positives) / len(negatives))


def _counts(positives: NDArray[Any], negatives: NDArray[Any]) -> tuple[NDArray[Any], Floats, Floats]:
    """Distinct scores of positives, falling, with the true and false positives at each as threshold."""
    thresholds = np.unique(positives)[::-1]
    hits = _at_least(positives, thresholds).astype(np.float64)
    return thresholds, hits, _at_least(negatives, thresholds).astype(np.float64)


def _average_precision(positives: NDArray[Any], negatives: NDArray[Any]) -> float | None:
    if not len(positives) or not len(negatives):
        return None
    # Recall only rises at a positive's score, so no other threshold has a share.
    _, hits, alarms = _counts(positives, negatives)
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / (hits + alarms)) / len(positives))


def _f1_max(positives: NDArray[Any], negatives: NDArray[Any]) -> tuple[float, float] | None:
    if not len(positives) or not len(negatives):
        return None
    # Between two positives' scores a lower threshold adds false positives only, so the best one is a positive's score.
    thresholds, hits, alarms = _counts(positives, negatives)
    f1 = 2 * hits / (hits + alarms + len(positives))
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def _pro(values: NDArray[Any], weights: Floats, negatives: NDArray[Any], limit: float) -> float | None:
    """Area under the PRO curve up to `limit`, over `limit`; `negatives` sorted, the others in step with each other."""
    if not len(values) or not len(negatives):
        return None
    # A defective pixel adds its weight to PRO as the threshold passes its score s. Until then the false-positive rate
    # has risen to `before`; negatives tied with s carry it to `after`, with PRO rising on a straight line between.
    # What the pixel adds to the area is its weight times the integral over [0, limit] of that ramp from 0 to 1.
    order = np.argsort(values)  # sorted keys make the two searches local in memory
    values, weights = values[order], weights[order]
    before = 1.0 - np.searchsorted(negatives, values, side="right") / len(negatives)
    after = 1.0 - np.searchsorted(negatives, values, side="left") / len(negatives)
    ramp = np.where(after > before, after - before, 1.0)
    inside = np.clip(limit - before, 0.0, None)
    share = np.where(limit >= after, limit - (before + after) / 2, inside / ramp * inside / 2)
    return float(np.clip(np.sum(weights * share) / limit, 0.0, 1.0))
