"""Inspecting files: which pictures, which category, and the records and pictures that are left behind."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import InputError, OptionError
from edge_ad.files import atomic_path
from edge_ad.heatmap import overlay
from edge_ad.images import SUFFIXES, list_images, read_image, write_image
from edge_ad.regions import Region

#: Columns of results.csv.
COLUMNS = (
    "image",
    "category",
    "verdict",
    "score",
    "threshold",
    "normalised",
    "regions",
    "defect",
    "defect_probability",
    "seconds",
    "stage",
    "heatmap",
    "inpainted",
    "error",
)
#: Folders of the pictures among the results.
HEATMAPS, INPAINTED = "heatmaps", "inpainted"

Verdict = Literal["good", "bad", "undecided"]


class InspectionLike(Protocol):
    """What is read of an inspection; `edge_ad.runtime.Inspection` is one."""

    @property
    def score(self) -> float:
        """The image's anomaly score, higher is less normal."""

    @property
    def threshold(self) -> float | None:
        """The calibrated limit, None if there is none."""

    @property
    def verdict(self) -> Verdict:
        """The decision by that limit."""

    @property
    def score_map(self) -> NDArray[np.float32]:
        """Evidence a pixel, float32 S,S."""

    @property
    def regions(self) -> Sequence[Region]:
        """Defect regions, in pixels of the original image."""

    @property
    def inpainted(self) -> NDArray[np.uint8] | None:
        """What the part should have looked like, uint8 S,S,3, if asked for."""

    @property
    def times(self) -> dict[str, float]:
        """Seconds by stage."""


def is_finite(found: InspectionLike) -> bool:
    """Whether the score and its map are numbers; a bundle in half precision may overflow."""
    return math.isfinite(found.score) and bool(np.isfinite(found.score_map).all())


class DetectorLike(Protocol):
    """What inspecting and evaluating need of a detector; `edge_ad.runtime.Detector` is one."""

    @property
    def categories(self) -> Sequence[str]:
        """The categories it knows."""

    @property
    def image_size(self) -> int:
        """Side S of its score maps."""

    @property
    def plan_name(self) -> str:
        """The plan it runs."""

    @property
    def provider(self) -> str:
        """What it runs on."""

    def inspect(self, image: NDArray[np.uint8], category: str, *, inpainted: bool = False) -> InspectionLike:
        """Decide on one image, uint8 H,W,3 of any size."""


@dataclass(frozen=True)
class Job:
    """A picture to inspect. name: where its results go, relative and without ending, unlike any other job's."""

    path: Path
    category: str
    name: Path


