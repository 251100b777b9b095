"""Prototype-guided evidence (AnomalySD, eq. 14 and 15): distance to the bank of normal features, and its threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class PrototypeBank:
    """The normal features of one category, prepared for nearest-neighbour search by matrix products.

    bank: float16 or float32 M,C, one prototype a row. Features and bank are centred on the bank's mean, because
    |f - p|² = |f|² - 2f·p + |p|² loses digits in float32 when the features have a large common part.
    """

    def __init__(self, bank: NDArray[np.floating]):
        if bank.ndim != 2 or not len(bank):
            raise ValueError(f"a prototype bank has shape M,C with M of 1 or more, not {bank.shape}")
        rows = bank.astype(np.float32)
        self.mean: NDArray[np.float32] = rows.mean(axis=0)
        rows -= self.mean
        self.rows = np.ascontiguousarray(rows.T)
        self.norms: NDArray[np.float32] = np.einsum("cm,cm->m", self.rows, self.rows)

    def error_map(self, features: NDArray[np.float32], block: int = 1024) -> NDArray[np.float32]:
        """E of eq. 14: squared distance of every position to its nearest prototype.

        features: float32 C,h,w (one image). Returns float32 h,w, not negative. `block` positions are searched at once,
        which bounds the memory to block·M·4 bytes.
        """
        channels, height, width = features.shape
        if channels != len(self.rows):
            raise ValueError(f"features have {channels} channels, the prototypes {len(self.rows)}")
        points = features.reshape(channels, -1).T - self.mean
        nearest = np.empty(len(points), np.float32)
        for start in range(0, len(points), block):
            part = points[start : start + block]
            product = part @ self.rows
            product *= -2
            product += self.norms
            nearest[start : start + block] = product.min(axis=1) + np.einsum("nc,nc->n", part, part)
        return np.maximum(nearest, 0).reshape(height, width)


def variance_sum_threshold(error: NDArray[np.floating]) -> float:
    """The r of eq. 15 that minimises the plain sum of the variances of {E <= r} and {E > r}, found exactly.

    Unlike Otsu's rule the variances are not weighted by the sizes of the two sets. The variances change only where r
    passes a value, so all splits of the sorted values are tried with prefix sums: O(n log n). A constant map (also one
    value) has no split: its value is returned, and the mask E > r is empty. Of equal sums the smallest r is taken.
    """
    return _best_split(error, lambda low, high, n_low, n_high: low / n_low + high / n_high)


def otsu_threshold(error: NDArray[np.floating]) -> float:
    """Otsu's threshold (1979), exact: the variances weighted by set size, so one outlying pixel does not win alone.

    Degenerate cases as in `variance_sum_threshold`.
    """
    return _best_split(error, lambda low, high, n_low, n_high: low + high)


_RULES: dict[str, Callable[[NDArray[np.floating]], float]] = {
    "variance-sum": variance_sum_threshold,
    "otsu": otsu_threshold,
}

#: What `prototype_mask` knows: `Plan.threshold_rule`.
THRESHOLD_RULES = (*_RULES, "level")


def prototype_mask(error: NDArray[np.floating], level: NDArray[np.floating], rule: str) -> NDArray[np.bool_]:
    """M^(p) of eq. 15, bool h,w, True = hidden: where E is above its threshold.

    error: h,w, E. level: S,S, what E measures on good parts. rule: one of `THRESHOLD_RULES`. "level" takes that for the
    threshold, so that little of a good part is hidden; the others split every map in two, also that of a good part.
    """
    if rule != "level":
        hidden: NDArray[np.bool_] = error > _RULES[rule](error)
        return hidden
    rows, columns = ((2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(error.shape, level.shape))
    hidden = error > level[np.ix_(rows, columns)]
    return hidden


_Array = NDArray[np.float64]


def _best_split(error: NDArray[np.floating], cost: Callable[[_Array, _Array, _Array, _Array], _Array]) -> float:
    """The value after which the sorted values split best; `cost` gets both sums of squared deviations and counts."""
    values = np.sort(error, axis=None).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the error map holds values that are not finite")
    splits = np.flatnonzero(np.diff(values) > 0) + 1  # sizes of the lower set; equal values cannot be parted
    if not len(splits):
        return float(values[-1])
    # scaled to [0, 1], so that neither very large nor very small maps lose the squares
    scaled = (values - values[0]) / (values[-1] - values[0])
    total, squares = np.cumsum(scaled), np.cumsum(scaled**2)
    n_low = splits.astype(np.float64)
    n_high = len(values) - n_low
    low_sum, low_squares = total[splits - 1], squares[splits - 1]
    low = np.maximum(low_squares - low_sum**2 / n_low, 0)
    high = np.maximum(squares[-1] - low_squares - (total[-1] - low_sum) ** 2 / n_high, 0)
    return float(values[splits[np.argmin(cost(low, high, n_low, n_high))] - 1])
