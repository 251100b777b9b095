"""Noise strength λ and fusion weights of a category, chosen without real defects.

Good pictures and synthetic defects in them are scored at every λ of a list; at each, the evidence is kept and every
combination of fusion weights is tried on it in NumPy, each with the level that the inpainting map then has. A shot is
compared with the prototypes of the other shots only: against its own it would have no error at all, and any defect
would stand out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Manifest, Schedule, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.levels import good_levels, has_level
from edge_ad.calibration.material import Item, Material
from edge_ad.calibration.measure import settings_of
from edge_ad.calibration.paste import PASTES, pasted
from edge_ad.calibration.shots import Own, leaving_out, own_shots
from edge_ad.calibration.vary import as_good
from edge_ad.dataset import Sample
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.images import Mask, Picture, picture_hash, read_image, read_mask, resize_image, resize_mask
from edge_ad.metrics import auroc, average_precision
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.fusion import fused
from edge_ad.runtime.schedule import SOLVERS, make_schedule

STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6)
ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.4)
MAP_POWERS = (0.125, 0.25, 0.5, 1.0)
#: Pictures that synthetic defects are pasted into, a category.
SOURCES = 6
#: Synthetic pairs taken of a folder, a category.
PAIRS = 24
_RESAMPLES = 200


@dataclass(frozen=True)
class Trial:
    """A picture to choose with: uint8 S,S,3. mask: bool S,S of its synthetic defect, None: good.

    leave: the shots whose prototypes do not count.
    """

    image: Picture
    mask: Mask | None
    leave: Own

    @property
    def key(self) -> str:
        """What tells it from all others."""
        mask = "good" if self.mask is None else hashlib.sha256(np.packbits(self.mask).tobytes()).hexdigest()[:16]
        return f"{self.leave} {picture_hash(self.image)} {mask}"


@dataclass(frozen=True)
class Found:
    """What was chosen.

    objective: float64 λs,weights, the mean of image AUROC and pixel AP, which `auroc` and `ap` hold apart. gain: of the
    best over the present setting, error: its standard error; the present setting stays unless the gain is larger. good,
    bad: pictures. level: of the inpainting map with what was chosen; None: that of the bundle holds.
    """

    strengths: list[float]
    weights: list[Weights]
    objective: NDArray[np.float64]
    auroc: NDArray[np.float64]
    ap: NDArray[np.float64]
    best: tuple[int, int]
    gain: float
    error: float
    good: int
    bad: int
    level: float | None = None

    @property
    def strength(self) -> float:
        """The chosen noise strength."""
        return self.strengths[self.best[0]]

    @property
    def fusion(self) -> Weights:
        """The chosen weights."""
        return self.weights[self.best[1]]

    def record(self) -> dict[str, Any]:
        """Plain data for the manifest: the choice and the curve over λ at the chosen weights."""
        column = self.best[1]
        return {
            "lambda": self.strength,
            "weights": self.fusion.model_dump(mode="json"),
            "good": self.good,
            "bad": self.bad,
            "gain": self.gain,
            "gain_error": self.error,
            "curve": [
                {
                    "lambda": strength,
                    "objective": float(self.objective[i, column]),
                    "image_auroc": float(self.auroc[i, column]),
                    "pixel_ap": float(self.ap[i, column]),
                }
                for i, strength in enumerate(self.strengths)
            ],
        }


def like(schedule: Schedule, noise: Mapping[str, Any]) -> Callable[[float], Schedule]:
    """How to make schedules of other noise strengths that are otherwise as `schedule`: solver, steps, spacing.

    noise: the manifest's. ValueError when none of the known ways made that schedule.
    """
    strength, steps = schedule.noise_strength, schedule.steps
    if schedule.solver in SOLVERS:
        for total, spacing in [(steps, "spread"), (50, "leading"), (100, "leading"), (20, "leading")]:

            def make(value: float, total: int = total, spacing: str = spacing) -> Schedule:
                return make_schedule(noise, value, total, schedule.solver, spacing=spacing)

            try:
                if make(strength).timesteps == schedule.timesteps:
                    return make
            except ValueError:
                continue
    raise ValueError(f"schedule of {steps} {schedule.solver} steps from {strength:g} was not made by edge-ad export")


def sources(bundle: Bundle, material: Material) -> tuple[list[tuple[Item, Own]], set[str]]:
    """The good pictures to choose with, each with the shots it is, and the hashes of the held-out ones among them.

    Shots of the training where the data has any. Otherwise held-out pictures, a quarter of them at most: they must not
    decide on the threshold as well.
    """
    if material.shots:
        chosen = spaced(material.shots, SOURCES)
        return [(item, own_shots(bundle, material.category, item.hash)) for item in chosen], set()
    taken = sorted(material.held_out, key=lambda item: item.hash)[: min(SOURCES, len(material.held_out) // 4)]
    return [(item, ()) for item in taken], {item.hash for item in taken}


def trials(pictures: Sequence[tuple[Item, Own]], pairs: Sequence[Item], size: int, seed: int = 0) -> list[Trial]:
    """Good pictures as they are and twice varied, and defects: of `pairs`, else two of every kind pasted into each.

    A picture that can be compared with its own prototypes only is not shown as it is, but varied once more.
    """
    found: list[Trial] = []
    for number, (item, own) in enumerate(pictures):
        image = resize_image(read_image(item.path), size)
        varied = [as_good(image, np.random.default_rng([seed, number, again])) for again in range(3)]
        good = varied if own is None else [image, *varied[:2]]
        found += [Trial(one, None, own) for one in good]
        if pairs:
            continue
        for kind in PASTES:
            for again in range(2):
                below = varied[again] if own is None else image
                spoilt, mask = pasted(below, kind, 1000 * seed + 2 * number + again)
                found.append(Trial(spoilt, mask, own))
    for number, item in enumerate(spaced(pairs, PAIRS)):
        original = read_image(item.path)
        assert item.mask is not None  # `pairs_of` takes none without
        mask = resize_mask(read_mask(item.mask, (original.shape[0], original.shape[1])), size)
        if mask.any():
            found.append(Trial(resize_image(original, size), mask, pictures[number % len(pictures)][1]))
    return found


def with_schedule(manifest: Manifest, category: str, plan: str, schedule: Schedule) -> Manifest:
    """A copy of a manifest in which one category runs one plan with another schedule."""
    copy = manifest.model_copy(deep=True)
    if schedule == copy.schedules[copy.plans[plan].schedule]:
        copy.categories[category].schedules.pop(plan, None)
        return copy
    name = f"{plan}@{schedule.noise_strength:g}"  # a plan may be called grouped-1
    copy.schedules[name] = schedule
    copy.categories[category].schedules[plan] = name
    return copy


def present(manifest: Manifest, category: str, plan: str) -> tuple[Schedule, Weights]:
    """The schedule and weights that a category runs a plan with now."""
    entry, chosen = manifest.categories[category], manifest.plans[plan]
    return manifest.schedules[entry.schedules.get(plan, chosen.schedule)], entry.weights.get(plan, chosen.weights)


def weight_grid(weights: Weights, prototypes: bool) -> list[Weights]:
    """The fusion weights to try: α of eq. 21, and where the prototype error counts, the power of the inpainting map."""
    alphas = sorted({*ALPHAS, weights.alpha})
    powers = sorted({*MAP_POWERS, weights.map_power}) if prototypes and weights.error_power > 0 else [weights.map_power]
    return [weights.model_copy(update={"alpha": a, "map_power": p}) for p in powers for a in alphas]


def choose(
    detector: Detector,
    category: str,
    sources: Sequence[tuple[Item, Own]],
    pictures: Sequence[Trial],
    strengths: Sequence[float] | None,
    weights: Sequence[Weights] | None,
    cache: Cache,
) -> Found:
    """Score trials at every noise strength with every fusion weight, and take the best.

    sources: good pictures, on which the inpainting map's level is measured for what is not set yet. strengths, weights:
    what to try; None keeps the present one. The present setting is always among what is tried.

    Raises:
        BundleError: the bundle's noise configuration is missing, so that no other strength can be made.
        InputError: there are no good or no defective trials.
        OptionError: a strength that cannot be.
    """
    manifest, plan = detector.bundle.manifest, detector.plan_name
    if not any(trial.mask is None for trial in pictures) or not any(trial.mask is not None for trial in pictures):
        raise InputError(
            f"{category}: nothing to choose with; add its training pictures to DATA, give --pairs whose masks are not "
            "empty, or --lambda keep --fusion keep"
        )
    schedule, now = present(manifest, category, plan)
    tried = sorted({*(strengths or ()), schedule.noise_strength})
    grid = list(weights or [])
    if now not in grid:
        grid.append(now)
    at_present = (schedule.noise_strength, now.alpha, now.reference)
    scores = np.empty((len(tried), len(pictures), len(grid)))
    precision = np.full_like(scores, np.nan)
    levels: list[list[float | None]] = []
    with progress(f"Choosing for {category}", len(tried) * len(pictures)) as step:
        for i, strength in enumerate(tried):
            varied = with_schedule(manifest, category, plan, schedule_of(detector, manifest, category, strength))
            ready = detector.variant(varied)
            # the present setting keeps its level: it is what stays if nothing is better
            same = [(strength, one.alpha, one.reference) == at_present for one in grid]
            levels.append([None] * len(grid))
            if has_level(varied, category, plan) and not all(same):
                measured = good_levels(ready, category, sources, grid, cache)
                levels[i] = [None if stays else level for stays, level in zip(same, measured)]
            vectors = [w.vector() for w in grid]
            place = context(varied, category, plan, grid=vectors, levels=levels[i], **settings_of(detector))
            detectors = {trial.leave: leaving_out(ready, category, trial.leave) for trial in pictures}
            for k, trial in enumerate(pictures):

                def compute(
                    one: Detector = detectors[trial.leave], t: Trial = trial, own: list[float | None] = levels[i]
                ) -> dict[str, list[float]]:
                    return _tried(one, category, t, grid, own)

                record = cache.get(f"trial {place} {trial.key}", compute)
                scores[i, k] = record["scores"]
                if trial.mask is not None:
                    precision[i, k] = record["ap"]
                step(note=f"λ {strength:g}")
    bad = np.array([trial.mask is not None for trial in pictures])
    found = _best(tried, grid, scores, precision[:, bad], bad, (tried.index(schedule.noise_strength), grid.index(now)))
    return replace(found, level=levels[found.best[0]][found.best[1]])


def masked(samples: Sequence[Sample]) -> list[Sample]:
    """The defective ones with masks among test samples."""
    return [sample for sample in samples if sample.is_bad and sample.mask is not None]


def pairs_of(samples: Sequence[Sample]) -> list[Item]:
    """The defective samples with masks among a category's test samples, as items."""
    return [Item(sample.path, picture_hash(read_image(sample.path)), sample.mask) for sample in masked(samples)]


