"""Does a quantized bundle still see what the fp32 one sees? Score maps and AUROC of both on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.choose import spaced
from edge_ad.calibration.material import Item, Material
from edge_ad.calibration.measure import settings_of
from edge_ad.calibration.paste import PASTES, pasted
from edge_ad.errors import BundleError
from edge_ad.images import Picture, read_image
from edge_ad.metrics import auroc
from edge_ad.progress import progress
from edge_ad.runtime import Detector


@dataclass(frozen=True)
class Agreement:
    """How two bundles compare. correlation: Pearson's, of score maps, mean over pictures, and `lowest`.

    before, after: image AUROC, mean over categories. pasted: whether the defects were pasted, as there were none.
    """

    correlation: float
    lowest: float
    before: float
    after: float
    pictures: int
    pasted: bool

    def record(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return {
            "score_map_correlation": self.correlation,
            "lowest_correlation": self.lowest,
            "image_auroc_fp32": self.before,
            "image_auroc": self.after,
            "pictures": self.pictures,
            "pasted_defects": self.pasted,
        }


def correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Pearson's correlation of two maps of one shape; 1 where both are constant, 0 where one is."""
    a, b = (values.astype(np.float64).ravel() - values.mean(dtype=np.float64) for values in (first, second))
    size = float(np.sqrt((a @ a) * (b @ b)))
    if size == 0:
        return float(not a.any() and not b.any())
    return float(a @ b) / size


def compare_bundles(
    plain: Detector, quantized: Detector, materials: Sequence[Material], images: int, cache: Cache
) -> Agreement:
    """Inspect `images` good and as many bad pictures a category with both detectors.

    Bad pictures are the labelled ones; where a category has none, defects are pasted into its good ones. `cache` keeps
    what was computed. BundleError where a score is not a finite number.
    """
    jobs = [(material.category, *job) for material in materials for job in _jobs(material, images)]
    rows: dict[str, list[tuple[bool, float, float]]] = {}
    correlations = []
    with progress("Comparing with fp32", len(jobs)) as step:
        for category, name, is_bad, item, paste in jobs:
            places = [context(d.bundle.manifest, category, d.plan_name, **settings_of(d)) for d in (plain, quantized)]

            def compute(c: str = category, one: Item = item, kind: tuple[str, int] | None = paste) -> list[float]:
                picture: Picture = read_image(one.path)
                if kind is not None:
                    picture = pasted(picture, *kind)[0]
                found = [detector.inspect(picture, c) for detector in (plain, quantized)]
                return [found[0].score, found[1].score, correlation(found[0].score_map, found[1].score_map)]

            try:
                record = cache.get(f"agree {' '.join(places)} {name}", compute)
            except ValueError as error:  # JSON has no NaN
                raise BundleError(
                    f"{item.path}: the quantized score is not a finite number; leave more layers with a smaller "
                    "--layer-error"
                ) from error
            rows.setdefault(category, []).append((is_bad, record[0], record[1]))
            correlations.append(record[2])
            step(note=category)
    before, after = (
        float(np.mean([auroc([row[0] for row in one], [row[i] for row in one]) for one in rows.values()]))
        for i in (1, 2)
    )
    pasted_ones = any(job[4] is not None for job in jobs)
    return Agreement(float(np.mean(correlations)), min(correlations), before, after, len(jobs), pasted_ones)


def _jobs(material: Material, images: int) -> list[tuple[str, bool, Item, tuple[str, int] | None]]:
    """(name, whether bad, picture, (kind, seed) of a defect to paste) of every inspection of a category."""
    good = spaced(material.held_out or material.shots, images)
    jobs: list[tuple[str, bool, Item, tuple[str, int] | None]] = [(item.hash, False, item, None) for item in good]
    if material.bad:
        return jobs + [(item.hash, True, item, None) for item in spaced(material.bad, images)]
    kinds = list(PASTES)
    for number, item in enumerate(good):
        kind = kinds[number % len(kinds)]
        jobs.append((f"{item.hash} {kind} {number}", True, item, (kind, number)))
    return jobs
