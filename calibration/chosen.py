"""Noise strength and fusion of a category: chosen where that is asked for, else set by hand or kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_ad.bundle import Manifest
from edge_ad.calibration import choose as choosing
from edge_ad.calibration.cache import Cache
from edge_ad.calibration.material import Material
from edge_ad.calibration.outcome import Settings
from edge_ad.dataset import Dataset
from edge_ad.errors import InputError
from edge_ad.runtime import Detector


def choose_settings(
    detector: Detector,
    manifest: Manifest,
    material: Material,
    settings: Settings,
    pairs: Dataset | None,
    cache: Cache,
) -> tuple[choosing.Found | None, Manifest, set[str]]:
    """Choose λ and fusion where that is asked for: what was found, the manifest with it, held-out pictures used up."""
    name, plan = material.category, detector.plan_name
    entry = manifest.categories[name]
    earlier = any(one.chosen.get("lambda") for one in entry.calibrations.get(plan, {}).values())
    strengths = () if settings.strengths is None and earlier else settings.strengths
    alphas = () if settings.alphas is None and earlier else settings.alphas
    # one value each is set by hand, nothing is tried
    if strengths is not None and len(strengths) <= 1 and alphas is not None and len(alphas) <= 1:
        return None, _by_hand(detector, manifest, name, strengths, alphas), set()
    manifest = _by_hand(
        detector,
        manifest,
        name,
        strengths if strengths is not None and len(strengths) == 1 else (),
        alphas if alphas is not None and len(alphas) == 1 else (),
    )
    weights = choosing.present(manifest, name, plan)[1]
    pictures, taken = choosing.sources(material, entry.shots or ())
    if not pictures:
        raise InputError(
            f"{name}: too few images to choose noise strength and fusion with; add the training images or more good "
            "ones to DATA, or give --lambda keep --fusion keep"
        )
    tried = choosing.STRENGTHS if strengths is None else strengths if len(strengths) > 1 else None
    grid = None
    if alphas is None:
        grid = choosing.weight_grid(weights, entry.prototypes is not None)
    elif len(alphas) > 1:
        grid = [weights.model_copy(update={"alpha": alpha}) for alpha in alphas]
    synthetic = choosing.pairs_of(pairs[name].test) if pairs is not None and name in pairs.names else []
    trials = choosing.trials(pictures, synthetic, detector.image_size)
    found = choosing.choose(detector.variant(manifest), name, trials, tried, grid, cache)
    return found, _by_hand(detector, manifest, name, (found.strength,), (), found), taken


def _by_hand(
    detector: Detector,
    manifest: Manifest,
    name: str,
    strengths: Sequence[float],
    alphas: Sequence[float],
    found: choosing.Found | None = None,
) -> Manifest:
    """A copy of the manifest with a category's noise strength and weights set."""
    plan = detector.plan_name
    copy = manifest.model_copy(deep=True)
    if strengths:
        schedule = choosing.schedule_of(detector, manifest, name, strengths[0])
        copy = choosing.with_schedule(copy, name, plan, schedule)
    weights = choosing.present(copy, name, plan)[1]
    wanted = weights
    if alphas:
        wanted = weights.model_copy(update={"alpha": alphas[0]})
    if found is not None:
        wanted = found.fusion
    if wanted != weights:
        copy.categories[name].weights[plan] = wanted
    return copy


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
        synthetic = pairs is not None and name in pairs.names
        return {**found.record(), "by": "synthetic pairs" if synthetic else "pasted defects"}
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
