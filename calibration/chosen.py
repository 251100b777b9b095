"""Noise strength and fusion of a category: chosen where that is asked for, else set by hand or kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_ad.bundle import Manifest
from edge_ad.bundle_files import Bundle
from edge_ad.calibration import choose as choosing
from edge_ad.calibration.cache import Cache
from edge_ad.calibration.levels import has_level, set_level
from edge_ad.calibration.material import Item, Material
from edge_ad.calibration.outcome import Settings
from edge_ad.calibration.shots import Own
from edge_ad.dataset import Dataset
from edge_ad.errors import InputError
from edge_ad.runtime import Detector


@dataclass(frozen=True)
class Wish:
    """What a category's noise strength and fusion are to be.

    manifest: with what is set by hand. strengths, alphas: as `Settings` has them, kept where an earlier calibration has
    chosen. tries: whether several settings are compared. measures: whether what is set by hand needs another level of
    the inpainting map. sources: good pictures for both; taken: hashes of the held-out pictures among them, or that an
    earlier calibration took.
    """

    manifest: Manifest
    strengths: tuple[float, ...] | None
    alphas: tuple[float, ...] | None
    tries: bool
    measures: bool
    sources: list[tuple[Item, Own]]
    taken: set[str]


def chosen_before(bundle: Bundle, category: str, plan: str) -> dict[str, str]:
    """Hash and file name of the pictures that earlier calibrations of a plan, at any precision, chose with.

    λ, fusion or the map's level come from them, so they count for no promise, however often it is calibrated again.
    """
    found: dict[str, str] = {}
    for one in bundle.category(category).calibrations.get(plan, {}).values():
        if one.evidence is not None:
            content = json.loads(bundle.file(one.evidence).read_text(encoding="utf-8"))
            found.update({row["sha256"]: row["file"] for row in content["pictures"] if row["role"] == "choosing"})
    return found


def wish_of(detector: Detector, manifest: Manifest, material: Material, settings: Settings) -> Wish:
    """What is asked for, and the pictures that it takes. Errors as `choose.schedule_of`."""
    name, plan = material.category, detector.plan_name
    earlier = any(one.chosen.get("lambda") for one in manifest.categories[name].calibrations.get(plan, {}).values())
    strengths = () if settings.strengths is None and earlier else settings.strengths
    alphas = () if settings.alphas is None and earlier else settings.alphas
    # one value each is set by hand, nothing is tried
    tries = strengths is None or len(strengths) > 1 or alphas is None or len(alphas) > 1
    copy = manifest.model_copy(deep=True)
    if strengths is not None and len(strengths) == 1:
        schedule = choosing.schedule_of(detector, manifest, name, strengths[0])
        copy = choosing.with_schedule(copy, name, plan, schedule)
    if alphas is not None and len(alphas) == 1:
        weights = choosing.present(copy, name, plan)[1]
        if weights.alpha != alphas[0]:
            copy.categories[name].weights[plan] = weights.model_copy(update={"alpha": alphas[0]})
    changed = choosing.present(copy, name, plan) != choosing.present(manifest, name, plan)
    measures = changed and has_level(copy, name, plan)
    sources, taken = choosing.sources(detector.bundle, material) if tries or measures else ([], set())
    if tries and not sources:
        raise InputError(
            f"{name}: too few images to choose noise strength and fusion with; add the training images or more good "
            "ones to DATA, or give --lambda keep --fusion keep"
        )
    before = chosen_before(detector.bundle, name, plan)
    taken |= {item.hash for item in material.held_out if item.hash in before}
    return Wish(copy, strengths, alphas, tries, measures, sources, taken)


def check_pairs(pairs: Dataset, name: str, wish: Wish, log: Callable[[str], None]) -> None:
    """Refuse a data set of synthetic defects without any of a category; say so where nothing is chosen with it."""
    if not wish.tries:
        log(f"{name}: --pairs is not used, since noise strength and fusion stay; --lambda 0.2,0.3,0.4 would choose")
    elif name not in pairs.names or not choosing.masked(pairs[name].test):
        raise InputError(
            f"{name}: --pairs {pairs.path} has no defective picture of it with a mask (test/<defect> and "
            "ground_truth/<defect>); draw some with edge-ad synthesize, or leave out --pairs"
        )


def choose_settings(
    detector: Detector,
    manifest: Manifest,
    material: Material,
    settings: Settings,
    pairs: Dataset | None,
    cache: Cache,
    log: Callable[[str], None],
) -> tuple[choosing.Found | None, Manifest, set[str]]:
    """Choose λ and fusion where that is asked for: what was found, the manifest with it, held-out pictures used up."""
    name, plan = material.category, detector.plan_name
    wish = wish_of(detector, manifest, material, settings)
    manifest = wish.manifest
    if wish.measures and wish.sources:
        set_level(detector, manifest, name, wish.sources, cache)
    elif wish.measures:
        log(f"{name}: too few images to measure what the inpainting map reaches on good parts at this λ and α")
    if not wish.tries:
        return None, manifest, wish.taken
    weights = choosing.present(manifest, name, plan)[1]
    tried = choosing.STRENGTHS if wish.strengths is None else wish.strengths if len(wish.strengths) > 1 else None
    grid = None
    if wish.alphas is None:
        grid = choosing.weight_grid(weights, manifest.categories[name].prototypes is not None)
    elif len(wish.alphas) > 1:
        grid = [weights.model_copy(update={"alpha": alpha}) for alpha in wish.alphas]
    synthetic = choosing.pairs_of(pairs[name].test) if pairs is not None else []
    trials = choosing.trials(wish.sources, synthetic, detector.image_size)
    found = choosing.choose(detector.variant(manifest), name, wish.sources, trials, tried, grid, cache)
    schedule = choosing.schedule_of(detector, manifest, name, found.strength)
    manifest = choosing.with_schedule(manifest, name, plan, schedule)
    if found.fusion != weights:
        manifest.categories[name].weights[plan] = found.fusion
    if found.level is not None:
        manifest.categories[name].levels.by_plan[plan] = found.level
    return found, manifest, wish.taken


def choice_record(
    found: choosing.Found | None,
    detector: Detector,
    manifest: Manifest,
    name: str,
    settings: Settings,
    pairs: Dataset | None,
) -> dict[str, Any]:
    """How λ and fusion were found; the earlier record when they stay as an earlier calibration chose them."""
    if found is not None:
        return {**found.record(), "by": "pasted defects" if pairs is None else "synthetic pairs"}
    if settings.strengths or settings.alphas:
        schedule, weights = choosing.present(manifest, name, detector.plan_name)
        return {"lambda": schedule.noise_strength, "weights": weights.model_dump(mode="json"), "by": "hand"}
    for one in detector.bundle.category(name).calibrations.get(detector.plan_name, {}).values():
        same = choosing.present(manifest, name, detector.plan_name) == choosing.present(
            detector.bundle.manifest, name, detector.plan_name
        )
        if one.chosen and same:
            return one.chosen
    return {}
