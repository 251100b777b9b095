"""What the prototype-guided mask M^(p) of eq. 15 hides under each rule for its threshold, on labelled pictures.

    python benchmarks/threshold_rules.py BUNDLE DATA [--limit 20] [--json rules.json]

A row a rule and category, in per cent: the mean share of the patches that is hidden on good and on bad pictures; how
many good pictures have almost half of their patches hidden (over 40 %) and how many a patch or none; the share of the
defective patches that is hidden, and of the hidden patches that are defective. Nothing is inpainted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from script import run

from edge_ad.dataset import category_names, load_dataset
from edge_ad.files import write_json
from edge_ad.images import read_image, read_mask, shrink_mask
from edge_ad.runtime import Detector
from edge_ad.runtime.prototypes import THRESHOLD_RULES, prototype_mask
from edge_ad.shared_categories import shared_categories

COLUMNS = ("good_hidden", "bad_hidden", "good_over_40", "good_one_or_none", "recall", "precision")
TITLES = ("good: hidden", "bad: hidden", "good: over 40 %", "good: one or none", "of the defect", "of what is hidden")


def summary(
    maps: list[NDArray[np.float32]], defects: list[NDArray[np.bool_] | None], level: NDArray[np.float32], rule: str
) -> dict[str, float]:
    """The columns of one row, 0..1.

    maps: float32 h,w, E. defects: bool h,w of each picture; None for a good one. level: float32 S,S, of E.
    """
    hidden = [prototype_mask(error, level, rule) for error in maps]
    good = np.array([mask.mean() for mask, defect in zip(hidden, defects) if defect is None])
    few = np.array([mask.sum() <= 1 for mask, defect in zip(hidden, defects) if defect is None])
    bad = [(mask, defect) for mask, defect in zip(hidden, defects) if defect is not None and defect.any()]
    return {
        "good_hidden": float(good.mean()),
        "bad_hidden": float(np.mean([mask.mean() for mask, _ in bad])),
        "good_over_40": float((good > 0.4).mean()),
        "good_one_or_none": float(few.mean()),
        "recall": float(np.mean([mask[defect].mean() for mask, defect in bad])),
        "precision": float(np.mean([defect[mask].mean() if mask.any() else 0.0 for mask, defect in bad])),
    }


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown of rule -> category -> columns."""
    lines = [f"| rule | category | {' | '.join(TITLES)} |", "|---|---|" + "---:|" * len(TITLES)]
    for rule, found in rows.items():
        for name, row in found.items():
            lines.append(f"| {rule} | {name} | " + " | ".join(f"{100 * row[key]:.1f}" for key in COLUMNS) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(1), help="Good and bad test pictures a category at most, each.")
@click.option("--provider", default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(bundle: Path, data: Path, limit: int | None, provider: str, json_file: Path | None) -> None:
    """Measure the rules on BUNDLE and DATA."""
    detector = Detector.load(bundle, provider=provider)
    names = shared_categories(None, category_names(data), detector.categories, data, bundle)
    rows: dict[str, Any] = {rule: {} for rule in THRESHOLD_RULES}
    for name in names:
        maps, defects = [], []
        test = load_dataset(data, [name], need_test=True)[name].test
        for sample in [part for bad in (False, True) for part in [one for one in test if one.is_bad == bad][:limit]]:
            image = read_image(sample.path)
            maps.append(detector.error_map(image, name))
            whole = read_mask(sample.mask, image.shape[:2]) if sample.mask else None
            defects.append(None if whole is None else shrink_mask(whole, maps[-1].shape[0]))
        for rule, found in rows.items():
            found[name] = summary(maps, defects, detector.levels(name)[1], rule)
    for found in rows.values():
        found["mean"] = {key: float(np.mean([found[name][key] for name in names])) for key in COLUMNS}
    if json_file:
        write_json(json_file, rows)
    click.echo(table(rows))


if __name__ == "__main__":
    run(main)
