"""What the inpainting map S reaches on good pictures; it depends on noise strength, α and the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Manifest, Weights
from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.material import Item
from edge_ad.calibration.measure import settings_of
from edge_ad.calibration.shots import Own, leaving_out
from edge_ad.images import read_image
from edge_ad.runtime import Detector
from edge_ad.runtime.fusion import fused


def highest_map(evidence: Mapping[str, NDArray[Any]], weights: Weights) -> float:
    """The highest value of S, blurred as in the score, in what `Detector.evidence` returned; above 0."""
    plain = weights.model_copy(update={"map_power": 1.0, "error_power": 0.0, "map_floor": 0.0})
    return max(float(fused(evidence, plain, np.ones_like(evidence["levels"]))[0].max()), 1e-6)


def has_level(manifest: Manifest, category: str, plan: str) -> bool:
    """Whether one number is the level of S for a category and plan: where S has a floor, and no map of levels."""
    entry = manifest.categories[category]
    weights = entry.weights.get(plan, manifest.plans[plan].weights)
    return weights.map_floor > 0 and entry.prototypes is not None and entry.levels.maps is None


def good_levels(
    detector: Detector,
    category: str,
    pictures: Sequence[tuple[Item, Own]],
    weights: Sequence[Weights],
    cache: Cache,
) -> list[float]:
    """The level of S with each of some weights: its highest value on good pictures, each with what to leave out."""
    kinds = list(dict.fromkeys((one.alpha, one.reference) for one in weights))
    place = context(detector.bundle.manifest, category, detector.plan_name, kinds=kinds, **settings_of(detector))
    found = []
    for item, own in pictures:

        def compute(one: Item = item, leave: Own = own) -> list[float]:
            evidence = leaving_out(detector, category, leave).evidence(read_image(one.path), category)
            return [
                highest_map(evidence, weights[0].model_copy(update={"alpha": alpha, "reference": reference}))
                for alpha, reference in kinds
            ]

        found.append(cache.get(f"level {place} {own} {item.hash}", compute))
    highest = dict(zip(kinds, np.max(found, axis=0).tolist()))
    return [highest[one.alpha, one.reference] for one in weights]


def set_level(
    detector: Detector, manifest: Manifest, category: str, pictures: Sequence[tuple[Item, Own]], cache: Cache
) -> None:
    """Measure the level of S with the schedule and weights of a manifest under the detector's plan; it is put there."""
    plan = detector.plan_name
    entry = manifest.categories[category]
    weights = entry.weights.get(plan, manifest.plans[plan].weights)
    entry.levels.by_plan[plan] = good_levels(detector.variant(manifest), category, pictures, [weights], cache)[0]
