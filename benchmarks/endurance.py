"""Images a second by batch size, and memory over a thousand images, of one detector.

    python benchmarks/endurance.py BUNDLE DATA [--batches 1,2,4,8] [--images 1000] --json endurance.json

The first test pictures of DATA's categories are read beforehand and come in turn, categories mixed within a batch.
Batch sizes are timed in a random order, five rounds after one that warms up; then the fastest runs on until --images
pictures are inspected, and the process's resident memory is noted every tenth of the way.
"""

from __future__ import annotations

import os
import statistics
import time
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from script import run

from edge_ad.dataset import category_names, load_dataset
from edge_ad.errors import OptionError
from edge_ad.files import write_json
from edge_ad.images import read_image
from edge_ad.processor import this_processor
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.serve.usage import resident_bytes
from edge_ad.shared_categories import shared_categories

ROUNDS = 5
Items = list[tuple[np.ndarray, str]]


def seconds(detector: Detector, items: Items) -> float:
    """Of one batch."""
    start = time.perf_counter()
    detector.inspect_batch([image for image, _ in items], [name for _, name in items])
    return time.perf_counter() - start


def throughput(detector: Detector, items: Items, batches: tuple[int, ...]) -> dict[int, list[float]]:
    """Images a second of every batch size, `ROUNDS` of each."""
    found: dict[int, list[float]] = {size: [] for size in batches}
    source = cycle(items)
    rng = np.random.default_rng(0)
    with progress("Timing", len(batches) * (ROUNDS + 1)) as step:
        for round_ in range(ROUNDS + 1):
            for size in rng.permutation(batches):
                taken = seconds(detector, list(islice(source, int(size))))
                if round_:
                    found[int(size)].append(int(size) / taken)
                step(note=f"batch {size}")
    return found


def endure(detector: Detector, items: Items, batch: int, images: int) -> list[tuple[int, float]]:
    """(images inspected, resident bytes) ten times on the way."""
    marks: list[tuple[int, float]] = []
    source, done = cycle(items), 0
    with progress("Enduring", images) as step:
        while done < images:
            count = min(batch, images - done)
            seconds(detector, list(islice(source, count)))
            done += count
            step(count)
            if done >= images * (len(marks) + 1) // 10:
                marks.append((done, resident_bytes(os.getpid())))
    return marks


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--batches", default="1,2,4,8", show_default=True, help="Batch sizes to time.")
@click.option("--images", default=1000, show_default=True, type=click.IntRange(10))
@click.option("--plan", help="The bundle's default otherwise.")
@click.option("--provider", default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1))
@click.option("--json", "json_file", required=True, type=click.Path(path_type=Path))
def main(
    bundle: Path,
    data: Path,
    batches: str,
    images: int,
    plan: str | None,
    provider: str,
    threads: int | None,
    json_file: Path,
) -> None:
    """Time batch sizes of BUNDLE's detector on DATA, and watch its memory."""
    try:
        sizes = tuple(sorted({int(part) for part in batches.split(",")}))
    except ValueError as error:
        raise OptionError(f"--batches {batches}: give whole numbers with commas, such as 1,4") from error
    if sizes[0] < 1:
        raise OptionError(f"--batches {batches}: each must be 1 or more")
    detector = Detector.load(bundle, provider=provider, plan=plan, threads=threads)
    names = shared_categories(None, category_names(data), detector.categories, data, bundle)
    dataset = load_dataset(data, names, need_test=True)
    each = [[(read_image(sample.path), name) for sample in dataset[name].test[:10]] for name in names]
    items = [item for several in zip(*each) for item in several]
    rates = throughput(detector, items, sizes)
    best = max(sizes, key=lambda size: statistics.median(rates[size]))
    marks = endure(detector, items, best, images)
    result: dict[str, Any] = {
        "bundle": str(bundle), "plan": detector.plan_name, "provider": detector.provider,
        "precision": detector.precision, "threads": threads,
        "machine": f"{this_processor()[0]}, {os.cpu_count()} cores",
        "date": datetime.now(timezone.utc).date().isoformat(), "images_per_second": rates, "best_batch": best,
        "resident": marks,
    }  # fmt: skip
    write_json(json_file, result)
    for size, found in rates.items():
        click.echo(f"batch {size}: {statistics.median(found):.2f} images/s ({min(found):.2f} to {max(found):.2f})")
    for done, size in marks:
        click.echo(f"after {done} images: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    run(main)
