"""The drift model of a category and its limit, from good pictures alone; `edge_ad.runtime.monitor` computes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.runtime.monitor import DriftModel, statistics

Floats = NDArray[np.float32]

#: Fewer good pictures than this say too little of how they vary.
LEAST = 10
#: Low, so that a quarter of bad parts in a window hardly raises an alarm by itself.
CLIP = 1.5


def fit_model(pooled: Floats, window: int, *, clip: float = CLIP, limit: float = float("inf")) -> DriftModel:
    """Centre, scale and whitening of good pictures' pooled features, float32 N,D.

    Centre and scale are the median and the scaled median absolute deviation (at least a tenth of the mean over the
    features, so that one which hardly varies does not decide). The whitening is the inverse root of the shrunk
    covariance of Ledoit and Wolf (Journal of Multivariate Analysis 2004), which is well conditioned for N below D.
    """
    values = pooled.astype(np.float64)
    centre = np.median(values, axis=0)
    scale = 1.4826 * np.median(np.abs(values - centre), axis=0)
    scale = np.maximum(scale, max(0.1 * float(scale.mean()), 1e-6))
    standard = np.clip((values - centre) / scale, -5, 5)
    count, size = standard.shape
    # the sample covariance by its eigenvalues, since there are fewer pictures than features as a rule
    _, singular, vectors = np.linalg.svd(standard, full_matrices=False)
    variances = singular**2 / count
    level = float(variances.sum()) / size
    distance = float(np.square(variances).sum()) / size - level**2
    # mean squared distance of the single outer products from the sample covariance, over N
    squares = float(np.square(np.square(standard).sum(axis=1)).mean())
    noise = max(squares - float(np.square(variances).sum()), 0.0) / size / count
    share = min(noise / distance, 1.0) if distance > 0 else 1.0
    # the symmetric root, so that models of different pictures share their axes
    least = max(share * level, 1e-3 * level, 1e-9)
    spread = 1 / np.sqrt(np.maximum((1 - share) * variances + share * level, least)) - 1 / np.sqrt(least)
    whitening = (vectors.T * spread) @ vectors + np.eye(size) / np.sqrt(least)
    return DriftModel(
        centre.astype(np.float32), scale.astype(np.float32), whitening.astype(np.float32), clip, window, limit
    )


def good_streams(
    pooled: Floats, window: int, length: int, *, folds: int = 8, streams: int = 400, seed: int = 0
) -> NDArray[np.float64]:
    """The highest statistic of each of some streams of good pictures: float64 streams.

    Every picture is whitened by a model of the other folds, as a new picture will be by a model that has not seen it.
    A stream is `length` of these, drawn with replacement, moved by how far the centre of that many pictures may be off
    (the mean of a bootstrap sample).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pooled))
    parts = [order[part::folds] for part in range(min(folds, len(order)))]
    unseen = np.concatenate(
        [fit_model(np.delete(pooled, part, axis=0), window).whitened(pooled[part]) for part in parts]
    )
    highest = np.empty(streams)
    for i in range(streams):
        off = unseen[rng.integers(len(unseen), size=len(unseen))].mean(axis=0) - unseen.mean(axis=0)
        drawn = unseen[rng.integers(len(unseen), size=length)] + off
        highest[i] = statistics(drawn, window).max()
    return highest


def calibrated_model(
    pooled: Floats,
    *,
    window: int = 16,
    rate: float = 0.05,
    horizon: int = 200,
    seed: int = 0,
    streams: NDArray[np.float64] | None = None,
) -> DriftModel | None:
    """A model whose limit a stream of `horizon` good pictures passes with a probability of about `rate`.

    pooled: float32 N,D of good pictures. streams: what `good_streams` gave for them, if already called. None with fewer
    than `LEAST` pictures. The streams are drawn independently: pictures that follow each other in a plant are
    more alike, so take them from several days.
    """
    if len(pooled) < LEAST:
        return None
    if streams is None:
        streams = good_streams(pooled, window, horizon, seed=seed)
    return fit_model(pooled, window, limit=float(np.quantile(streams, 1 - rate)))
