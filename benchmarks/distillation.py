"""What few steps cost, and what distilling wins back: a training run beside its student.

    python benchmarks/distillation.py RUN DATA --out WORK [--steps 300] [--per-class 20]

Both are exported with one, two and four steps and evaluated on the same test pictures of DATA, as they are and without
prototypes, beside which nano's inpainting decides little. Student, bundles and finished rows stay in WORK, where the
same command goes on; WORK/distillation.json and distillation.md hold the table.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from accuracy import without_prototypes
from begun import check_begun, kept_json
from script import run, say

from edge_ad.dataset import Dataset, load_dataset
from edge_ad.evaluation import evaluate, percent
from edge_ad.export.pipeline import export_run
from edge_ad.files import write_json, write_text
from edge_ad.runtime import Detector
from edge_ad.training.distill import DistillSettings, distill
from edge_ad.training.run import load_run

PLANS = ("grouped", "grouped-2", "grouped-1")
METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "pro")


def bundles(source: Path, name: str, work: Path) -> dict[str, Path]:
    """The bundle of a run, and that bundle without prototypes."""
    whole, bare = work / f"{name}-bundle", work / f"{name}-bare"
    if not (whole / "manifest.json").is_file():
        export_run(source, whole, log=say, plans=PLANS)
    if not (bare / "manifest.json").is_file():
        without_prototypes(whole, bare)
    return {"with prototypes": whole, "inpainting alone": bare}


def measured(bundle: Path, plan: str, data: Dataset, limit: int | None) -> dict[str, Any]:
    """The evaluation of a bundle's plan."""
    say(f"{bundle.name}, {plan}")
    return evaluate(Detector.load(bundle, plan=plan), data, limit=limit).summary()


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a row a plan, run and score."""
    lines = ["| score | run | plan | " + " | ".join(METRICS) + " |", "|---" * (3 + len(METRICS)) + "|"]
    for one in rows:
        cells = [percent(one["mean"][metric]) for metric in METRICS]
        lines.append(f"| {one['score']} | {one['run']} | {one['plan']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", "work", required=True, type=click.Path(path_type=Path))
@click.option("--steps", default=DistillSettings.steps, show_default=True, help="Optimiser steps of the student.")
@click.option("--per-class", "limit", type=click.IntRange(2), help="Test images a category, half of them bad; all.")
def main(source: Path, data: Path, work: Path, steps: int, limit: int | None) -> None:
    """Distil RUN and measure it and its student on DATA."""
    check_begun(work, {"run": str(source), "data": str(data), "steps": steps})
    dataset = load_dataset(data, list(load_run(source).categories), need_test=True)
    student, began = work / "student", time.monotonic()
    if not (student / "run.json").is_file():
        distill(source, student, DistillSettings(steps=steps), log=say)
        say(f"distilled in {time.monotonic() - began:.0f} s")
    result: dict[str, Any] = {"rows": []}
    for name, folder in (("fine-tuned", source), ("distilled", student)):
        for score, bundle in bundles(folder, name, work).items():
            for plan in PLANS:
                file = work / "rows" / f"{bundle.name}-{plan}-{limit or 'all'}.json"
                found = kept_json(file, lambda b=bundle, p=plan: measured(b, p, dataset, limit))  # type: ignore[misc]
                result["rows"].append({"run": name, "score": score, "plan": plan, **found})
                write_json(work / "distillation.json", result)
                write_text(work / "distillation.md", table(result["rows"]))
    click.echo(table(result["rows"]))


if __name__ == "__main__":
    run(main)
