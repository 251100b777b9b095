"""The thresholds of a category by the rule that was asked for, or an estimate of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.conformal import conformal_threshold, shortage
from edge_ad.calibration.estimate import fitted_threshold
from edge_ad.calibration.material import Item, Material
from edge_ad.calibration.measure import Measured, measure_picture, restored, settings_of
from edge_ad.calibration.operating import cost_threshold, f1_threshold
from edge_ad.calibration.outcome import Settings
from edge_ad.calibration.shots import VARIATIONS, leaving_out, own_shots, version
from edge_ad.errors import InputError
from edge_ad.images import read_image
from edge_ad.progress import progress
from edge_ad.runtime import Detector

#: Held-out images from which an estimate is made without the shots.
ENOUGH = 8
#: Held-out images from which it is made without shots that only their own prototypes are there to compare with.
LEAST = 3


@dataclass(frozen=True)
class ScoredShot:
    """A picture of the training in an estimate: its score and those of variations of it.

    alone: it is compared with its own prototypes, since there are no others; the variations count, not the picture.
    """

    item: Item
    alone: bool
    measured: list[Measured]


@dataclass(frozen=True)
class Limits:
    """Thresholds of a category and where they come from. varied: the shots, if an estimate needed them."""

    rule: Literal["conformal", "estimate", "f1", "cost"]
    threshold: float
    promised: float | None
    pixel: float
    pixel_promised: float | None
    sentence: str | None
    measured: tuple[float, float] | None
    varied: list[ScoredShot]


def find_limits(
    detector: Detector,
    material: Material,
    good: Sequence[Measured],
    bad: Sequence[Measured],
    settings: Settings,
    cache: Cache,
) -> Limits:
    """The thresholds by the rule that was asked for, or an estimate."""
    name, rate = material.category, settings.false_reject
    scores, levels = [one.score for one in good], [one.area_level for one in good]
    promise, pixel_promise = conformal_threshold(scores, rate), conformal_threshold(levels, rate)
    sentence = None if promise is not None or settings.rule != "conformal" else shortage(rate, len(scores))
    if sentence is not None and settings.require_promise:
        raise InputError(f"{name}: {sentence} (--require-promise; images that λ was chosen with do not count)")
    few = promise is None and len(good) < ENOUGH
    varied = _from_shots(detector, material, len(good), settings.min_area, cache) if few else []
    rule: Literal["conformal", "estimate", "f1", "cost"] = settings.rule
    measured, promised = None, None
    if settings.rule == "conformal" and promise is not None:
        threshold, promised = promise.threshold, promise.rate
    elif settings.rule == "conformal":
        groups = [*([score] for score in scores), *([one.score for one in shot.measured] for shot in varied)]
        rule, threshold = "estimate", fitted_threshold(groups, rate)
    else:
        worse = [one.score for one in bad]
        choice = (
            f1_threshold(scores, worse)
            if settings.rule == "f1"
            else cost_threshold(scores, worse, settings.cost_ratio, settings.defect_rate)
        )
        threshold, measured = choice.threshold, (choice.false_rejects, choice.escapes)
    pixel_promised = None
    if settings.pixel is not None:
        pixel = settings.pixel
    elif pixel_promise is not None:
        pixel, pixel_promised = pixel_promise.threshold, pixel_promise.rate
    else:
        groups = [*([level] for level in levels), *([one.area_level for one in shot.measured] for shot in varied)]
        pixel = fitted_threshold(groups, rate)
    if settings.pixel is None:
        pixel = map_threshold(pixel)
    return Limits(rule, threshold, promised, pixel, pixel_promised, sentence, measured, varied)


def map_threshold(value: float) -> float:
    """The lowest float32 number that is not below `value`.

    Score maps are float32, and so is what NumPy compares them with: another number may be rounded onto the very level
    that it lies just above.
    """
    value = min(value, float(np.finfo(np.float32).max))
    near = np.float32(value)
    return float(near if float(near) >= value else np.nextafter(near, np.float32(np.inf)))


def _from_shots(
    detector: Detector, material: Material, held_out: int, min_area: float, cache: Cache
) -> list[ScoredShot]:
    """Shots and variations of them, scored without their own prototypes.

    A shot that has no others to be compared with differs from itself by the variations alone, less than parts do: it
    counts only where there are fewer than `LEAST` held-out images.
    """
    name, shots = material.category, list(detector.bundle.category(material.category).shots or ())
    place = context(detector.bundle.manifest, name, detector.plan_name, min_area=min_area, **settings_of(detector))
    owned = [(item, own_shots(detector.bundle, name, item.hash)) for item in material.shots]
    owned = [(item, own) for item, own in owned if own is not None or held_out < LEAST]
    found = []
    with progress(f"Scoring {name}'s shots", len(owned) * (1 + VARIATIONS)) as step:
        for item, own in owned:
            ready, image, measured = leaving_out(detector, name, own), read_image(item.path), []
            for number in range(own is None, 1 + VARIATIONS):
                picture = version(image, shots.index(item.hash), number)

                def compute(d: Detector = ready, p: Any = picture, path: Path = item.path) -> dict[str, Any]:
                    return measure_picture(d, name, p, min_area, str(path))

                measured.append(restored(cache.get(f"shot {place} {item.hash} {own} {number}", compute)))
                step(note=name)
            found.append(ScoredShot(item, own is None, measured))
    return found
