"""Accuracy on a labelled data set: train, export and evaluate for several seeds, one model for all categories.

    python benchmarks/accuracy.py DATA --out WORK --seeds 0,1,2 [--steps 0] [--limit 20] [--plan grouped] [--bare]

Runs and bundles stay in WORK and are taken up again, with the same --steps and --shots only; WORK/accuracy.json and
accuracy.md (with --bare, without prototypes, accuracy-bare) hold the tables.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from begun import check_begun
from script import run

from edge_ad.bundle_files import read_manifest, write_manifest
from edge_ad.dataset import category_names, load_dataset
from edge_ad.evaluation import METRICS, evaluate
from edge_ad.export.pipeline import export_run
from edge_ad.files import atomic_folder, write_json, write_text
from edge_ad.runtime import Detector
from edge_ad.training.train import default_settings, train


def without_prototypes(bundle: Path, target: Path) -> Path:
    """A copy of a bundle whose categories have no prototypes: neither their mask nor E, as the paper's zero-shot."""
    with atomic_folder(target) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        manifest = read_manifest(folder)
        for entry in manifest.categories.values():
            entry.prototypes = None
        write_manifest(folder, manifest)
    return target


def one_seed(
    data: Path, work: Path, seed: int, steps: int | None, shots: int, plan: str, limit: int | None, bare: bool
) -> dict:
    """Train (or take up), export (or take up) and evaluate one seed: the summary, and seconds of training."""
    run, bundle = work / f"run-{seed}", work / f"bundle-{seed}"
    began = time.monotonic()
    if not (run / "run.json").is_file():
        settings = replace(default_settings("nano"), shots=shots, seed=seed)
        if steps is not None:
            decoder = replace(settings.decoder, steps=settings.decoder.steps if steps else 0)
            settings = replace(settings, denoiser=replace(settings.denoiser, steps=steps), decoder=decoder)
        train(data, run, settings, category_names(data))
    seconds = time.monotonic() - began
    if not (bundle / "manifest.json").is_file():
        export_run(run, bundle, log=lambda line: click.echo(line, err=True))
    if bare:
        bundle = without_prototypes(bundle, work / f"bare-{seed}")
    detector = Detector.load(bundle, plan=plan)
    result = evaluate(detector, load_dataset(data, need_test=True), limit=limit, settings={"seed": seed})
    return {**result.summary(), "seconds_of_training": seconds}


def table(results: dict[str, dict]) -> str:
    """Markdown: mean over seeds and spread (largest minus smallest) of every metric, a row a category."""
    names = [*next(iter(results.values()))["categories"], "mean"]
    lines = ["| category | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for name in names:
        cells = []
        for metric in METRICS:
            values = [entry["mean"] if name == "mean" else entry["categories"][name] for entry in results.values()]
            numbers = [100 * value[metric] for value in values if value[metric] is not None]
            spread = f" ±{(max(numbers) - min(numbers)) / 2:.1f}" if len(numbers) > 1 else ""
            cells.append(f"{np.mean(numbers):.1f}{spread}" if numbers else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--steps", type=int, help="Denoiser steps; 0 leaves the base.")
@click.option("--shots", default=4, show_default=True)
@click.option("--plan", default="grouped", show_default=True)
@click.option("--limit", type=int, help="Test images a category at most.")
@click.option("--bare", is_flag=True, help="Without prototypes.")
def main(
    data: Path, out: Path, seeds: str, steps: int | None, shots: int, plan: str, limit: int | None, bare: bool
) -> None:
    """Measure DATA for several seeds."""
    check_begun(out, {"data": str(data), "shots": shots, "steps": steps})
    results = {}
    name = "accuracy-bare" if bare else "accuracy"
    for seed in (int(part) for part in seeds.split(",")):
        results[str(seed)] = one_seed(data, out, seed, steps, shots, plan, limit, bare)
        write_json(out / f"{name}.json", results)
        write_text(out / f"{name}.md", table(results))
        click.echo(table(results))


if __name__ == "__main__":
    run(main)