def schedule_of(detector: Detector, manifest: Manifest, category: str, strength: float) -> Schedule:
    """The schedule that a category runs now, at another noise strength. Errors as `choose`."""
    schedule, _ = present(manifest, category, detector.plan_name)
    if strength == schedule.noise_strength:
        return schedule
    if not manifest.noise:
        raise BundleError(
            f'"{detector.bundle.source}" does not hold the noise configuration of its base, so that no other noise '
            "strength can be tried; export the run again, or give --lambda keep"
        )
    try:
        return like(schedule, manifest.noise)(strength)
    except ValueError as error:
        raise OptionError(f"--lambda {strength:g}: {error}") from error


def _tried(
    detector: Detector, category: str, trial: Trial, grid: Sequence[Weights], own_levels: Sequence[float | None]
) -> dict[str, list[float]]:
    evidence = detector.evidence(trial.image, category)
    if not all(np.isfinite(evidence[name]).all() for name in ("score_map", "image_maps", "reconstruction_maps")):
        raise BundleError(f"the score of {category} is not a finite number; export the bundle at a higher precision")
    record: dict[str, list[float]] = {"scores": [], "ap": []}
    for weights, level in zip(grid, own_levels):
        if detector.bundle.category(category).prototypes is None:
            weights = weights.model_copy(update={"error_power": 0.0, "map_floor": 0.0})
        levels = evidence["levels"].copy()
        if level is not None:
            levels[0] = level
        score_map, score = fused(evidence, weights, levels)
        record["scores"].append(score)
        if trial.mask is not None:
            # every second pixel, unless the defect would be lost
            mask, values = trial.mask[::2, ::2], score_map[::2, ::2]
            if not mask.any():
                mask, values = trial.mask, score_map
            record["ap"].append(average_precision(mask, values) or 0.0)
    return record


