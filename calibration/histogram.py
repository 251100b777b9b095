"""Histograms of activations that grow with what they see and can be added up, and the ranges that follow from them.

A histogram has `BINS` equal bins over [-2^e, 2^e]. Where a larger value comes, e grows and pairs of bins are joined
about zero, so that the order of the pictures, and how often the work was interrupted, change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

BINS = 4096
#: Numbers of one array that are counted at most; the lowest and highest value are those of all.
COUNTED = 1 << 16
#: Share of the numbers that a percentile range leaves outside, both tails together.
OUTSIDE = 1e-4
CLIPS = ("minmax", "percentile", "mse")
_SMALLEST = -40


@dataclass
class Histogram:
    """What is known of one tensor. low, high: of all values seen. exponent: e above. counts: int64 BINS."""

    low: float
    high: float
    exponent: int
    counts: Counts

    @classmethod
    def empty(cls) -> Histogram:
        """Nothing seen yet."""
        return cls(math.inf, -math.inf, _SMALLEST, np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.floating]) -> None:
        """Count an array of any shape. ValueError where a value is not finite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError("an activation is not a finite number")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(_exponent(max(-low, high)))
        flat = values.reshape(-1)
        # an odd distance meets every channel and row in turn
        flat = flat[:: (flat.size // COUNTED) | 1] if flat.size > COUNTED else flat
        places = np.floor(flat * np.float32(BINS / 2 * 2.0**-self.exponent)).astype(np.int64) + BINS // 2
        self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Add another histogram of the same tensor; `other` is left as it is."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._grow(other.exponent)
        self.counts += _folded(other.counts, self.exponent - other.exponent)

    def _grow(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = _folded(self.counts, exponent - self.exponent)
            self.exponent = exponent

    def edges(self) -> NDArray[np.float64]:
        """The bins' limits, float64 BINS + 1."""
        return np.linspace(-1, 1, BINS + 1) * 2.0**self.exponent


def _exponent(largest: float) -> int:
    """The smallest e with |x| < 2^e."""
    return max(math.frexp(largest)[1], _SMALLEST) if largest > 0 else _SMALLEST


def _folded(counts: Counts, times: int) -> Counts:
    """The same counts over a range that is 2^times as wide."""
    for _ in range(min(times, BINS)):
        halves = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros_like(counts)
        counts[BINS // 4 : BINS // 4 + BINS // 2] = halves
        if not halves[: BINS // 4 - 1].any() and not halves[BINS // 4 + 1 :].any():
            break  # all of it lies in the two bins at zero, where it stays
    return counts


def minmax_range(histogram: Histogram) -> tuple[float, float]:
    """(lowest, highest) value seen, widened to hold 0."""
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def percentile_range(histogram: Histogram, outside: float = OUTSIDE) -> tuple[float, float]:
    """The range that leaves at most a share `outside` of the values outside, half of it at either end."""
    low, high = minmax_range(histogram)
    total = int(histogram.counts.sum())
    below = np.cumsum(histogram.counts)
    edges = histogram.edges()
    first = int(np.searchsorted(below, outside / 2 * total, side="right"))
    last = int(np.searchsorted(below, (1 - outside / 2) * total, side="left"))
    return max(low, min(float(edges[first]), 0.0)), min(high, max(float(edges[last + 1]), 0.0))


def mse_range(histogram: Histogram, levels: int = 255, trials: int = 64) -> tuple[float, float]:
    """The range of least mean squared error of `levels` equal steps: both ends of the range seen times one factor.

    Inside, a value is off by step²/12 on average (uniform rounding); outside, by its distance to the end. The factor is
    the best of `trials` between 0.2 and 1.
    """
    low, high = minmax_range(histogram)
    edges = histogram.edges()
    middles = (edges[1:] + edges[:-1]) / 2
    best, found = math.inf, (low, high)
    for factor in np.linspace(1.0, 0.2, trials):
        bottom, top = factor * low, factor * high
        distance = np.maximum(np.maximum(bottom - middles, middles - top), 0.0)
        rounding = ((top - bottom) / levels) ** 2 / 12
        error = float(histogram.counts @ np.where(distance > 0, distance**2, rounding))
        if error < best:
            best, found = error, (float(bottom), float(top))
    return found


def clipped_range(histogram: Histogram, clip: str) -> tuple[float, float]:
    """(lowest, highest) by one of `CLIPS`; both finite, lowest ≤ 0 ≤ highest."""
    return {"minmax": minmax_range, "percentile": percentile_range, "mse": mse_range}[clip](histogram)
