"""What the detector says of calibration pictures: score, pixel evidence and pooled features, computed once and kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.material import Item
from edge_ad.errors import BundleError
from edge_ad.images import Picture, read_image
from edge_ad.inspection import is_finite
from edge_ad.processor import this_processor
from edge_ad.progress import Step
from edge_ad.regions import label, region_areas
from edge_ad.runtime import Detector, Inspection
from edge_ad.runtime.result import smallest_area
from edge_ad.runtime.sessions.card import card_capability
from edge_ad.runtime.sessions.choose import ON_PROCESSOR

Floats = NDArray[np.float32]

# the modules that a provider's sessions may be of, where they are loaded
_MODULES = {"openvino": ("openvino",), "trt-rtx": ("tensorrt_rtx",), "tensorrt": ("tensorrt", "onnxruntime")}


@dataclass(frozen=True)
class Measured:
    """One picture's numbers. area_level: see `area_level`. pooled: float32 D, None without prototypes."""

    score: float
    area_level: float
    pooled: Floats | None


def area_level(score_map: Floats, area: int) -> float:
    """The highest threshold at which a score map (float32 S,S) still has a region of at least `area` pixels.

    Regions only grow as the threshold falls, so it is found by bisection over the map's values, exactly. The lowest
    value when the map has fewer pixels than `area`.
    """
    if area <= 1:
        return float(score_map.max())
    values = np.unique(score_map)
    low, high = 0, len(values)  # a region is there at values[low], none at values[high]
    while high - low > 1:
        middle = (low + high) // 2
        labels, count = label(score_map >= values[middle])
        if count and region_areas(labels, count).max() >= area:
            low = middle
        else:
            high = middle
    return float(values[low])


def settings_of(detector: Detector) -> dict[str, Any]:
    """What scores depend on beside bundle and picture, for `cache.context`."""
    return {
        "provider": detector.provider,
        "runs_on": runs_on(detector.provider),
        "precision": detector.precision,
        "seed": detector.seed,
    }


@remembered
def runs_on(provider: str) -> str:
    """The library that runs the graphs, with its version, and the card or processor: scores differ a little with each.

    To be called once a detector with that provider is there.
    """
    modules = [name for name in _MODULES.get(provider, ("onnxruntime",)) if name in sys.modules]
    libraries = [f"{name} {getattr(sys.modules[name], '__version__', '')}".strip() for name in modules]
    capability = None if provider in ON_PROCESSOR else card_capability()
    device = this_processor()[0] if capability is None else "card of compute capability {}.{}".format(*capability)
    return ", ".join([*libraries, device])


def measure(
    detector: Detector, category: str, items: Sequence[Item], min_area: float, cache: Cache, step: Step
) -> list[Measured]:
    """Score picture files, or take what `cache` knows of them.

    min_area: smallest region that counts, in pixels of the original picture. BundleError for a score that is not a
    finite number, InputError for a picture that cannot be read.
    """
    manifest = detector.bundle.manifest
    place = context(manifest, category, detector.plan_name, min_area=min_area, **settings_of(detector))
    found = []
    for item in items:

        def compute(path: Path = item.path) -> dict[str, Any]:
            image = read_image(path)
            return _record(detector.inspect(image, category), image, min_area, str(path))

        found.append(restored(cache.get(f"score {place} {item.hash}", compute)))
        step(note=category)
    return found


def measure_picture(detector: Detector, category: str, image: Picture, min_area: float, name: str) -> dict[str, Any]:
    """As `measure`, one picture, uint8 H,W,3, as plain data for a cache; `name` is what errors call it."""
    return _record(detector.inspect(image, category), image, min_area, name)


def restored(record: dict[str, Any]) -> Measured:
    """What `measure_picture` gave, out of a cache."""
    pooled = None if record["pooled"] is None else np.array(record["pooled"], np.float32)
    return Measured(record["score"], record["level"], pooled)


def _record(found: Inspection, image: Picture, min_area: float, name: str) -> dict[str, Any]:
    if not is_finite(found):
        raise BundleError(f"{name}: the bundle's score is not a finite number; export it at a higher precision (fp32)")
    least = smallest_area(min_area, found.score_map.shape, (image.shape[0], image.shape[1]))
    return {
        "score": found.score,
        "level": area_level(found.score_map, least),
        "pooled": None if found.pooled is None else [float(f"{value:.7g}") for value in found.pooled],
    }
