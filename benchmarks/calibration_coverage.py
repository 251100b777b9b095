"""Does a calibration keep its word? Coverage, noise strength against hindsight, and drift alarms, on labelled data.

    python benchmarks/calibration_coverage.py BUNDLE DATA --out WORK [--part coverage,lambda,drift] [--limit N]

Every picture is scored once and kept in WORK; an interrupted run goes on, a second one only computes the tables. The
model stays fixed. It begins by saying how many inspections there are to do and how long they take at the speed of the
first ones: four categories of 100 test images are some 2,300, about 25 minutes at 0.6 s each.

- coverage: the good test images are split in two halves at random, 20 times; one half gives the conformal threshold,
  the other the false-reject rate achieved.
- lambda: λ chosen on pasted defects against the λ of the best image AUROC on the labelled test images, in hindsight.
- drift: a model from one half of the good test images; alarms on the other half, and on that half changed.

WORK/coverage.json and coverage.md hold the tables.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_ad.calibration import choose as choosing
from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.conformal import needed, resplit_rates
from edge_ad.calibration.drift import calibrated_model
from edge_ad.calibration.levels import has_level, set_level
from edge_ad.calibration.material import Material, gather
from edge_ad.calibration.measure import measure, settings_of
from edge_ad.calibration.paste import PASTES
from edge_ad.calibration.vary import DRIFTS
from edge_ad.dataset import category_names, load_dataset
from edge_ad.files import write_json, write_text
from edge_ad.images import read_image
from edge_ad.metrics import auroc
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.monitor import statistics

RATES = (0.05, 0.1, 0.15, 0.2, 0.3)
SPLITS = 20


def work_left(detector: Detector, materials: list[Material], shots: list[Material], parts: str) -> int:
    """Inspections that a run without anything kept needs; pooled features alone do not count."""
    count = 0
    for material, trained in zip(materials, shots, strict=True):
        pictures = len(material.held_out) + len(material.bad)
        sources = choosing.sources(detector.bundle, trained)[0]
        if "lambda" in parts:
            # good pictures as they are and twice varied, and two defects of every kind
            count += len(choosing.STRENGTHS) * (pictures + len(sources) * (3 + 2 * len(PASTES)))
        elif "coverage" in parts:
            count += len(material.held_out)
    return count


def seconds_each(detector: Detector, material: Material) -> float:
    """Seconds of one inspection, after one that warms up."""
    image = read_image(material.held_out[0].path)
    detector.inspect(image, material.category)
    began = time.perf_counter()
    for _ in range(3):
        detector.inspect(image, material.category)
    return (time.perf_counter() - began) / 3


def scored(detector: Detector, name: str, items: list, cache: Cache) -> list:
    with progress(f"Scoring {name}", len(items)) as step:
        return measure(detector, name, items, 1.0, cache, step)


def coverage(detector: Detector, material: Material, cache: Cache) -> dict[str, Any]:
    """Mean and spread over the resplits of the rate achieved, for every rate that half of the images can promise."""
    scores = [one.score for one in scored(detector, material.category, material.held_out, cache)]
    found = resplit_rates(scores, RATES, splits=SPLITS)
    rows = {
        f"{rate:g}": {
            "mean": float(column.mean()),
            "lowest": float(column.min()),
            "highest": float(column.max()),
            "standard_error": float(column.std(ddof=1) / np.sqrt(SPLITS)),
        }
        for rate, column in zip(RATES, found.T)
        if len(scores) // 2 >= needed(rate)
    }
    return {"images": len(scores), "rates": rows}


def strength(detector: Detector, material: Material, shots: Material, cache: Cache) -> dict[str, Any]:
    """λ chosen without a real defect, λ of the best test AUROC, and the AUROC of both."""
    name, plan = material.category, detector.plan_name
    manifest = detector.bundle.manifest
    pictures, taken = choosing.sources(detector.bundle, shots)
    trials = choosing.trials(pictures, [], detector.image_size)
    found = choosing.choose(detector, name, pictures, trials, choosing.STRENGTHS, None, cache)
    real: dict[str, float] = {}
    good = [item for item in material.held_out if item.hash not in taken]
    for value in found.strengths:
        schedule = choosing.schedule_of(detector, manifest, name, value)
        other = choosing.with_schedule(manifest, name, plan, schedule)
        if other != manifest and has_level(other, name, plan):
            set_level(detector, other, name, pictures, cache)
        varied = detector.variant(other)
        scores = [one.score for one in scored(varied, name, [*good, *material.bad], cache)]
        labels = np.repeat([False, True], [len(good), len(material.bad)])
        real[f"{value:g}"] = auroc(labels, scores) or 0.0
    present = choosing.present(manifest, name, plan)[0].noise_strength
    chosen = f"{found.strength:g}"
    best = max(real, key=lambda key: (real[key], key == chosen))
    return {
        "chosen": found.strength,
        "best_in_hindsight": float(best),
        "present": present,
        "auroc_chosen": real[chosen],
        "auroc_best": real[best],
        "auroc_present": real[f"{present:g}"],
        "cost": real[best] - real[chosen],
        "auroc": real,
        "curve": found.record()["curve"],
    }


def drift(detector: Detector, material: Material, cache: Cache) -> dict[str, Any]:
    """Share of windows that alarm over ten random halvings: fresh good pictures, bad ones, and changed good ones."""
    name = material.category
    place = context(detector.bundle.manifest, name, detector.plan_name, **settings_of(detector))

    def pooled(items: list, change: str) -> np.ndarray:
        make = DRIFTS.get(change, lambda image: image)
        with progress(f"{name}: {change}", len(items)) as step:
            rows = []
            for item in items:

                def compute(path: Path = item.path) -> list[float]:
                    return [float(f"{value:.7g}") for value in detector.pooled(make(read_image(path)))]

                rows.append(cache.get(f"drift {place} {item.hash} {change}", compute))
                step()
        return np.array(rows, np.float32)

    good = {change: pooled(material.held_out, change) for change in ("unchanged", *DRIFTS)}
    bad = pooled(material.bad, "bad parts") if material.bad else np.empty((0, 1), np.float32)
    alarms: dict[str, list[float]] = {}
    streams = []
    for halving in range(10):
        rng = np.random.default_rng(halving)
        order = rng.permutation(len(material.held_out))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        model = calibrated_model(good["unchanged"][first], seed=halving)
        if model is None:
            return {"images": len(order), "too_few": True}
        stream = model.whitened(good["unchanged"][second][rng.integers(len(second), size=200)])
        streams.append(float((statistics(stream, model.window) > model.limit).any()))
        window, quarter = model.window, model.window // 4
        white = {change: model.whitened(rows[second]) for change, rows in good.items()}
        for _ in range(20):
            drawn = {change: rows[rng.integers(len(rows), size=window)] for change, rows in white.items()}
            if len(bad):
                few = model.whitened(bad)[rng.integers(len(bad), size=quarter)]
                drawn["a quarter bad"] = np.concatenate([drawn["unchanged"][quarter:], few])
            for change, rows in drawn.items():
                alarms.setdefault(change, []).append(float(statistics(rows, window)[-1] > model.limit))
    return {
        "images": len(material.held_out),
        "good_streams_of_200_with_an_alarm": float(np.mean(streams)),
        "windows_that_alarm": {change: float(np.mean(values)) for change, values in alarms.items()},
    }


def tables(results: dict[str, Any]) -> str:
    """Markdown of what was measured."""
    lines = []
    for name, value in results["about"].items():
        lines.append(f"{name}: {value}  ")
    parts = results["categories"]
    if any("coverage" in one for one in parts.values()):
        lines += ["", "Good images rejected, in per cent: mean of the splits (lowest to highest).", ""]
        lines += ["| category | images | " + " | ".join(f"{100 * rate:g} % asked" for rate in RATES) + " |"]
        lines += ["|---" * (len(RATES) + 2) + "|"]
        for name, one in parts.items():
            cells = []
            for rate in RATES:
                row = one["coverage"]["rates"].get(f"{rate:g}")
                cells.append(
                    f"{100 * row['mean']:.1f} ({100 * row['lowest']:.0f} to {100 * row['highest']:.0f})" if row else "–"
                )
            lines.append(f"| {name} | {one['coverage']['images']} | " + " | ".join(cells) + " |")
    if any("lambda" in one for one in parts.values()):
        lines += ["", "Image AUROC in per cent, at the λ chosen without a real defect and at the best.", ""]
        lines += ["| category | λ chosen | AUROC | λ in hindsight | AUROC | cost |", "|---|---|---|---|---|---|"]
        for name, one in parts.items():
            row = one["lambda"]
            lines.append(
                f"| {name} | {row['chosen']:g} | {100 * row['auroc_chosen']:.1f} | {row['best_in_hindsight']:g} | "
                f"{100 * row['auroc_best']:.1f} | {100 * row['cost']:.1f} |"
            )
    if any("drift" in one for one in parts.values()):
        columns = ["unchanged", "a quarter bad", *DRIFTS]
        lines += ["", "Drift: streams of 200 good images with an alarm, and windows that alarm, in per cent.", ""]
        lines += ["| category | good streams | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
        for name, one in parts.items():
            row = one["drift"]
            if row.get("too_few"):
                lines.append(f"| {name} | too few images |" + " – |" * len(columns))
                continue
            shares = row["windows_that_alarm"]
            cells = [f"{100 * shares[column]:.0f}" if column in shares else "–" for column in columns]
            lines.append(
                f"| {name} | {100 * row['good_streams_of_200_with_an_alarm']:.0f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--part", default="coverage,lambda,drift", show_default=True)
@click.option("--categories", help="Separated by commas; all that both have otherwise.")
@click.option("--limit", type=int, help="Good and bad test images a category at most, each.")
@click.option("--plan")
@click.option("--provider", default="auto", show_default=True)
@click.option("--threads", type=int)
def main(
    bundle: Path,
    data: Path,
    out: Path,
    part: str,
    categories: str | None,
    limit: int | None,
    plan: str | None,
    provider: str,
    threads: int | None,
) -> None:
    """Measure BUNDLE's calibration on the test images of DATA."""
    detector = Detector.load(bundle, provider=provider, plan=plan, threads=threads)
    names = categories.split(",") if categories else [n for n in category_names(data) if n in detector.categories]
    dataset = load_dataset(data, names, need_test=True)
    cache = Cache(out / "measured.jsonl")
    date = datetime.now(timezone.utc).date().isoformat()
    about = {"bundle": str(bundle), "data": str(data), "plan": detector.plan_name, "limit": limit, "date": date}
    results: dict[str, Any] = {"about": {**about, **settings_of(detector)}, "categories": {}}
    materials = [gather(detector.bundle, dataset[name], "test") for name in names]
    shots = [gather(detector.bundle, dataset[name], "train") for name in names]
    for material in materials:
        material.held_out, material.bad = material.held_out[:limit], material.bad[:limit]
    if count := work_left(detector, materials, shots, part):
        each = seconds_each(detector, materials[0])
        click.echo(
            f"{count} inspections, {each:.2f} s each: about {count * each / 60:.0f} min if none is kept", err=True
        )
    for name, material, trained in zip(names, materials, shots, strict=True):
        found = results["categories"].setdefault(name, {})
        if "coverage" in part:
            found["coverage"] = coverage(detector, material, cache)
        if "drift" in part:
            found["drift"] = drift(detector, material, cache)
        if "lambda" in part:
            found["lambda"] = strength(detector, material, trained, cache)
        write_json(out / "coverage.json", results)
        write_text(out / "coverage.md", tables(results))
    click.echo(tables(results))


if __name__ == "__main__":
    main()
