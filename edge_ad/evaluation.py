"""Measuring a detector on labelled test images, and keeping what a report needs to be drawn from."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_ad import metrics
from edge_ad.dataset import Category, Dataset, Sample
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.files import write_json, write_text
from edge_ad.heatmap import overlay
from edge_ad.images import read_image, read_mask, resize_mask, thumbnail, write_image
from edge_ad.inspection import DetectorLike, Verdict, is_finite
from edge_ad.progress import Step, progress
from edge_ad.version import __version__

#: The metrics of a category, in the order of tables.
METRICS = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "pro")
#: Longer side of the pictures kept for the report, in pixels.
PREVIEW = 160
#: The file in a report folder that holds the evaluation.
STORED = "report.json"
#: Schema of that file.
SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")


class SampleRecord(_Record):
    """One test image: its file (relative to the data set), the truth, the score and the verdict on it.

    previews: file names, relative to the report folder, by kind: image, mask, heatmap, inpainted.
    """

    image: str
    defect: str
    is_bad: bool
    score: float = Field(allow_inf_nan=False)
    verdict: Verdict
    seconds: float
    previews: dict[str, str] = {}

    @property
    def outcome(self) -> Literal["correct", "missed", "false alarm", "undecided"]:
        """How the verdict compares with the truth."""
        if self.verdict == "undecided":
            return "undecided"
        if (self.verdict == "bad") == self.is_bad:
            return "correct"
        return "missed" if self.is_bad else "false alarm"


class CurvePoints(_Record):
    """Points of a drawn curve, each in 0..1."""

    x: list[float]
    y: list[float]


class CategoryResult(_Record):
    """One category's metrics (0..1, None where the data have one class only), decisions and test images.

    threshold: the limit the verdicts use; "calibrated" comes with the bundle, "f1max" is the limit of best F1 on these
    very test images, an upper bound and no promise. None when the test images are all good or all bad.
    """

    metrics: dict[str, float | None]
    threshold: float | None
    threshold_source: Literal["calibrated", "f1max"] | None
    samples: list[SampleRecord]
    curves: dict[str, CurvePoints] = {}

    def decisions(self) -> dict[str, Any]:
        """Counts of good and bad images, false alarms, missed and undecided ones, with the threshold."""
        outcomes = [sample.outcome for sample in self.samples]
        bad = sum(sample.is_bad for sample in self.samples)
        return {
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "good": len(self.samples) - bad,
            "bad": bad,
            "false_alarms": outcomes.count("false alarm"),
            "missed": outcomes.count("missed"),
            "undecided": outcomes.count("undecided"),
        }


class CascadeTimes(_Record):
    """What a cascade spent. decided: share of the images that the prototypes decided. The rest are seconds an image:
    the mean of those, the mean of the others, and the longest, which is the plan's whole way; None where there is none.
    """

    decided: float
    seconds_prototypes: float | None
    seconds_inpainting: float | None
    seconds_worst: float


class Evaluation(_Record):
    """All that was measured. seconds_per_image: mean time of `inspect`, without the first call, which warms up."""

    schema_version: int = SCHEMA
    categories: dict[str, CategoryResult]
    seconds_per_image: float
    settings: dict[str, Any]
    cascade: CascadeTimes | None = None

    def mean(self) -> dict[str, float | None]:
        """Mean of each metric over the categories that have it."""
        return metrics.mean_metrics([category.metrics for category in self.categories.values()])

    def summary(self) -> dict[str, Any]:
        """The JSON of `edge-ad evaluate --json`."""
        found = {
            "categories": {name: category.metrics for name, category in self.categories.items()},
            "mean": self.mean(),
            "seconds_per_image": self.seconds_per_image,
            "decisions": {name: category.decisions() for name, category in self.categories.items()},
            "settings": self.settings,
        }
        return found if self.cascade is None else {**found, "cascade": self.cascade.model_dump()}


@dataclass
class _Seen:
    """A test image after its inspection, small enough to keep hundreds. mask: bool S,S; mask_preview at h,w."""

    sample: Sample
    score: float
    threshold: float | None
    verdict: Verdict
    seconds: float
    score_map: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    preview: NDArray[np.uint8] | None = None
    mask_preview: NDArray[np.bool_] | None = None
    inpainted: NDArray[np.uint8] | None = None
    stage: str = "inpainting"


def evaluate(
    detector: DetectorLike,
    dataset: Dataset,
    *,
    limit: int | None = None,
    folder: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> Evaluation:
    """Inspect the test images of a data set and measure the scores and score maps.

    Masks are compared at the detector's image size, where each mask pixel takes its nearest neighbour's value.

    Args:
        detector: what to measure.
        dataset: loaded with `need_test=True`; the detector must know all its categories.
        limit: test images a category at most, half of them bad where there are enough, evenly spaced; None for all.
        folder: an existing folder to keep previews, `scores.csv` and `report.json` in, for `report.write_report`.
        settings: further entries for the result's settings.

    Returns:
        The evaluation.

    Raises:
        OptionError: the detector lacks a category, or `limit` is below 1.
        InputError: an image or mask cannot be read, or a mask's size differs from its image's.
        BundleError: the detector gave a score that is not a finite number.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"--limit {limit}: at least 1 image a category is needed")
    lacking = [name for name in dataset.names if name not in detector.categories]
    if lacking:
        raise OptionError(f"the bundle has no category {', '.join(lacking)}; it has: {', '.join(detector.categories)}")
    chosen = {category.name: limited(category.test, limit) for category in dataset.categories}
    results: dict[str, CategoryResult] = {}
    seconds: list[float] = []
    stages: list[str] = []
    with progress("Inspecting", sum(map(len, chosen.values()))) as step:
        for number, category in enumerate(dataset.categories):
            seen = [
                _inspect(detector, category.name, sample, folder is not None, step) for sample in chosen[category.name]
            ]
            seconds += [item.seconds for item in seen]
            stages += [item.stage for item in seen]
            results[category.name] = _measure(dataset.path, category, seen, folder, number)
    result = Evaluation(
        categories=results,
        seconds_per_image=float(np.mean(seconds[1:] or seconds)),
        settings={
            "edge_ad": __version__,
            "data": str(dataset.path),
            "plan": detector.plan_name,
            "provider": detector.provider,
            "image_size": detector.image_size,
            "limit": limit,
            "images": len(seconds),
            **(settings or {}),
        },
        cascade=_cascade(stages[1:], seconds[1:]) if getattr(detector, "cascade", False) else None,
    )
    if folder is not None:
        store(result, folder)
    return result


