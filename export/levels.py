"""What the inpainting map S measures on a category's good pictures, so that only more than that need count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_ad.bundle import Bundle
from edge_ad.calibration.fusion import fused
from edge_ad.images import read_image
from edge_ad.runtime.costs import bundle_plan_cost
from edge_ad.runtime.detector import Detector

# beyond this many FLOPs a processor would need many minutes; nano and four shots take about 0.06e12 a picture
MOST_ON_CPU = 2e13


def map_levels(bundle: Path, shots: Mapping[str, Sequence[Path]], *, log: Callable[[str], None]) -> dict[str, float]:
    """The highest value of S, blurred as in the score, on the good pictures of each category, under the default plan.

    The bundle is run on what this machine has. A category without shots is left out; all are, with a line to `log`,
    when the networks are too large for a processor.
    """
    pictures = sum(len(paths) for paths in shots.values())
    detector = Detector.load(bundle)
    with Bundle.open(bundle) as opened:
        cost = bundle_plan_cost(opened).flops * pictures
    if not pictures or (cost > MOST_ON_CPU and detector.provider in ("cpu", "openvino")):
        log("normal levels of the inpainting map: not measured, too much work for a processor")
        return {}
    found = {}
    for name, paths in shots.items():
        highest = []
        for path in paths:
            evidence = detector.evidence(read_image(path), name)
            weights = detector.plan.weights.model_copy(update={"map_power": 1.0, "error_power": 0.0, "map_floor": 0.0})
            score_map, _ = fused(evidence, weights, np.ones_like(evidence["levels"]))
            highest.append(float(score_map.max()))
        if highest:
            found[name] = max(max(highest), 1e-6)
            log(f"category {name}: the inpainting map reaches {found[name]:.3f} on its good pictures")
    return found