def _best(
    strengths: list[float],
    grid: list[Weights],
    scores: NDArray[np.float64],
    precision: NDArray[np.float64],
    bad: NDArray[np.bool_],
    now: tuple[int, int],
) -> Found:
    """The best cell of the grid; the present one unless the gain is larger than its standard error (bootstrap)."""
    image = _aurocs(scores, bad)
    pixel = precision.mean(axis=1)
    objective = (image + pixel) / 2
    best = tuple(int(i) for i in np.unravel_index(np.argmax(objective), objective.shape))
    gain = float(objective[best] - objective[now])
    rng = np.random.default_rng(0)
    good_rows, bad_rows = np.flatnonzero(~bad), np.flatnonzero(bad)
    differences = []
    for _ in range(_RESAMPLES):
        first = rng.integers(len(good_rows), size=len(good_rows))
        second = rng.integers(len(bad_rows), size=len(bad_rows))
        rows = np.concatenate([good_rows[first], bad_rows[second]])
        values = []
        for i, j in (best, now):
            area = auroc(bad[rows], scores[i, rows, j])
            assert area is not None  # both kinds are drawn
            values.append((area + precision[i, second, j].mean()) / 2)
        differences.append(values[0] - values[1])
    error = float(np.std(differences))
    chosen = best if gain > error else now
    return Found(
        strengths, grid, objective, image, pixel, (chosen[0], chosen[1]), gain, error, len(good_rows), len(bad_rows)
    )


def _aurocs(scores: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    result = np.empty((scores.shape[0], scores.shape[2]))
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            area = auroc(bad, scores[i, :, j])
            assert area is not None  # `choose` has seen to both kinds
            result[i, j] = area
    return result


def spaced(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]