@dataclass
class Counts:
    """What came out of a run of inspections."""

    good: int = 0
    bad: int = 0
    undecided: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All pictures."""
        return self.good + self.bad + self.undecided + self.failed


def find_jobs(
    inputs: Sequence[Path], categories: Sequence[str], category: str | None, out: Path | None = None
) -> list[Job]:
    """The pictures named by files and folders (searched through), each with its category.

    Args:
        inputs: picture files and folders.
        categories: what the detector knows.
        category: one for all pictures; None infers it from the folders that a picture lies in (see `infer_category`).
        out: where `inspect_files` will write; pictures that it wrote there earlier are not found in folders.

    Returns:
        One job a picture, in the order of the inputs; a picture named twice comes once.

    Raises:
        InputError: an input is missing, or holds no pictures.
        OptionError: the category is unknown, or cannot be inferred.
    """
    if category is not None and category not in categories:
        raise OptionError(f"--category {category}: the bundle has no such category; it has: {', '.join(categories)}")
    jobs: list[Job] = []
    seen: set[Path] = set()
    names: set[Path] = set()
    earlier = [] if out is None else [out.resolve() / name for name in (HEATMAPS, INPAINTED)]
    results = {folder for folder in earlier if folder.is_dir()}
    for given in inputs:
        if given.is_dir():
            paths = list_images(given, recursive=True)
            if results:
                paths = [path for path in paths if not results & {*path.resolve().parents}]
            if not paths:
                raise InputError(f"{given}: no images found ({', '.join(SUFFIXES)})")
        elif given.exists():
            paths = [given]
        else:
            raise InputError(f"{given}: no such file or folder")
        for path in paths:
            real = path.resolve()
            if real in seen:
                continue
            seen.add(real)
            place = path.relative_to(given) if given.is_dir() else Path(path.name)
            name = _unlike(place.with_suffix(""), names)
            names.add(name)
            jobs.append(Job(path, category or infer_category(path, categories), name))
    return jobs


def infer_category(path: Path, categories: Sequence[str]) -> str:
    """The category of a picture by the folders it lies in: the one of `categories` that is a folder's name.

    A detector that knows one category only needs no such folder. A link's own folders count, not those it leads to.

    Raises:
        OptionError: no folder, or folders of several categories, above the picture; it names the choices.
    """
    if len(categories) == 1:
        return categories[0]
    found = sorted(set(Path(os.path.abspath(path)).parts[:-1]) & set(categories))
    if len(found) == 1:
        return found[0]
    why = f"its folders name {' and '.join(found)}" if found else "no folder above it is named like a category"
    raise OptionError(f"{path}: which category? {why}; give --category, one of: {', '.join(categories)}")


def inspect_files(
    detector: DetectorLike,
    jobs: Iterable[Job],
    out: Path,
    *,
    inpainted: bool = False,
    seen: Callable[[Job, dict[str, Any]], None] | None = None,
) -> Counts:
    """Inspect pictures; write results.jsonl, results.csv, heatmaps/ and, if asked for, inpainted/ into `out`.

    A picture that cannot be read, or gets no score that is a number, has a record with its `error`; the others go on.
    The two tables appear when all is done, each picture as soon as it is.

    Args:
        detector: what decides.
        jobs: what to inspect.
        out: a folder, made if missing; files of an earlier run are replaced.
        inpainted: also write what each part should have looked like.
        seen: called with each job and its record.

    Returns:
        How many were good, bad, undecided or failed.
    """
    counts = Counts()
    with ExitStack() as stack:
        lines = stack.enter_context(atomic_path(out / "results.jsonl"))
        table = stack.enter_context(atomic_path(out / "results.csv"))
        lines_file = stack.enter_context(lines.open("w", encoding="utf-8"))
        table_file = stack.enter_context(table.open("w", encoding="utf-8", newline=""))
        writer = csv.DictWriter(table_file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for job, record in _inspect_each(detector, jobs, out, inpainted):
            outcome = "failed" if "error" in record else record["verdict"]
            setattr(counts, outcome, getattr(counts, outcome) + 1)
            lines_file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            writer.writerow(record | {"regions": len(record.get("regions", []))})
            if seen is not None:
                seen(job, record)
    return counts


def _inspect_each(
    detector: DetectorLike, jobs: Iterable[Job], out: Path, inpainted: bool
) -> Iterator[tuple[Job, dict[str, Any]]]:
    for job in jobs:
        record: dict[str, Any] = {"image": str(job.path), "category": job.category}
        try:
            image = read_image(job.path)
        except InputError as error:
            yield job, record | {"error": str(error)}
            continue
        try:
            found = detector.inspect(image, job.category, inpainted=inpainted)
            if not is_finite(found):
                raise ValueError("the score is no number")
        except ValueError as error:
            yield job, record | {"error": f"{job.path}: cannot be decided: {error}; check the bundle: edge-ad verify"}
            continue
        heatmap = Path(HEATMAPS) / job.name.with_name(job.name.name + ".png")
        write_image(out / heatmap, overlay(image, found.score_map, *heat_range(found)))
        record |= {
            "verdict": found.verdict,
            "score": float(found.score),
            "threshold": found.threshold,
            "normalised": getattr(found, "normalised", None),
            "regions": [asdict(region) for region in found.regions],
            "seconds": found.times.get("total", sum(found.times.values())),
            "times": found.times,
            "stage": getattr(found, "stage", "inpainting"),
            "heatmap": heatmap.as_posix(),
        }
        if (score := getattr(found, "segmenter_score", None)) is not None:
            record["segmenter_score"] = score
        if (defect := getattr(found, "defect", None)) is not None:
            record |= {"defect": defect, "defect_probability": getattr(found, "defect_probability", None)}
        if reason := getattr(found, "reason", None):
            record["reason"] = reason
        if found.inpainted is not None:
            picture = Path(INPAINTED) / job.name.with_name(job.name.name + ".png")
            write_image(out / picture, found.inpainted)
            record["inpainted"] = picture.as_posix()
        yield job, record


def heat_range(found: InspectionLike) -> tuple[float, float]:
    """Scores that the colours run between: half and twice the threshold, so that pictures compare with each other.

    Without a threshold there is no common scale: the picture's own median and maximum.
    """
    if found.threshold is not None and found.threshold > 0:
        return found.threshold / 2, found.threshold * 2
    return float(np.median(found.score_map)), float(found.score_map.max())


def _unlike(name: Path, taken: set[Path]) -> Path:
    """`name`, with a number added if it is taken."""
    number = 2
    free = name
    while free in taken:
        free = name.with_name(f"{name.name}-{number}")
        number += 1
    return free
