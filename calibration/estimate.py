"""Thresholds without enough held-out images: a fit to few scores, and no promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def student_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t distribution, for a probability in (0, 1) and 1 or more degrees of freedom.

    With t = √ν·tan θ the density is that of cos(θ)^(ν-1) on (-π/2, π/2), which is summed on a fine grid.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(f"there is no Student quantile of {probability} with {freedom} degrees of freedom")
    if probability == 0.5:
        return 0.0
    tail = min(probability, 1 - probability)
    # from the end of the tail, on a grid that is fine there: u = π/2 - |θ|
    u = np.concatenate([[0.0], np.geomspace(1e-10, math.pi / 2, 50001)])
    density = np.sin(u) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(u))])
    place = float(np.interp(tail, mass / (2 * mass[-1]), u))
    return math.copysign(math.sqrt(freedom) / math.tan(place), probability - 0.5)


def fitted_threshold(groups: Sequence[Sequence[float]], rate: float) -> float:
    """A threshold that new good scores pass with probability 1 - `rate`, if their logarithms are normal.

    The upper prediction limit of a normal distribution, mean + t · s · √(1 + 1/k), of the scores' logarithms, and never
    below the highest score: a rate that could be promised is not estimated.

    Args:
        groups: scores of one part each, all above 0: a held-out image by itself, or a shot and its augmentations. The
            variance between the groups' means is added to that within the groups; k counts the groups, and with one
            group alone the scores in it.
        rate: in (0, 1).

    Raises:
        ValueError: fewer than two scores in all.
    """
    logs = [np.log(np.maximum(np.asarray(group, np.float64), 1e-12)) for group in groups if len(group)]
    if sum(map(len, logs)) < 2:
        raise ValueError("an estimate needs two scores")
    means = np.array([group.mean() for group in logs])
    within = float(np.mean([group.var(ddof=1) for group in logs if len(group) > 1] or [0.0]))
    if len(logs) > 1:
        variance, count = float(means.var(ddof=1)) + within, len(logs)
    else:
        variance, count = within, len(logs[0])
    reach = student_quantile(1 - rate, count - 1) * math.sqrt(variance * (1 + 1 / count))
    highest = max(float(group.max()) for group in logs)
    return float(np.nextafter(math.exp(min(max(means.mean() + reach, highest), 690.0)), np.inf))
