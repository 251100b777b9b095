"""Calibrating a bundle: λ and fusion, threshold, regions, drift; category by category, and all of it resumable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Calibration, Manifest, Monitor
from edge_ad.calibration.cache import Cache
from edge_ad.calibration.cascade import cascade_limits, check_cascade
from edge_ad.calibration.chosen import check_pairs, choice_record, choose_settings, chosen_before, wish_of
from edge_ad.calibration.conformal import needed, resplit_rates, shortage
from edge_ad.calibration.limits import ScoredShot, find_limits
from edge_ad.calibration.material import Item, Material, gather
from edge_ad.calibration.measure import Measured, measure, settings_of
from edge_ad.calibration.outcome import RATES, Outcome, Result, Settings
from edge_ad.calibration.watch import watch_drift
from edge_ad.calibration.write import calibration_files, settled, write_back
from edge_ad.dataset import Dataset
from edge_ad.errors import InputError, OptionError
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.monitor import DriftModel

Log = Callable[[str], None]

CACHE = "measured.jsonl"


def calibrate(
    detector: Detector,
    dataset: Dataset,
    settings: Settings,
    work: Path,
    *,
    pairs: Dataset | None = None,
    log: Log = print,
) -> Result:
    """Calibrate the categories of a data set for a detector's plan and precision, and write the bundle back.

    Args:
        detector: loaded from the bundle to calibrate; it knows all the data set's categories.
        dataset: good pictures, and bad ones where the rule needs them.
        settings: what for.
        work: a folder for what was measured; a calibration that was interrupted goes on from there.
        pairs: synthetic defects with masks, to choose λ and fusion with; None pastes some.
        log: is told each category's outcome.

    Returns:
        What came out; the bundle holds it already.

    Raises:
        OptionError: settings that cannot be.
        InputError: too few pictures, or one that cannot be read.
        BundleError: the bundle lacks what is needed, or was changed meanwhile.
    """
    _check(settings)
    bundle, plan = detector.bundle, detector.plan_name
    if settings.cascade is not None:
        check_cascade(bundle, plan, dataset.names, settings.cascade)
    materials = {name: gather(bundle, dataset[name], settings.split) for name in dataset.names}
    for name, material in materials.items():
        wish = wish_of(detector, bundle.manifest, material, settings)
        _check_material(material, settings, len(wish.taken))
        if pairs is not None:
            check_pairs(pairs, name, wish, log)
    cache = Cache(work / CACHE)
    manifest, outcomes = bundle.manifest, []
    evidence: dict[str, Any] = {}
    models: dict[str, DriftModel] = {}
    for name, material in materials.items():
        outcome, manifest, record = _category(detector, manifest, material, settings, pairs, cache, log)
        json_file, model_file = calibration_files(name, plan, detector.precision)
        outcome.entry.evidence = json_file
        if outcome.model is not None:
            models[model_file] = outcome.model
            outcome.entry.monitor = Monitor(
                file=model_file,
                window=outcome.model.window,
                clip=outcome.model.clip,
                limit=outcome.model.limit,
                rate=settings.rate,
                horizon=settings.horizon,
                images=len(outcome.good),
            )
        evidence[json_file] = record
        manifest = settled(bundle.manifest, manifest, name, plan, detector.precision, outcome.threshold, outcome.entry)
        outcomes.append(outcome)
        log(outcome.line())
    write_back(bundle, manifest, evidence, models)
    about = {
        "bundle": str(bundle.source),
        "data": str(dataset.path),
        "plan": plan,
        **settings_of(detector),
        "rule": settings.rule,
        "false_reject": settings.false_reject,
        "min_area": settings.min_area,
        "split": settings.split,
    }
    return Result(outcomes, about)


def _check(settings: Settings) -> None:
    if not 0 < settings.false_reject < 1:
        raise OptionError(
            f"--false-reject {settings.false_reject:g}: give a rate between 0 and 1, such as 0.01 for 1 %"
        )
    if not settings.min_area > 0 or (settings.mm_per_pixel is not None and not settings.mm_per_pixel > 0):
        raise OptionError("--min-area and --mm-per-pixel must be above 0")
    if settings.require_promise and settings.rule != "conformal":
        raise OptionError(f"--require-promise: --rule {settings.rule} promises nothing; leave out one of the two")
    if not 0 < settings.cost_ratio < math.inf:
        raise OptionError(f"--cost-ratio {settings.cost_ratio:g}: must be a number above 0")
    if settings.defect_rate is not None and not 0 < settings.defect_rate < 1:
        raise OptionError(f"--defect-rate {settings.defect_rate:g}: must lie between 0 and 1")


def _check_material(material: Material, settings: Settings, taken: int) -> None:
    """Refuse before any work what cannot come out. taken: held-out images that λ and fusion are or were chosen with."""
    name, held_out = material.category, len(material.held_out) - taken
    if settings.rule != "conformal" and not (material.bad and held_out > 0):
        raise InputError(
            f"{name}: --rule {settings.rule} needs good images that were not trained on and labelled bad ones; DATA "
            f"has {held_out} and {len(material.bad)} of them: put them into test/good and test/<name of the defect>"
        )
    if settings.require_promise and settings.rule == "conformal" and held_out < needed(settings.false_reject):
        left = f"; {taken} more are for λ and fusion, as DATA has or had no training images" if taken else ""
        raise InputError(f"{name}: {shortage(settings.false_reject, held_out)} (--require-promise){left}")
    if held_out < 2 and not material.shots:
        raise InputError(
            f"{name}: {held_out} good images that were not trained on, and none of the training either; put more good "
            "images into train/good or test/good"
        )


def _category(
    detector: Detector,
    manifest: Manifest,
    material: Material,
    settings: Settings,
    pairs: Dataset | None,
    cache: Cache,
    log: Log,
) -> tuple[Outcome, Manifest, dict[str, Any]]:
    name = material.category
    found, manifest, taken = choose_settings(detector, manifest, material, settings, pairs, cache, log)
    ready = detector.variant(manifest)
    held_out = [item for item in material.held_out if item.hash not in taken]
    with progress(f"Scoring {name}", len(held_out) + len(material.bad)) as step:
        good = measure(ready, name, held_out, settings.min_area, cache, step)
        bad = measure(ready, name, material.bad, settings.min_area, cache, step)
    limits = find_limits(ready, material, good, bad, settings, cache)
    known = good or [one for shot in limits.varied for one in shot.measured]
    everything, levels = [one.score for one in known], [one.area_level for one in known]
    entry = Calibration(
        rule=limits.rule,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        target=settings.false_reject,
        promised=limits.promised,
        seed=detector.seed,
        provider=detector.provider,
        images=len(good),
        defects=len(bad) if limits.measured else 0,
        shots=len(limits.varied),
        middle=float(np.median(everything)),
        pixel_threshold=limits.pixel,
        pixel_promised=limits.pixel_promised,
        min_area=settings.min_area,
        mm_per_pixel=settings.mm_per_pixel,
        scores=[float(value) for value in np.quantile(everything, np.linspace(0, 1, 101))],
        chosen=choice_record(found, detector, manifest, name, settings, pairs),
        cost_ratio=settings.cost_ratio if limits.rule == "cost" else None,
        defect_rate=settings.defect_rate if limits.rule == "cost" else None,
    )
    outcome = Outcome(
        category=name,
        threshold=limits.threshold,
        entry=entry,
        sentence=limits.sentence,
        good=everything,
        bad=[one.score for one in bad],
        good_levels=levels,
        from_shots=not good,
        alone=any(shot.alone for shot in limits.varied),
        left_out=len(material.shots) + len(taken),
        repeated=len(material.repeated),
        measured=limits.measured,
        coverage=resplit_rates(everything, RATES) if len(good) >= 2 * needed(max(RATES)) else None,
        found=found,
    )
    watch_drift(outcome, ready, held_out, good, settings, cache)
    if settings.cascade is not None:
        outcome.cascade = cascade_limits(ready, material, limits.threshold, settings.cascade, cache)
        entry.cascade = None if isinstance(outcome.cascade, str) else outcome.cascade
    return outcome, manifest, _evidence(material, taken, held_out, good, bad, limits.varied, entry, detector)


def _evidence(
    material: Material,
    taken: set[str],
    held_out: Sequence[Item],
    good: Sequence[Measured],
    bad: Sequence[Measured],
    varied: Sequence[ScoredShot],
    entry: Calibration,
    detector: Detector,
) -> dict[str, Any]:
    """What the threshold was computed from, picture by picture, as plain data."""

    def rows(role: str, items: Sequence[Item], measured: Sequence[Measured]) -> list[Mapping[str, Any]]:
        return [
            {"sha256": item.hash, "file": item.path.name, "role": role, "score": one.score, "level": one.area_level}
            for item, one in zip(items, measured)
        ]

    # also those that are not in DATA this time, so that a later calibration knows them
    chosen = chosen_before(detector.bundle, material.category, detector.plan_name)
    chosen |= {item.hash: item.path.name for item in material.held_out if item.hash in taken}
    # of a shot, its own score first where that counts, then those of its variations
    scored = {
        shot.item.hash: {
            "scores": [one.score for one in shot.measured],
            "levels": [one.area_level for one in shot.measured],
            "alone": shot.alone,
        }
        for shot in varied
    }
    return {
        "category": material.category,
        "plan": detector.plan_name,
        **settings_of(detector),
        "created": entry.created,
        "rule": entry.rule,
        "target": entry.target,
        "promised": entry.promised,
        "cost_ratio": entry.cost_ratio,
        "defect_rate": entry.defect_rate,
        "pictures": [
            *rows("good", held_out, good),
            *rows("bad", material.bad, bad),
            *(
                {"sha256": item.hash, "file": item.path.name, "role": "shot", **scored.get(item.hash, {})}
                for item in material.shots
            ),
            *({"sha256": digest, "file": file, "role": "choosing"} for digest, file in chosen.items()),
        ],
    }
