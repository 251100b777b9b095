"""What a detector keeps ready of one category: prompt, prototypes, levels, schedule, weights, and its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Calibration, Plan, Schedule, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.runtime.prototypes import PrototypeBank

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Category:
    """One category under one plan, precision and seed.

    prompt: float32 L,D. bank: None for a category without prototypes. levels: float32 2,S,S, what S and E measure on
    normal parts. threshold: None without one; reason: why.
    """

    name: str
    prompt: Floats
    bank: PrototypeBank | None
    levels: Floats
    schedule: Schedule
    weights: Weights
    threshold: float | None
    calibration: Calibration | None
    reason: str | None


def load_category(
    bundle: Bundle, name: str, plan_name: str, plan: Plan, precision: str, seed: int, bank: PrototypeBank | None = None
) -> Category:
    """Read a category's files. bank: takes the place of its prototypes. BundleError for one that the bundle lacks."""
    entry = bundle.category(name)
    weights = entry.weights.get(plan_name, plan.weights)
    threshold, calibration, reason = _threshold(bundle, name, plan_name, precision, seed)
    if entry.prototypes is None:
        weights = weights.model_copy(update={"error_power": 0.0, "map_floor": 0.0})
    elif bank is None:
        bank = PrototypeBank(bundle.array(entry.prototypes))
    if entry.levels.maps is not None:
        levels = bundle.array(entry.levels.maps).astype(np.float32)
    else:
        side = bundle.manifest.image_size
        levels = np.empty((2, side, side), np.float32)
        # without a floor, as in the paper's plan, the map stands as it is
        levels[0] = entry.levels.by_plan.get(plan_name, entry.levels.map) if weights.map_floor else 1.0
        levels[1] = entry.levels.error
    return Category(
        name=name,
        prompt=bundle.array(entry.prompt).astype(np.float32),
        bank=bank,
        levels=levels,
        schedule=bundle.manifest.schedules[entry.schedules.get(plan_name, plan.schedule)],
        weights=weights,
        threshold=threshold,
        calibration=calibration,
        reason=reason,
    )


def _threshold(
    bundle: Bundle, name: str, plan_name: str, precision: str, seed: int
) -> tuple[float | None, Calibration | None, str | None]:
    """The threshold of this plan, precision and seed, what it comes from, and why there is none."""
    entry = bundle.category(name)
    threshold = entry.thresholds.get(plan_name, {}).get(precision)
    calibration = entry.calibrations.get(plan_name, {}).get(precision)
    mend = "run edge-ad calibrate with it"
    if threshold is None:
        have = [f"{plan} at {one}" for plan, found in entry.thresholds.items() for one in found]
        only = f"; it has one for {', '.join(have)}" if have else ""
        return None, None, f'category "{name}" has no threshold for plan {plan_name} at {precision}{only}: {mend}'
    if calibration is not None and calibration.seed != seed:
        seeds = f"computed with --seed {calibration.seed}, not {seed}"
        return None, None, f'the threshold of category "{name}" was {seeds}: {mend}, or use that seed'
    return threshold, calibration, None
