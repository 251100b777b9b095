"""What every saving of the runtime is worth: work, time and accuracy, one after another from the paper's plan on.

    python benchmarks/savings.py BUNDLE DATA --json savings.json [--per-class 20] [--repeats 5] [--rows paper,grouped]

Each row is a plan on the same graphs, so one bundle serves them all. The second row is the paper's plan with the
grouped plan's score, from the same inpaintings: the savings after it are compared with that. Work is counted; times are
of one picture of DATA, interleaved in a new random order each repeat after one warm-up; accuracy is over DATA's test
pictures, the same ones in every row. The cascade's row needs the limits that `edge-ad calibrate --cascade` sets, and is
left out without them. A run that is broken off goes on from its JSON and the folder beside it, which keeps what the
paper's inpaintings of a picture gave (3 MB each). SAVINGS.md, beside the JSON, holds the table.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from kept import Kept, with_levels, with_plan

from edge_ad.bundle import Manifest, Plan
from edge_ad.calibration.material import gather
from edge_ad.dataset import Dataset, category_names, load_dataset
from edge_ad.errors import OptionError
from edge_ad.evaluation import evaluate
from edge_ad.files import write_json, write_text
from edge_ad.images import read_image
from edge_ad.inspection import DetectorLike
from edge_ad.processor import this_processor
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.costs import bundle_plan_cost
from edge_ad.runtime.plan import grouped_plan, paper_plan
from edge_ad.runtime.schedule import make_schedule
from edge_ad.shared_categories import shared_categories

#: The row of the paper's plan with the grouped plan's score.
OWN_SCORE = "paper with the score of grouped"


@dataclass(frozen=True)
class Row:
    """A plan with its schedule. steps: None for the paper's, λ·50 of 50."""

    name: str
    plan: Plan
    steps: int | None = None
    solver: str = "ddim"
    cascade: bool = False

    @property
    def slow(self) -> bool:
        """Whether it is one of the paper's own masks and steps, whose inpaintings the two scores share."""
        return self.steps is None and self.plan.grouping == "single"


def rows(scales: tuple[int, ...]) -> list[Row]:
    """Every saving on top of the one before, then what was tried beyond. scales: what the latents have room for."""

    def grouped(**changes: Any) -> Plan:
        return grouped_plan("s").model_copy(update={"scales": scales, **changes})

    each: dict[str, Any] = {"masked_latents": "encoded", "decode": "each"}
    return [
        Row("paper", paper_plan("s").model_copy(update={"scales": scales})),
        Row(OWN_SCORE, grouped(**each, grouping="single")),
        Row("patches share an inpainting", grouped(**each)),
        Row("one encoding", grouped(decode="each")),
        Row("composed before decoding", grouped()),
        Row("grouped", grouped(), 4),
        Row("grouped of 2 noise draws", grouped(noise_draws=2), 4),
        Row("grouped-4-unipc", grouped(), 4, "unipc"),
        Row("grouped-2", grouped(), 2),
        Row("grouped-2-dpmsolver++", grouped(), 2, "dpmsolver++"),
        Row("grouped-1", grouped(), 1),
        Row("grouped-1 of the finest scales", grouped(scales=scales[-2:]), 1),
        Row("grouped with cascade", grouped(), 4, cascade=True),
    ]


def with_row(manifest: Manifest, row: Row) -> Manifest:
    """A copy of the manifest in which plan "grouped" or "paper" is that row's, with a schedule of its own.

    The row takes the name of the plan it came from, under which thresholds and limits are kept. Settings that
    calibration chose for single categories are dropped, but for the cascade, which depends on them.
    """
    name = plan_name(row)
    if row.cascade:
        return manifest.model_copy(deep=True)
    copy = with_plan(manifest, name, row.plan.model_copy(update={"schedule": "row"}))
    entry = manifest.plans.get(name)
    strength = manifest.schedules[entry.schedule].noise_strength if entry else 0.4
    spacing, steps = ("leading", 50) if row.steps is None else ("spread", row.steps)
    copy.schedules["row"] = make_schedule(manifest.noise, strength, steps, row.solver, spacing=spacing)
    return copy


def plan_name(row: Row) -> str:
    """The bundle's plan that a row varies."""
    return "grouped" if row.plan.weights.map_floor else "paper"


def detector_of(base: Detector, row: Row, shots: dict[str, list[Path]], folder: Path) -> Detector:
    """A detector of a row, with what its inpainting map reaches on the good pictures where that counts."""
    manifest, name = with_row(base.bundle.manifest, row), plan_name(row)
    if row.cascade:
        return base.variant(manifest, plan=name, cascade=True)
    return with_levels(base, manifest, name, shots, folder if row.slow else None)


