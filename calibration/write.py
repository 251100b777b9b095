"""Writing calibration results into a bundle: whole or not at all, every hash renewed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Calibration, Manifest
from edge_ad.bundle_files import Bundle, read_manifest, replaced, write_manifest
from edge_ad.errors import BundleError
from edge_ad.files import link_or_copy
from edge_ad.runtime.monitor import DriftModel


def calibration_files(category: str, plan: str, precision: str) -> tuple[str, str]:
    """Where a bundle keeps the evidence (JSON) and the drift model (.npy) of a category, plan and precision."""
    place = f"categories/{category}/calibration/{plan}-{precision}"
    return f"{place}.json", f"{place}-drift.npy"


def settled(
    before: Manifest, after: Manifest, category: str, plan: str, precision: str, threshold: float, entry: Calibration
) -> Manifest:
    """A copy of `after` with a category's new threshold.

    Where its noise strength or weights differ from those of `before`, the thresholds of the other precisions of that
    plan are dropped: they were computed from other scores.
    """
    manifest = after.model_copy(deep=True)
    found, old = manifest.categories[category], before.categories[category]
    schedule = {name: m.schedules[c.schedules.get(plan, m.plans[plan].schedule)]
                for name, m, c in (("before", before, old), ("after", manifest, found))}  # fmt: skip
    weights = [c.weights.get(plan, before.plans[plan].weights) for c in (old, found)]
    if schedule["before"] != schedule["after"] or weights[0] != weights[1]:
        found.thresholds.pop(plan, None)
        found.calibrations.pop(plan, None)
    found.thresholds.setdefault(plan, {})[precision] = threshold
    found.calibrations.setdefault(plan, {})[precision] = entry
    used = {p.schedule for p in manifest.plans.values()}
    used |= {name for c in manifest.categories.values() for name in c.schedules.values()}
    manifest.schedules = {name: value for name, value in manifest.schedules.items() if name in used}
    return manifest


def write_back(
    bundle: Bundle, manifest: Manifest, evidence: Mapping[str, Any], models: Mapping[str, DriftModel]
) -> None:
    """Replace a bundle, folder or `.tar`, by one with a new manifest and new files.

    The unchanged files are hard links where the file system has them, else copies.

    Args:
        bundle: as it was opened; it is of no use afterwards.
        manifest: the new one; its file hashes are computed anew.
        evidence: JSON content by path inside the bundle.
        models: drift models by path inside the bundle.

    Raises:
        BundleError: the bundle was changed by someone else since it was opened.
    """
    if bundle.source.is_dir():
        _refuse_changed(bundle, read_manifest(bundle.source))
    else:
        with Bundle.open(bundle.source) as now:
            _refuse_changed(bundle, now.manifest)
    with replaced(bundle.source) as folder:
        _fill(folder, bundle, manifest, evidence, models)


def _refuse_changed(bundle: Bundle, now: Manifest) -> None:
    if now != bundle.manifest:
        raise BundleError(f'"{bundle.source}" was changed while it was being calibrated; calibrate again')


def _fill(
    folder: Path,
    bundle: Bundle,
    manifest: Manifest,
    evidence: Mapping[str, Any],
    models: Mapping[str, DriftModel],
) -> None:
    kept = set(manifest.named_files())
    for path in bundle.manifest.files:
        ours = path.startswith("categories/") and path.split("/")[-2] == "calibration"
        if path not in evidence and path not in models and (path in kept or not ours):
            link_or_copy(bundle.folder / path, folder / path)
    for path, content in evidence.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / path).write_text(text + "\n", encoding="utf-8")
    for path, model in models.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / path, model.array(), allow_pickle=False)
    write_manifest(folder, manifest)
