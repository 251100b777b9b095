"""Thresholds where labelled defects are given: the best F1, or the lowest expected cost. Both describe those images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad.metrics import f1_max

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A threshold, and what it does on the images it was chosen on: rates in 0..1."""

    threshold: float
    false_rejects: float
    escapes: float


def f1_threshold(good: ArrayLike, bad: ArrayLike) -> Choice:
    """The threshold of best F1 (bad parts are the positives), halfway to the next lower score.

    ValueError without a good or without a bad score.
    """
    first, second = _floats(good), _floats(bad)
    best = f1_max(np.repeat([False, True], [len(first), len(second)]), np.concatenate([first, second]))
    if best is None:
        raise ValueError("best F1 needs good and bad scores")
    return _choice(first, second, _below(np.concatenate([first, second]), best[1]))


def cost_threshold(good: ArrayLike, bad: ArrayLike, ratio: float, defect_rate: float | None = None) -> Choice:
    """The threshold of the lowest expected cost of a part: π · ratio · escapes + (1 - π) · false rejects.

    Args:
        good: scores of good images.
        bad: scores of bad ones.
        ratio: what an escape (a bad part passed) costs, in false rejects.
        defect_rate: π, the share of bad parts on the line; None takes the images' own share.

    Of equal costs the higher threshold is taken, which rejects fewer good parts; it lies halfway to the next lower
    score.

    Raises:
        ValueError: no good or no bad score, a ratio not above 0, or a defect rate outside (0, 1).
    """
    first, second = np.sort(_floats(good)), np.sort(_floats(bad))
    if not len(first) or not len(second):
        raise ValueError("a cost needs good and bad scores")
    share = len(second) / (len(first) + len(second)) if defect_rate is None else defect_rate
    if not ratio > 0 or not 0 < share < 1:
        raise ValueError("a cost ratio is above 0, and a defect rate between 0 and 1")
    values = np.unique(np.concatenate([first, second]))
    places = np.append(values, np.nextafter(values[-1], np.inf))  # the last one rejects nothing
    rejects = 1 - np.searchsorted(first, places, side="left") / len(first)
    escapes = np.searchsorted(second, places, side="left") / len(second)
    cost = share * ratio * escapes + (1 - share) * rejects
    best = len(cost) - 1 - int(np.argmin(cost[::-1]))
    return _choice(first, second, _below(values, float(places[best])))


def _below(scores: Floats, threshold: float) -> float:
    """Halfway from a threshold down to the next lower score: no decision on `scores` changes."""
    lower = scores[scores < threshold]
    if not len(lower):
        return threshold
    halfway = (threshold + float(lower.max())) / 2
    return halfway if halfway > lower.max() else threshold  # between neighbouring numbers there is none


def _choice(good: Floats, bad: Floats, threshold: float) -> Choice:
    return Choice(threshold, float((good >= threshold).mean()), float((bad < threshold).mean()))


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64).ravel()