def accuracy(detector: DetectorLike, data: Dataset, category: str, limit: int | None) -> dict[str, Any]:
    """Image and pixel AUROC of a category, and what a cascade decided."""
    part = Dataset(data.path, [one for one in data.categories if one.name == category])
    result = evaluate(detector, part, limit=limit)
    found = {name: result.categories[category].metrics[name] for name in ("image_auroc", "pixel_auroc")}
    return {**found, "decided": None if result.cascade is None else result.cascade.decided}


def time_rows(
    detectors: dict[str, Detector], picture: np.ndarray, category: str, found: dict[str, list[float]], repeats: int
) -> Any:
    """Time what lacks repeats, interleaved; yields after each number so that it can be kept."""
    rng = np.random.default_rng()
    lacking = {name: detector for name, detector in detectors.items() if len(found[name]) < repeats}
    with progress("Timing", len(lacking) * (repeats + 1)) as step:
        for name, detector in lacking.items():
            detector.inspect(picture, category)
            step(note=f"warm-up {name}")
        for repeat in range(repeats):
            for name in rng.permutation(list(lacking)):
                if len(found[name]) <= repeat:
                    start = time.perf_counter()
                    lacking[name].inspect(picture, category)
                    found[name].append(time.perf_counter() - start)
                    yield
                step(note=str(name))


