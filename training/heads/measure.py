"""How good heads are on a labelled data set: AUROC, AP and F1-max of picture and pixel, and the kinds' accuracy."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_ad.dataset import Category, Sample, load_known
from edge_ad.errors import InputError
from edge_ad.metrics import image_metrics, mean_metrics, pixel_metrics
from edge_ad.progress import progress
from edge_ad.training.dual.pairs import first_third
from edge_ad.training.heads.folder import Heads
from edge_ad.training.heads.network import SegmenterGraph, of_category
from edge_ad.training.heads.pictures import Reader

METRICS = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "accuracy")


def measure_heads(
    heads: Heads, data: Path, *, rest: bool = False, only: Collection[tuple[str, str]] | None = None
) -> dict[str, dict[str, float | None]]:
    """Measure heads on the test pictures of the categories they know.

    Masks are compared at the heads' image size.

    Args:
        heads: from `load_heads`.
        data: data set in the layout of MVTec AD.
        rest: leave the first third of each kind of defect out, from which `synthesize train` learns.
        only: categories and kinds of the bad pictures that are looked at; None takes all.

    Returns:
        `METRICS` for each category, and their "mean"; None where the pictures cannot tell (one class only, no masks,
        no classifier). Accuracy: the share of bad pictures, of kinds that the heads know, whose kind is named
        rightly (table 3 of the paper).

    Raises:
        InputError: the data cannot be read, or hold no category of the heads.
    """
    known = load_known(data, heads.kinds, need_test=True)
    if not known:
        raise InputError(f"{data} has no category of {heads.folder}, which knows: {', '.join(heads.kinds)}")
    segmenter, classifier, read = SegmenterGraph(heads.segmenter()), heads.classifier(), Reader(heads.image_size)
    flat = [(name, kind) for name, kinds in heads.kinds.items() for kind in kinds]
    samples = {category.name: _samples(category, rest, only) for category in known}
    found: dict[str, dict[str, float | None]] = {}
    with progress("measuring", sum(map(len, samples.values()))) as tick:
        for name, chosen in samples.items():
            scores, maps, masks, right = [], [], [], []
            allowed = torch.tensor([[other == name for other, _ in flat]])
            for sample in chosen:
                picture, mask = read((sample.path, sample.mask))
                image = torch.tensor(picture)[None]
                with torch.inference_mode():
                    score_map, score = segmenter(image)
                    if classifier is not None and (name, sample.defect) in flat and len(heads.kinds[name]) > 1:
                        logits = of_category(classifier(image), allowed)
                        right.append(flat[int(logits.argmax())] == (name, sample.defect))
                scores.append(float(score))
                maps.append(score_map[0].numpy())
                masks.append(mask)
                tick()
            masked = all(sample.mask is not None for sample in chosen if sample.is_bad)
            pixels = pixel_metrics(maps, masks) if masked else {}
            values = {**image_metrics([sample.is_bad for sample in chosen], scores), **pixels}
            values["accuracy"] = float(np.mean(right)) if right else None
            found[name] = {metric: values.get(metric) for metric in METRICS}
    return {**found, "mean": mean_metrics(found.values())}


def _samples(category: Category, rest: bool, only: Collection[tuple[str, str]] | None) -> list[Sample]:
    """The test pictures, of bad ones those of kinds in `only`; with `rest` without the first third of every kind."""
    found = [sample for sample in category.test if not sample.is_bad]
    for kind in sorted({sample.defect for sample in category.test if sample.is_bad}):
        if only is None or (category.name, kind) in only:
            bad = [sample for sample in category.test if sample.defect == kind]
            found += first_third(bad)[1] if rest else bad
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as lines of text, a row a category, in per cent."""
    wide = max(map(len, found))
    lines = [" " * wide + "".join(f"{metric:>13}" for metric in METRICS)]
    for name, values in found.items():
        cells = "".join(f"{'-' if values[one] is None else f'{100 * values[one]:.1f}':>13}" for one in METRICS)
        lines.append(f"{name:<{wide}}{cells}")
    return "\n".join(lines)
