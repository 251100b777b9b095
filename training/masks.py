"""Masks for training, at latent resolution: AnomalySD's foreground rectangles (section 4.1), plans' groups, others.

Every function takes a numpy generator and the side `size` of the latents and returns float32 size,size, 1 = hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.masks import checkerboard

Mask = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
GAMMAS = (0.0, 0.2, 0.5)
"""The thresholds γ of the mask design, one drawn at random for each mask."""


def rectangle(rng: np.random.Generator, size: int) -> Mask:
    """m_r: one rectangle, its sides uniform between 1/8 and the whole of the picture."""
    low = max(1, size // 8)
    height, width = (int(side) for side in rng.integers(low, size + 1, 2))
    top, left = int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1))
    mask = np.zeros((size, size), np.float32)
    mask[top : top + height, left : left + width] = 1
    return mask


def several(rng: np.random.Generator, size: int) -> Mask:
    """Two to eight small rectangles, sides between 1/16 and 3/8 of the picture."""
    mask = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(2, 9))):
        height, width = (int(side) for side in rng.integers(max(1, size // 16), max(2, 3 * size // 8), 2))
        top, left = int(rng.integers(0, size - height + 1)), int(rng.integers(0, size - width + 1))
        mask[top : top + height, left : left + width] = 1
    return mask


def group(rng: np.random.Generator, size: int) -> Mask:
    """One of the groups that the `grouped` plan inpaints together: scale 2, 4 or 8, one of its four."""
    return checkerboard(size, int(rng.choice([2, 4, 8])))[int(rng.integers(4))]


def blob(rng: np.random.Generator, size: int) -> Mask:
    """A free shape: smooth noise above a random quantile, as the prototype-guided mask may be."""
    cells = int(rng.integers(3, 9))
    coarse = rng.standard_normal((cells + 1, cells + 1))
    place = np.linspace(0, cells - 1e-6, size)
    low = place.astype(int)
    part = place - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    noise = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return (noise > np.quantile(noise, rng.uniform(0.5, 0.95))).astype(np.float32)


def full(rng: np.random.Generator, size: int) -> Mask:
    """The whole picture hidden: scale 1."""
    return np.ones((size, size), np.float32)


def iou(first: Bools, second: Bools) -> float:
    """Intersection over union of two boolean masks; 0 where both are empty."""
    union = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / union) if union else 0.0


@dataclass
class ForegroundRectangles:
    """m ∈ {m_r | IoU(m_r, m_f) > γ}, γ drawn from {0, 0.2, 0.5}: bounded rejection sampling with a counted fallback.

    A thin object may never reach an IoU of 0.5 with any rectangle; after `tries` draws the best one seen is taken.

    Attributes:
        tries: draws at most for one mask.
        gammas: the thresholds, one drawn with equal probability for each mask.
        counts: "drawn", masks so far, and "fallbacks", those of them that no draw satisfied.
    """

    tries: int = 64
    gammas: tuple[float, ...] = GAMMAS
    counts: dict[str, int] = field(default_factory=lambda: {"drawn": 0, "fallbacks": 0})

    @property
    def drawn(self) -> int:
        """Masks so far."""
        return self.counts["drawn"]

    @property
    def fallbacks(self) -> int:
        """Masks so far that no draw satisfied."""
        return self.counts["fallbacks"]

    def __call__(self, rng: np.random.Generator, foreground: Bools) -> Mask:
        """One mask for a foreground m_f (bool size,size)."""
        gamma = float(rng.choice(self.gammas))
        self.counts["drawn"] += 1
        best, overlap = None, -1.0
        for _ in range(self.tries):
            mask = rectangle(rng, len(foreground))
            found = iou(mask > 0.5, foreground)
            if found > gamma:
                return mask
            if found > overlap:
                best, overlap = mask, found
        self.counts["fallbacks"] += 1
        assert best is not None
        return best


MIX: tuple[tuple[Callable[[np.random.Generator, int], Mask], float], ...] = (
    (rectangle, 0.25),
    (several, 0.15),
    (group, 0.35),
    (blob, 0.15),
    (full, 0.10),
)
"""Pretraining's masks and their shares."""


def mixed(rng: np.random.Generator, size: int) -> Mask:
    """One mask of the pretraining mix."""
    choice = int(rng.choice(len(MIX), p=[share for _, share in MIX]))
    return MIX[choice][0](rng, size)