def table(result: dict[str, Any]) -> str:
    """Markdown: a row a saving. Points are those above the paper's plan with the same score."""
    lines = [
        "| saving | inpaintings | UNet evaluations | decodings | FLOPs | seconds, median (spread) | times faster | "
        "image AUROC | points | pixel AUROC | points |",
        "|---|" + "---:|" * 10,
    ]
    rows = result["rows"]

    def mean(row: dict[str, Any], metric: str) -> float | None:
        values = [one[metric] for one in row["accuracy"].values() if one[metric] is not None]
        return 100 * float(np.mean(values)) if values else None

    first = next(iter(rows.values()))
    for name, row in rows.items():
        cells = [
            f"{row['inpaintings']}",
            f"{row['evaluations']:,}",
            f"{row['decodings']}",
            f"{row['flops'] / 1e9:.0f} G",
        ]
        if row["times"] and first["times"]:
            middle = statistics.median(row["times"])
            cells += [f"{middle:.3f} ({min(row['times']):.3f} to {max(row['times']):.3f})",
                      f"{statistics.median(first['times']) / middle:.1f}"]  # fmt: skip
        else:
            cells += ["-", "-"]
        for metric in ("image_auroc", "pixel_auroc"):
            value, reference = mean(row, metric), mean(rows[OWN_SCORE], metric)
            cells.append("-" if value is None else f"{value:.2f}")
            cells.append("-" if value is None or reference is None else f"{value - reference:+.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    about = result["settings"]
    pictures = "all" if about["per_class"] is None else f"at most {about['per_class']}"
    lines.append(
        f"\n{about['repeats']} interleaved repeats, accuracy over {pictures} test pictures of each of "
        f"{len(about['categories'])} categories, {about['provider']} {about['precision']}, {about['machine']}, "
        f"{about['threads'] or 'default'} threads, {result['date']}. FLOPs, times and the cascade's latency are of a "
        "picture that goes the whole way."
    )
    for name, row in rows.items():
        shares = [one["decided"] for one in row["accuracy"].values() if one["decided"] is not None]
        if shares:
            lines.append(
                f"{name}: prototypes alone decide {100 * float(np.mean(shares)):.0f} % of the test pictures; of the "
                f"synthetic defects that the plan rejects they pass {100 * row['miss_rate']:.2g} % at most."
            )
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "json_file", required=True, type=click.Path(path_type=Path), help="Where the numbers are kept.")
@click.option("--per-class", type=click.IntRange(2), help="Test pictures a category at most, half of them bad.")
@click.option("--repeats", type=click.IntRange(0), default=5, show_default=True, help="0 measures accuracy only.")
@click.option("--rows", "wanted", help="Only these, separated by commas, beside the first two.")
@click.option("--categories", help="Only these, separated by commas; all that data and bundle share otherwise.")
@click.option("--provider", default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1))
def main(
    bundle: Path,
    data: Path,
    json_file: Path,
    per_class: int | None,
    repeats: int,
    wanted: str | None,
    categories: str | None,
    provider: str,
    threads: int | None,
) -> None:
    """Measure every row on BUNDLE and DATA."""
    base = Detector.load(bundle, provider=provider, threads=threads)
    manifest = base.bundle.manifest
    names = shared_categories(categories, category_names(data), base.categories, data, bundle)
    dataset = load_dataset(data, names, need_test=True)
    shots = {name: [item.path for item in gather(base.bundle, dataset[name]).shots] for name in names}
    chosen = rows(tuple(k for k in (1, 2, 4, 8) if k <= manifest.latent_size))
    if wanted:
        listed = {"paper", OWN_SCORE, *(part.strip() for part in wanted.split(","))}
        if unknown := sorted(listed - {row.name for row in chosen}):
            raise OptionError(f"--rows {unknown[0]}: not known; {'; '.join(row.name for row in chosen)} are")
        chosen = [row for row in chosen if row.name in listed]
    limits = {name: _limits(base, name) for name in names}
    if any(one is None for one in limits.values()):
        chosen = [row for row in chosen if not row.cascade]
        click.echo("no cascade: the bundle has no limits for it; edge-ad calibrate --cascade 0.02 sets them", err=True)
    files = {path: digest for path, digest in manifest.files.items() if "/calibration/" not in path}
    settings = {
        "bundle": str(bundle), "files": files, "data": str(data), "categories": names,
        "per_class": per_class, "repeats": repeats, "provider": base.provider, "precision": base.precision,
        "numbers": _numbers(manifest, names), "timed": names[0], "threads": threads,
        "machine": f"{this_processor()[0]}, {os.cpu_count()} cores",
    }  # fmt: skip
    old: dict[str, Any] = {}
    if json_file.is_file():
        kept = json.loads(json_file.read_text(encoding="utf-8"))
        if all(kept["settings"].get(key) == settings[key] for key in settings if key not in ("categories", "repeats")):
            old = kept["rows"]
    found: dict[str, Any] = {}
    inpainted = json.dumps([settings[key] for key in ("files", "numbers", "provider", "precision")])
    kept_in = json_file.with_name(f"{json_file.stem}-inpainted") / hashlib.sha256(inpainted.encode()).hexdigest()[:16]
    kept_in.mkdir(parents=True, exist_ok=True)
    for row in chosen:
        cost = bundle_plan_cost(base.variant(with_row(manifest, row)).bundle, plan_name(row), names[0])
        found[row.name] = {
            "inpaintings": cost.inpaintings,
            "evaluations": cost.evaluations,
            "decodings": cost.decodings,
            "flops": cost.flops,
            "miss_rate": max(one.miss_rate for one in limits.values() if one) if row.cascade else None,
            "times": old.get(row.name, {}).get("times", [])[:repeats],
            "accuracy": old.get(row.name, {}).get("accuracy", {}),
        }

    @cache
    def detector(name: str) -> Detector:
        return detector_of(base, next(row for row in chosen if row.name == name), shots, kept_in)

    def save() -> None:
        result = {"settings": settings, "date": datetime.now(timezone.utc).date().isoformat(), "rows": found}
        write_json(json_file, result)
        write_text(json_file.with_name("SAVINGS.md"), table(result))

    # the cheap rows first: a run that is broken off has most of the table
    for row in sorted(chosen, key=lambda row: found[row.name]["flops"]):
        for name in names:
            if name not in found[row.name]["accuracy"]:
                click.echo(f"{row.name}, {name}", err=True)
                one = detector(row.name)
                found[row.name]["accuracy"][name] = accuracy(
                    Kept(one, kept_in) if row.slow else one, dataset, name, per_class
                )
                save()
    picture = read_image(dataset[names[0]].test[0].path)
    timed = {
        row.name: detector(row.name) for row in chosen if not row.cascade and len(found[row.name]["times"]) < repeats
    }
    for _ in time_rows(timed, picture, names[0], {name: found[name]["times"] for name in timed}, repeats):
        save()
    for row in chosen:
        if row.cascade and "grouped" in found:  # its worst case
            found[row.name]["times"] = found["grouped"]["times"]
    save()
    click.echo(json_file.with_name("SAVINGS.md").read_text(encoding="utf-8"))


def _numbers(manifest: Manifest, names: list[str]) -> str:
    """A digest of what the rows take from the manifest beside files."""
    chosen = manifest.model_dump(mode="json", include={"plans", "schedules", "noise", "categories"})
    return hashlib.sha256(json.dumps([chosen, names]).encode()).hexdigest()


def _limits(base: Detector, category: str) -> Any:
    calibration = base.bundle.category(category).calibrations.get("grouped", {}).get(base.precision)
    return None if calibration is None else calibration.cascade


if __name__ == "__main__":
    main()
