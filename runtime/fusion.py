"""The score graph's last steps in NumPy: other fusion weights are tried without running a network again.

The same arithmetic as `edge_ad.export.graphs.score` (AnomalySD, eq. 19 to 21, and ours), tested against the exported
graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Weights

Floats = NDArray[np.float32]

EPSILON = 1e-8
TOP_SHARE = 0.005


def gaussian(size: int) -> Floats:
    """The blur's kernel: σ = 4 pixels at 512 (scaled with the side), cut at 4σ, float32 2r+1, summing to 1."""
    sigma = 4 * size / 512
    radius = max(int(4 * sigma + 0.5), 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def blur(values: Floats) -> Floats:
    """Gaussian blur with the edges repeated: float32 S,S to S,S."""
    size, kernel = len(values), gaussian(len(values))
    padded = np.pad(values, len(kernel) // 2, mode="edge")
    rows: Floats = sum(weight * padded[i : i + size] for i, weight in enumerate(kernel))
    blurred: Floats = sum(weight * rows[:, i : i + size] for i, weight in enumerate(kernel))
    return blurred


def fused(evidence: Mapping[str, NDArray[Any]], weights: Weights, levels: Floats) -> tuple[Floats, float]:
    """The score map and score that other weights would give.

    Args:
        evidence: what `Detector.evidence` returned.
        weights: their `reference` must be 0 or 1: between the two the network would have to run again.
        levels: float32 2,S,S, what S and E measure on normal parts.

    Returns:
        float32 S,S and the score.

    Raises:
        ValueError: a reference between 0 and 1.
    """
    if weights.reference not in (0.0, 1.0):
        raise ValueError("evidence is kept against the picture and against its reconstruction, not between")
    name = "image" if weights.reference == 0 else "reconstruction"
    maps, prototype_map = evidence[f"{name}_maps"], evidence[f"{name}_prototype_map"]
    harmonic = 1 / (1 / (maps + EPSILON)).mean(0)
    normal = blur(((1 - weights.alpha) * harmonic + weights.alpha * prototype_map).astype(np.float32)) / levels[0]
    normal = np.maximum(normal, np.float32(weights.map_floor))
    return combined(normal, evidence["error_map"] / levels[1], weights)


def combined(normal: Floats, error: Floats, weights: Weights) -> tuple[Floats, float]:
    """The product of S, floored, and E, both over their levels (float32 S,S each), as a score map and its score."""
    score_map: Floats = ((normal + EPSILON) ** weights.map_power * (error + EPSILON) ** weights.error_power).astype(
        np.float32
    )
    count = max(round(TOP_SHARE * score_map.size), 1)
    highest = np.partition(score_map, score_map.size - count, axis=None)[-count:]
    return score_map, float((1 - weights.top) * highest.max() + weights.top * highest.mean())
