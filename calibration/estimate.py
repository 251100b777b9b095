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

    The upper prediction limit of a normal distribution, mean + t · s · √(1 + 1/k), of the scores' logarithms, and
    always above the highest score: a rate that could be promised is not estimated.

    Args:
        groups: scores of one part each, all above 0: a held-out image by itself, or a shot and its augmentations. The
            variance between the groups' means is added to that within the groups, with the degrees of freedom that the
            sum has (Satterthwaite, Biometrics Bulletin 1946); k counts the groups, and with one group alone the scores
            in it.
        rate: in (0, 1).

    Raises:
        ValueError: fewer than two scores in all.
    """
    logs = [np.log(np.maximum(np.asarray(group, np.float64), 1e-12)) for group in groups if len(group)]
    if sum(map(len, logs)) < 2:
        raise ValueError("an estimate needs two scores")
    means = np.array([group.mean() for group in logs])
    within = float(np.mean([group.var(ddof=1) for group in logs if len(group) > 1] or [0.0]))
    between = float(means.var(ddof=1)) if len(logs) > 1 else 0.0
    count = len(logs) if len(logs) > 1 else len(logs[0])
    variance = between + within
    # 1 / freedom, of each part as far as it counts
    doubt = (between / variance) ** 2 / max(len(logs) - 1, 1) if variance else 0.0
    if within:
        doubt += (within / variance) ** 2 / sum(len(group) - 1 for group in logs)
    reach = student_quantile(1 - rate, max(1 / doubt, 1.0)) * math.sqrt(variance * (1 + 1 / count)) if variance else 0.0
    highest = float(np.nextafter(max(max(group) for group in groups if len(group)), np.inf))
    return max(highest, math.exp(min(means.mean() + reach, 690.0)))
