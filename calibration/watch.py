"""The drift model of a category, and what it makes of changes of camera and light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.drift import LEAST, calibrated_model, fit_model, good_streams
from edge_ad.calibration.material import Item
from edge_ad.calibration.measure import Measured, settings_of
from edge_ad.calibration.outcome import Change, Outcome, Settings
from edge_ad.calibration.vary import DRIFTS
from edge_ad.images import read_image
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.monitor import DriftModel, statistics

Floats = NDArray[np.float32]

#: Pictures on which the changes that should alarm are tried.
CHANGED = 16


def watch_drift(
    outcome: Outcome,
    detector: Detector,
    items: Sequence[Item],
    good: Sequence[Measured],
    settings: Settings,
    cache: Cache,
) -> None:
    """Fit the drift model, and try on it what should alarm."""
    pooled = [one.pooled for one in good if one.pooled is not None]
    if len(pooled) < len(good):
        outcome.no_monitor = "the category has no prototypes, so its features are not computed"
        return
    features = np.stack(pooled) if pooled else np.empty((0, 1), np.float32)
    streams = good_streams(features, settings.window, settings.horizon) if len(features) >= LEAST else None
    model = calibrated_model(features, window=settings.window, rate=settings.rate, streams=streams)
    if model is None:
        outcome.no_monitor = f"{len(good)} good images that were not trained on are too few to tell drift from"
        return
    outcome.model, outcome.streams = model, streams
    outcome.changes = _changes(outcome.category, detector, items, features, model, cache)


def _changes(
    category: str, detector: Detector, items: Sequence[Item], features: Floats, model: DriftModel, cache: Cache
) -> list[Change]:
    """Changes of camera and light on pictures that the model of a random half was not made from."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(items))
    first, second = order[: len(order) // 2], order[len(order) // 2 :][:CHANGED]
    half = fit_model(features[first], model.window)
    place = context(detector.bundle.manifest, category, detector.plan_name, **settings_of(detector))

    def row(name: str, pooled: Floats) -> Change:
        whitened = half.whitened(pooled)
        windows = [whitened[rng.integers(len(whitened), size=model.window)] for _ in range(50)]
        values = np.array([statistics(window, model.window)[-1] for window in windows])
        return Change(name, float((values > model.limit).mean()), float(np.median(values)) / model.limit)

    rows = [row("nothing changed", features[second])]
    with progress(f"Changing {category}", len(DRIFTS) * len(second)) as step:
        for name, change in DRIFTS.items():
            pooled = []
            for i in second:
                item = items[i]

                def compute(path: Path = item.path, make: Callable[[Any], Any] = change) -> list[float]:
                    return [float(f"{value:.7g}") for value in detector.pooled(make(read_image(path)))]

                pooled.append(cache.get(f"change {place} {item.hash} {name}", compute))
                step(note=name)
            rows.append(row(name, np.array(pooled, np.float32)))
    return rows
