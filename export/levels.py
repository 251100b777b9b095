"""What the inpainting map S measures on a category's good pictures, so that only more than that need count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_ad.bundle_files import Bundle
from edge_ad.calibration.levels import highest_map
from edge_ad.images import read_image
from edge_ad.runtime.costs import bundle_plan_cost
from edge_ad.runtime.detector import Detector
from edge_ad.runtime.sessions.choose import ON_PROCESSOR, choose_provider

# beyond this many FLOPs a processor would need many minutes; nano and four shots take about 0.06e12 a picture
MOST_ON_CPU = 2e13


def map_levels(
    bundle: Path, shots: Mapping[str, Sequence[Path]], plan: str, *, log: Callable[[str], None]
) -> dict[str, float]:
    """The highest value of S, blurred as in the score, on the good pictures of each category, under a plan.

    The bundle is run on what this machine has. A category without shots is left out; all are, with a line to `log`,
    when the networks are too large for a processor.
    """
    pictures = sum(len(paths) for paths in shots.values())
    if not pictures:
        return {}
    opened, provider = Bundle.open(bundle), choose_provider("auto")
    if bundle_plan_cost(opened, plan).flops * pictures > MOST_ON_CPU and provider in ON_PROCESSOR:
        log(f"normal levels of the inpainting map, plan {plan}: not measured, too much work for a processor")
        return {}
    found = highest_maps(Detector.load(opened, provider=provider, plan=plan), shots)
    for name, level in found.items():
        log(f"category {name}: the inpainting map of plan {plan} reaches {level:.3f} on its good pictures")
    return found


def highest_maps(detector: Detector, shots: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """The highest value of S, blurred, on the given pictures of each category; one without pictures is left out."""
    found = {}
    for name, paths in shots.items():
        highest = [highest_map(detector.evidence(read_image(path), name), detector.plan.weights) for path in paths]
        if highest:
            found[name] = max(highest)
    return found
