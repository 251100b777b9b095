"""What inpainting found of a picture, kept on disk, so that several scores are computed from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Manifest, Plan
from edge_ad.export.levels import highest_maps
from edge_ad.files import atomic_path
from edge_ad.runtime import Detector, Inspection
from edge_ad.runtime.fusion import fused


class Kept:
    """A detector that keeps in a folder what it found of each picture (3 MB at 256 px), and takes it from there.

    One folder is for one set of graphs, masks and steps; detectors of other weights may share it.
    """

    def __init__(self, detector: Detector, folder: Path):
        self.detector = detector
        self.folder = folder
        self.plan, self.plan_name, self.provider = detector.plan, detector.plan_name, detector.provider
        self.categories, self.image_size = detector.categories, detector.image_size

    def evidence(self, image: NDArray[np.uint8], category: str) -> dict[str, NDArray[Any]]:
        """What `Detector.evidence` gives, but for the pictures."""
        file = self.folder / f"{category}-{hashlib.sha256(image.tobytes()).hexdigest()[:20]}.npz"
        if not file.is_file():
            found = self.detector.evidence(image, category)
            with atomic_path(file) as temporary, open(temporary, "wb") as stream:
                np.savez(stream, **{key: value for key, value in found.items() if value.dtype == np.float32})
        with np.load(file, allow_pickle=False) as kept:
            return dict(kept)

    def inspect(self, image: NDArray[np.uint8], category: str, *, inpainted: bool = False) -> Inspection:
        """The score and its map, by the plan's weights; no verdict, and no picture."""
        found = self.evidence(image, category)
        score_map, score = fused(found, self.plan.weights, self.detector.levels(category))
        return Inspection(category, score, None, "undecided", score_map, [], None, found["error"], {})


def with_levels(
    base: Detector, manifest: Manifest, plan: str, shots: dict[str, list[Path]], folder: Path | None = None
) -> Detector:
    """A variant of a detector that knows what its inpainting map reaches on the good pictures, where that counts.

    manifest: with the plan; the level is put into it. folder: of `Kept`, for what is inpainted to find the level.
    """
    made = base.variant(manifest, plan=plan)
    if not made.plan.weights.map_floor:
        return made
    for name, level in highest_maps(made if folder is None else Kept(made, folder), shots).items():
        manifest.categories[name].levels.by_plan[plan] = level
    return base.variant(manifest, plan=plan)


def with_plan(manifest: Manifest, name: str, plan: Plan) -> Manifest:
    """A copy of a manifest in which a plan is another one, without what single categories have chosen for it."""
    copy = manifest.model_copy(deep=True)
    copy.plans[name] = plan
    for category in copy.categories.values():
        for chosen in (category.schedules, category.weights, category.levels.by_plan):
            chosen.pop(name, None)
    return copy