def limited(samples: list[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, half of them bad where there are enough of both, evenly spaced, in their order."""
    if limit is None or limit >= len(samples):
        return samples
    bad = [i for i, sample in enumerate(samples) if sample.is_bad]
    good = [i for i, sample in enumerate(samples) if not sample.is_bad]
    bad_count = min(len(bad), max(limit - len(good), (limit + 1) // 2))
    chosen = _spaced(bad, bad_count) + _spaced(good, limit - bad_count)
    return [samples[i] for i in sorted(chosen)]


def store(result: Evaluation, folder: Path) -> None:
    """Write `report.json`, from which a report can be drawn again, and `scores.csv` for people, into `folder`."""
    write_json(folder / STORED, result.model_dump(mode="json"))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["category", "image", "defect", "is_bad", "score", "threshold", "verdict", "outcome", "seconds"])
    for name, category in result.categories.items():
        for sample in category.samples:
            truth = [sample.image, sample.defect, int(sample.is_bad), f"{sample.score:.6g}"]
            limit = "" if category.threshold is None else f"{category.threshold:.6g}"
            writer.writerow([name, *truth, limit, sample.verdict, sample.outcome, f"{sample.seconds:.4f}"])
    write_text(folder / "scores.csv", table.getvalue())


def load(folder: Path) -> Evaluation:
    """Read what `store` wrote.

    Raises:
        InputError: `folder` is not a report folder, its file is damaged, or was written by a newer edge-ad.
    """
    file = Path(folder) / STORED
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no {STORED} here; give the folder that evaluate --report wrote") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); run evaluate again") from error
    try:
        result = Evaluation.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(f"{file}: damaged at {place} ({first['msg']}); run evaluate again") from error
    if result.schema_version > SCHEMA:
        raise InputError(f"{file}: written by a newer edge-ad (schema {result.schema_version}); update edge-ad")
    return result


def text_table(result: Evaluation) -> str:
    """The metrics as lines of text, in per cent, with the mean last when there are several categories."""
    rows = [(name, category.metrics) for name, category in result.categories.items()]
    if len(rows) > 1:
        rows.append(("mean", result.mean()))
    width = max(len("category"), *(len(name) for name, _ in rows))
    lines = ["  ".join([f"{'category':{width}}", *METRICS])]
    for name, values in rows:
        cells = [f"{percent(values.get(metric)):>{len(metric)}}" for metric in METRICS]
        lines.append("  ".join([f"{name:{width}}", *cells]))
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """0..1 as per cent with one decimal; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def _spaced(items: list[int], count: int) -> list[int]:
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def _inspect(detector: DetectorLike, category: str, sample: Sample, keep_pictures: bool, step: Step) -> _Seen:
    image = read_image(sample.path)
    mask = None if sample.mask is None else read_mask(sample.mask, (image.shape[0], image.shape[1]))
    start = time.perf_counter()
    found = detector.inspect(image, category, inpainted=keep_pictures)
    seconds = time.perf_counter() - start
    score_map = np.asarray(found.score_map, np.float32)
    if not is_finite(found):
        raise BundleError(
            f"{sample.path}: the bundle's score is not a finite number; export it at a higher precision (fp32)"
        )
    size = detector.image_size
    small = None if mask is None else resize_mask(mask, size)
    if small is None and not sample.is_bad:
        small = np.zeros((size, size), np.bool_)
    stage = getattr(found, "stage", "inpainting")
    seen = _Seen(sample, float(found.score), found.threshold, found.verdict, seconds, score_map, small, stage=stage)
    if keep_pictures:
        seen.preview = thumbnail(image, PREVIEW)
        seen.mask_preview = None if mask is None else _fit_mask(mask, seen.preview)
        seen.inpainted = None if found.inpainted is None else _fit(found.inpainted, seen.preview)
    step(note=category)
    return seen


def _cascade(stages: list[str], seconds: list[float]) -> CascadeTimes | None:
    if not stages:
        return None
    by = {stage: [time for one, time in zip(stages, seconds) if one == stage] for stage in ("prototypes", "inpainting")}
    means = {stage: float(np.mean(times)) if times else None for stage, times in by.items()}
    return CascadeTimes(
        decided=len(by["prototypes"]) / len(stages),
        seconds_prototypes=means["prototypes"],
        seconds_inpainting=means["inpainting"],
        seconds_worst=max(seconds),
    )


def _measure(root: Path, category: Category, seen: list[_Seen], folder: Path | None, number: int) -> CategoryResult:
    """Metrics, threshold and records of one category; with a folder, its previews are written there."""
    labels = np.array([item.sample.is_bad for item in seen])
    scores = np.array([item.score for item in seen])
    values = dict.fromkeys(METRICS) | metrics.image_metrics(labels, scores)
    curves = {"image": (metrics.roc_curve(labels, scores), metrics.pr_curve(labels, scores))}
    masks = [item.mask for item in seen if item.mask is not None]
    if len(masks) == len(seen):
        maps = np.stack([item.score_map for item in seen])
        values |= metrics.pixel_metrics(maps, masks)
        curves["pixel"] = metrics.sampled_curves(np.stack(masks), maps) or (None, None)
    threshold, source = _threshold(seen, labels, scores)
    records = [
        SampleRecord(
            image=_relative(item.sample.path, root),
            defect=item.sample.defect,
            is_bad=item.sample.is_bad,
            score=item.score,
            verdict=item.verdict if source == "calibrated" or threshold is None else _decide(item.score, threshold),
            seconds=item.seconds,
        )
        for item in seen
    ]
    if folder is not None:
        _write_previews(seen, records, folder, Path("previews") / f"{number:02}")
    return CategoryResult(
        metrics=values,
        threshold=threshold,
        threshold_source=source,
        samples=records,
        curves={
            f"{level}_{kind}": CurvePoints(x=curve.x.tolist(), y=curve.y.tolist())
            for level, pair in curves.items()
            for kind, curve in zip(("roc", "pr"), pair)
            if curve is not None
        },
    )


def _threshold(
    seen: list[_Seen], labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[float | None, Literal["calibrated", "f1max"] | None]:
    if seen and seen[0].threshold is not None:
        return float(seen[0].threshold), "calibrated"
    best = metrics.f1_max(labels, scores)
    return (None, None) if best is None else (best[1], "f1max")


def _decide(score: float, threshold: float) -> Verdict:
    return "bad" if score >= threshold else "good"


def _write_previews(seen: list[_Seen], records: list[SampleRecord], folder: Path, place: Path) -> None:
    """Small pictures of every test image; the heatmaps of a category share one colour scale."""
    # Half of all pixels stay uncovered; the strongest thousandth is covered most.
    low, high = np.quantile(np.stack([item.score_map[::2, ::2] for item in seen]), [0.5, 0.999])
    for index, (item, record) in enumerate(zip(seen, records)):
        if item.preview is None:
            continue
        pictures: dict[str, NDArray[Any] | None] = {
            "image": item.preview,
            "mask": item.mask_preview,
            "heatmap": overlay(item.preview, item.score_map, float(low), float(high)),
            "inpainted": item.inpainted,
        }
        for kind, picture in pictures.items():
            if picture is not None:
                name = place / f"{index:04}-{kind}.{'png' if kind == 'mask' else 'jpg'}"
                write_image(folder / name, picture, quality=80)
                record.previews[kind] = name.as_posix()


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _fit(picture: NDArray[np.uint8], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`picture` at the size of `like`."""
    return np.asarray(Image.fromarray(picture).resize((like.shape[1], like.shape[0]), Image.Resampling.BICUBIC))


def _fit_mask(mask: NDArray[np.bool_], like: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """`mask` at the size of `like`: a pixel is set where any part of it is, so that small defects stay visible."""
    covered = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    fitted: NDArray[np.bool_] = np.asarray(covered.resize((like.shape[1], like.shape[0]), Image.Resampling.BOX)) > 0
    return fitted
