"""Split conformal thresholds: a false-reject rate that is promised, not fitted.

If the n calibration scores and the score of a new good part are exchangeable, the new one is equally likely to take any
of the n + 1 ranks. Rejecting from just above the j-th highest calibration score on, a new good part is rejected with a
probability of at most j / (n + 1), whatever the distribution (Vovk, Gammerman and Shafer 2005, chapter 2; Lei et al.,
JASA 2018, theorem 2.2). So a rate α needs α(n + 1) >= 1, which is n >= ⌈1/α⌉ - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Promise:
    """A threshold (bad from there on) and the false-reject rate it promises, at most the one asked for."""

    threshold: float
    rate: float


def needed(rate: float) -> int:
    """The fewest calibration images with which a false-reject rate in (0, 1) can be promised: ⌈1/α⌉ - 1."""
    return math.ceil(1 / _exact(rate)) - 1


def lowest_rate(images: int) -> float:
    """The lowest false-reject rate that can be promised with that many images: 1 / (n + 1)."""
    return 1 / (images + 1)


def conformal_threshold(scores: ArrayLike, rate: float) -> Promise | None:
    """The lowest threshold that rejects a new good part with a probability of `rate` at most.

    Args:
        scores: of good images that nothing else was made from, n numbers in any order.
        rate: α in (0, 1).

    Returns:
        The threshold, the next number above the j-th highest score with j = ⌊α(n + 1)⌋, and j / (n + 1); None with
        fewer than `needed(rate)` scores.

    Raises:
        ValueError: a score is not finite, or the rate is outside (0, 1).
    """
    ordered = np.sort(np.asarray(scores, np.float64).ravel())
    if not np.isfinite(ordered).all():
        raise ValueError("a score is not a finite number")
    rejected = math.floor(_exact(rate) * (len(ordered) + 1))
    if rejected < 1:
        return None
    return Promise(float(np.nextafter(ordered[-rejected], np.inf)), rejected / (len(ordered) + 1))


def shortage(rate: float, images: int) -> str:
    """The sentence for too few images: what the rate needs, and what can be promised instead (rounded up)."""
    need, lowest = needed(rate), lowest_rate(images)
    if not images:
        return f"needs {need} image{'s' * (need != 1)} for {100 * rate:g} %, you gave none that the model has not seen"
    digits = 10 ** (2 - math.floor(math.log10(100 * lowest)))
    shown = math.ceil(100 * lowest * digits - 1e-9) / digits
    return (
        f"needs {need} image{'s' * (need != 1)} for {100 * rate:g} %, you gave {images}: "
        f"the lowest rate that can be promised is {shown:g} %"
    )


def resplit_rates(scores: ArrayLike, rates: Sequence[float], *, splits: int = 20, seed: int = 0) -> NDArray[np.float64]:
    """How the promise holds on the images themselves: float64 splits,len(rates).

    In each split a random half of the scores gives the threshold, and the rate is that of the other half at or above
    it. NaN where half of the scores are too few for the rate.
    """
    values = np.asarray(scores, np.float64).ravel()
    rng = np.random.default_rng(seed)
    found = np.full((splits, len(rates)), np.nan)
    for split in range(splits):
        order = rng.permutation(len(values))
        first, second = values[order[: len(values) // 2]], values[order[len(values) // 2 :]]
        for i, rate in enumerate(rates):
            promise = conformal_threshold(first, rate) if len(first) else None
            if promise is not None and len(second):
                found[split, i] = float((second >= promise.threshold).mean())
    return found


def _exact(rate: float) -> Fraction:
    """The rate as the decimal number that a person wrote: 0.01 is 1/100, not the binary number beside it."""
    if not 0 < rate < 1:
        raise ValueError(f"a rate lies between 0 and 1, {rate} does not")
    return Fraction(repr(float(rate)))
