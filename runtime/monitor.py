"""Drift: whether the camera or the light has changed, told from the pictures' pooled features over a window.

A part that is bad changes a few features of one picture. Another exposure, focus or position changes many features of
every picture a little. So each picture's features are averaged over its positions, put on the scale of the good
pictures (centred and whitened), bounded, and averaged over the last `window` pictures: what is left after that is
common to the pictures. The limit of the statistic is set by calibration from good pictures alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Monitor

Floats = NDArray[np.float32]


def pool(features: Floats) -> Floats:
    """A picture's features in short: float32 C,h,w to float32 2C, mean and standard deviation over the positions."""
    flat = features.reshape(len(features), -1)
    return np.concatenate([flat.mean(axis=1), flat.std(axis=1)])


@dataclass(frozen=True)
class DriftModel:
    """What good pictures look like.

    centre, scale: float32 D, of the pooled features. whitening: float32 K,D. clip: bound of a whitened value. window:
    pictures averaged. limit: of the statistic.
    """

    centre: Floats
    scale: Floats
    whitening: Floats
    clip: float
    window: int
    limit: float

    @classmethod
    def of(cls, entry: Monitor, array: Floats) -> DriftModel:
        """The model of a manifest's entry and its file's array, float32 2+K,D."""
        return cls(array[0], array[1], array[2:], entry.clip, entry.window, entry.limit)

    def array(self) -> Floats:
        """What the model's file holds: float32 2+K,D."""
        return np.concatenate([self.centre[None], self.scale[None], self.whitening]).astype(np.float32)

    def whitened(self, pooled: Floats) -> Floats:
        """Pooled features N,D on the scale of the good pictures: float32 N,K, within ±clip."""
        values = (np.atleast_2d(pooled) - self.centre) / self.scale
        return np.clip(values @ self.whitening.T, -self.clip, self.clip).astype(np.float32)


def statistics(whitened: Floats, window: int) -> NDArray[np.float64]:
    """The statistic after every picture from the `window`-th on: float64 …,N-window+1 of float32 …,N,K.

    It is window · mean over K of (mean over the window)²: about 1 where nothing has changed, and it grows with the
    square of a shift that the pictures have in common.
    """
    sums = np.cumsum(whitened, axis=-2, dtype=np.float64)
    sums[..., window:, :] = sums[..., window:, :] - sums[..., :-window, :]
    result: NDArray[np.float64] = np.square(sums[..., window - 1 :, :] / window).mean(axis=-1) * window
    return result


@dataclass(frozen=True)
class Drift:
    """What the last pictures of a category say together.

    changed: the camera or the light has changed. statistic: against `limit`; None until the window is full. pictures:
    how many are in the window. rejected: how many of these were bad parts.
    """

    changed: bool
    statistic: float | None
    limit: float
    pictures: int
    rejected: int = 0

    @property
    def message(self) -> str:
        """One sentence for a person; empty when nothing has changed."""
        if not self.changed:
            return ""
        parts = ""
        if 2 * self.rejected > self.pictures:
            parts = f", or most parts are bad in the same way ({self.rejected} of the last {self.pictures} are)"
        return (
            f"the camera or the light has changed{parts}: clean the lens, check focus, exposure, lamp and position; "
            "if the change is meant, calibrate again"
        )


class DriftMonitor:
    """Watches one category's pictures as they come. Not for use by several threads at once."""

    def __init__(self, model: DriftModel):
        self.model = model
        self._recent: deque[Floats] = deque(maxlen=model.window)
        self._rejected: deque[bool] = deque(maxlen=model.window)

    def update(self, pooled: Floats, *, rejected: bool = False) -> Drift:
        """Take in the next picture's pooled features (`Inspection.pooled`, float32 D); what can be said now.

        rejected: whether the part was bad; it counts for the message alone, since a change of the light may well make
        every part look bad. ValueError when the number of features is not the model's.
        """
        if pooled.shape != self.model.centre.shape:
            raise ValueError(f"{pooled.shape} pooled features, the monitor knows {self.model.centre.shape}")
        self._recent.append(self.model.whitened(pooled)[0])
        self._rejected.append(rejected)
        count, limit, bad = len(self._recent), self.model.limit, sum(self._rejected)
        if count < self.model.window:
            return Drift(False, None, limit, count, bad)
        statistic = float(statistics(np.stack(self._recent), self.model.window)[-1])
        return Drift(statistic > limit, statistic, limit, count, bad)

    def reset(self) -> None:
        """Forget the window: after a pause, or when what had changed has been mended."""
        self._recent.clear()
        self._rejected.clear()
