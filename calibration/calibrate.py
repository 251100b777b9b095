"""Calibrating a bundle: λ and fusion, threshold, regions, drift; category by category, and all of it resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Calibration, CascadeLimits, Manifest, Monitor
from edge_ad.calibration import choose as choosing
from edge_ad.calibration.cache import Cache, context
from edge_ad.calibration.cascade import cascade_limits, check_cascade
from edge_ad.calibration.conformal import conformal_threshold, needed, resplit_rates, shortage
from edge_ad.calibration.drift import LEAST, calibrated_model, fit_model, good_streams
from edge_ad.calibration.estimate import fitted_threshold
from edge_ad.calibration.material import Item, Material, gather
from edge_ad.calibration.measure import Measured, measure, measure_picture, restored, settings_of
from edge_ad.calibration.operating import cost_threshold, f1_threshold
from edge_ad.calibration.vary import DRIFTS, as_good
from edge_ad.calibration.write import calibration_files, settled, write_back
from edge_ad.dataset import Dataset
from edge_ad.errors import InputError, OptionError
from edge_ad.images import read_image
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.monitor import DriftModel, statistics

Floats = NDArray[np.float32]
Log = Callable[[str], None]

#: Held-out images from which an estimate is made without the shots.
ENOUGH = 8
#: Variations of a shot that go into an estimate, beside the shot itself.
VARIATIONS = 4
#: Rates shown in the coverage chart.
RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
#: Pictures on which the changes that should alarm are tried.
CHANGED = 16
CACHE = "measured.jsonl"


@dataclass(frozen=True)
class Settings:
    """What to calibrate for.

    rule: "conformal" promises `false_reject` where there are enough images, and otherwise estimates; "f1" and "cost"
    choose on labelled defects. cost_ratio: an escape in false rejects. defect_rate: share of bad parts on the line,
    None: that of the images. pixel: threshold of regions, None: calibrated as the other. min_area: in pixels of the
    original picture. strengths, alphas: what to try; empty keeps the present, None is the usual list, and nothing is
    tried where an earlier calibration has chosen. rate, horizon, window: of drift, see `edge_ad.bundle.Monitor`.
    cascade: share of defects that the prototype error alone may pass; None sets no limits for it.
    """

    rule: Literal["conformal", "f1", "cost"] = "conformal"
    false_reject: float = 0.01
    require_promise: bool = False
    cost_ratio: float = 10.0
    defect_rate: float | None = None
    pixel: float | None = None
    min_area: float = 1.0
    mm_per_pixel: float | None = None
    strengths: tuple[float, ...] | None = None
    alphas: tuple[float, ...] | None = None
    split: str = "all"
    window: int = 16
    rate: float = 0.05
    horizon: int = 200
    cascade: float | None = None


@dataclass(frozen=True)
class Change:
    """A change of camera or light tried on good pictures: share of windows that alarm, and median statistic / limit."""

    name: str
    alarms: float
    strength: float


@dataclass
class Outcome:
    """What came out for one category. sentence: why nothing is promised. coverage: float64 splits,len(RATES)."""

    category: str
    threshold: float
    entry: Calibration
    sentence: str | None
    good: list[float]
    bad: list[float]
    good_levels: list[float]
    from_shots: bool
    left_out: int
    repeated: int
    measured: tuple[float, float] | None = None
    coverage: NDArray[np.float64] | None = None
    found: choosing.Found | None = None
    model: DriftModel | None = None
    streams: NDArray[np.float64] | None = None
    changes: list[Change] = field(default_factory=list)
    no_monitor: str | None = None
    cascade: CascadeLimits | str | None = None

    def line(self) -> str:
        """One line for a person."""
        return self._threshold_line() + self._cascade_line()

    def _cascade_line(self) -> str:
        found = self.cascade
        if found is None:
            return ""
        if isinstance(found, str):
            return f"; no cascade: {found}"
        return (
            f"; cascade: prototypes decide below {found.lower:.4g} and from {found.upper:.4g} on, which is "
            f"{100 * found.decided:.0f} % of the good images; at most {100 * found.miss_rate:.2g} % of synthetic "
            f"defects like the {found.defects} used are passed by them"
        )

    def _threshold_line(self) -> str:
        entry = self.entry
        head = f"{self.category}: threshold {self.threshold:.4g}"
        if entry.rule == "conformal":
            assert entry.promised is not None  # the rule's promise
            return (
                f"{head}, promised: at most {100 * entry.promised:.3g} % of good parts are rejected "
                f"({entry.images} images)"
            )
        if entry.rule == "estimate":
            source = f"{entry.shots} training images and variations" if entry.shots else f"{entry.images} images"
            return f"{head}, an ESTIMATE from {source} and no promise: {self.sentence}"
        assert self.measured is not None  # rules f1 and cost
        rejects, escapes = self.measured
        name = "best F1" if entry.rule == "f1" else "lowest cost"
        return (
            f"{head}, {name} on {entry.images} good and {entry.defects} bad images: {100 * rejects:.3g} % false "
            f"rejects and {100 * escapes:.3g} % escapes on these very images"
        )


@dataclass(frozen=True)
class Result:
    """All outcomes, and what they were made with."""

    outcomes: list[Outcome]
    about: dict[str, Any]


def calibrate(
    detector: Detector,
    dataset: Dataset,
    settings: Settings,
    work: Path,
    *,
    pairs: Dataset | None = None,
    log: Log = print,
) -> Result:
    """Calibrate the categories of a data set for a detector's plan and precision, and write the bundle back.

    Args:
        detector: loaded from the bundle to calibrate; it knows all the data set's categories.
        dataset: good pictures, and bad ones where the rule needs them.
        settings: what for.
        work: a folder for what was measured; a calibration that was interrupted goes on from there.
        pairs: synthetic defects with masks, to choose λ and fusion with; None pastes some.
        log: is told each category's outcome.

    Returns:
        What came out; the bundle holds it already.

    Raises:
        OptionError: settings that cannot be.
        InputError: too few pictures, or one that cannot be read.
        BundleError: the bundle lacks what is needed, or was changed meanwhile.
    """
    _check(settings)
    bundle, plan = detector.bundle, detector.plan_name
    if settings.cascade is not None:
        check_cascade(bundle, plan, dataset.names, settings.cascade)
    materials = {name: gather(bundle, dataset[name], settings.split) for name in dataset.names}
    for material in materials.values():
        _check_material(material, settings)
    cache = Cache(work / CACHE)
    manifest, outcomes = bundle.manifest, []
    evidence: dict[str, Any] = {}
    models: dict[str, DriftModel] = {}
    for name, material in materials.items():
        outcome, manifest, record = _category(detector, manifest, material, settings, pairs, cache)
        json_file, model_file = calibration_files(name, plan, detector.precision)
        outcome.entry.evidence = json_file
        if outcome.model is not None:
            models[model_file] = outcome.model
            outcome.entry.monitor = Monitor(
                file=model_file,
                window=outcome.model.window,
                clip=outcome.model.clip,
                limit=outcome.model.limit,
                rate=settings.rate,
                horizon=settings.horizon,
                images=len(outcome.good),
            )
        evidence[json_file] = record
        manifest = settled(bundle.manifest, manifest, name, plan, detector.precision, outcome.threshold, outcome.entry)
        outcomes.append(outcome)
        log(outcome.line())
    write_back(bundle, manifest, evidence, models)
    about = {
        "bundle": str(bundle.source),
        "data": str(dataset.path),
        "plan": plan,
        **settings_of(detector),
        "rule": settings.rule,
        "false_reject": settings.false_reject,
        "min_area": settings.min_area,
        "split": settings.split,
    }
    return Result(outcomes, about)


def _check(settings: Settings) -> None:
    if not 0 < settings.false_reject < 1:
        raise OptionError(
            f"--false-reject {settings.false_reject:g}: give a rate between 0 and 1, such as 0.01 for 1 %"
        )
    if not settings.min_area > 0 or (settings.mm_per_pixel is not None and not settings.mm_per_pixel > 0):
        raise OptionError("--min-area and --mm-per-pixel must be above 0")
    if not settings.cost_ratio > 0:
        raise OptionError(f"--cost-ratio {settings.cost_ratio:g}: must be above 0")
    if settings.defect_rate is not None and not 0 < settings.defect_rate < 1:
        raise OptionError(f"--defect-rate {settings.defect_rate:g}: must lie between 0 and 1")


def _check_material(material: Material, settings: Settings) -> None:
    """Refuse before any work what cannot come out."""
    name, held_out = material.category, len(material.held_out)
    if settings.rule != "conformal" and not (material.bad and material.held_out):
        raise InputError(
            f"{name}: --rule {settings.rule} needs good images that were not trained on and labelled bad ones; DATA "
            f"has {held_out} and {len(material.bad)} of them: put them into test/good and test/<name of the defect>"
        )
    if settings.require_promise and settings.rule == "conformal" and held_out < needed(settings.false_reject):
        raise InputError(f"{name}: {shortage(settings.false_reject, held_out)} (--require-promise)")
    if held_out < 2 and not material.shots:
        raise InputError(
            f"{name}: {held_out} good images that were not trained on, and none of the training either; put more good "
            "images into train/good or test/good"
        )


def _category(
    detector: Detector,
    manifest: Manifest,
    material: Material,
    settings: Settings,
    pairs: Dataset | None,
    cache: Cache,
) -> tuple[Outcome, Manifest, dict[str, Any]]:
    name = material.category
    found, manifest, taken = _chosen(detector, manifest, material, settings, pairs, cache)
    ready = detector.variant(manifest)
    held_out = [item for item in material.held_out if item.hash not in taken]
    with progress(f"Scoring {name}", len(held_out) + len(material.bad)) as step:
        good = measure(ready, name, held_out, settings.min_area, cache, step)
        bad = measure(ready, name, material.bad, settings.min_area, cache, step)
    limits = _limits(ready, material, good, bad, settings, cache)
    everything = [one.score for one in good] or [one.score for shot in limits.varied for one in shot]
    levels = [one.area_level for one in good] or [one.area_level for shot in limits.varied for one in shot]
    entry = Calibration(
        rule=limits.rule,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        target=settings.false_reject,
        promised=limits.promised,
        seed=detector.seed,
        provider=detector.provider,
        images=len(good),
        defects=len(bad) if limits.measured else 0,
        shots=len(limits.varied),
        middle=float(np.median(everything)),
        pixel_threshold=limits.pixel,
        pixel_promised=limits.pixel_promised,
        min_area=settings.min_area,
        mm_per_pixel=settings.mm_per_pixel,
        scores=[float(value) for value in np.quantile(everything, np.linspace(0, 1, 101))],
        chosen=_choice_record(found, detector, manifest, name, settings, pairs),
    )
    outcome = Outcome(
        category=name,
        threshold=limits.threshold,
        entry=entry,
        sentence=limits.sentence,
        good=everything,
        bad=[one.score for one in bad],
        good_levels=levels,
        from_shots=not good,
        left_out=len(material.shots) + len(taken),
        repeated=len(material.repeated),
        measured=limits.measured,
        coverage=resplit_rates(everything, RATES) if len(good) >= 2 * needed(max(RATES)) else None,
        found=found,
    )
    _watch(outcome, ready, held_out, good, settings, cache)
    if settings.cascade is not None:
        outcome.cascade = cascade_limits(ready, material, limits.threshold, settings.cascade, cache)
        entry.cascade = None if isinstance(outcome.cascade, str) else outcome.cascade
    return outcome, manifest, _evidence(material, taken, held_out, good, bad, entry, detector)


@dataclass(frozen=True)
class _Limits:
    """Thresholds of a category and where they come from. varied: scores of the shots, if an estimate needed them."""

    rule: Literal["conformal", "estimate", "f1", "cost"]
    threshold: float
    promised: float | None
    pixel: float
    pixel_promised: float | None
    sentence: str | None
    measured: tuple[float, float] | None
    varied: list[list[Measured]]


def _limits(
    detector: Detector,
    material: Material,
    good: Sequence[Measured],
    bad: Sequence[Measured],
    settings: Settings,
    cache: Cache,
) -> _Limits:
    """The thresholds by the rule that was asked for, or an estimate."""
    name, rate = material.category, settings.false_reject
    scores, levels = [one.score for one in good], [one.area_level for one in good]
    promise, pixel_promise = conformal_threshold(scores, rate), conformal_threshold(levels, rate)
    sentence = None if promise is not None or settings.rule != "conformal" else shortage(rate, len(scores))
    if sentence is not None and settings.require_promise:
        raise InputError(f"{name}: {sentence} (--require-promise; images that λ was chosen with do not count)")
    few = promise is None and len(good) < ENOUGH
    varied = _from_shots(detector, material, settings.min_area, cache) if few else []
    rule: Literal["conformal", "estimate", "f1", "cost"] = settings.rule
    measured, promised = None, None
    if settings.rule == "conformal" and promise is not None:
        threshold, promised = promise.threshold, promise.rate
    elif settings.rule == "conformal":
        groups = [*([score] for score in scores), *([one.score for one in shot] for shot in varied)]
        rule, threshold = "estimate", fitted_threshold(groups, rate)
    else:
        worse = [one.score for one in bad]
        choice = (
            f1_threshold(scores, worse)
            if settings.rule == "f1"
            else cost_threshold(scores, worse, settings.cost_ratio, settings.defect_rate)
        )
        threshold, measured = choice.threshold, (choice.false_rejects, choice.escapes)
    pixel_promised = None
    if settings.pixel is not None:
        pixel = settings.pixel
    elif pixel_promise is not None:
        pixel, pixel_promised = pixel_promise.threshold, pixel_promise.rate
    else:
        groups = [*([level] for level in levels), *([one.area_level for one in shot] for shot in varied)]
        pixel = fitted_threshold(groups, rate)
    return _Limits(rule, threshold, promised, pixel, pixel_promised, sentence, measured, varied)


def _chosen(
    detector: Detector,
    manifest: Manifest,
    material: Material,
    settings: Settings,
    pairs: Dataset | None,
    cache: Cache,
) -> tuple[choosing.Found | None, Manifest, set[str]]:
    """Choose λ and fusion where that is asked for: what was found, the manifest with it, held-out pictures used up."""
    name, plan = material.category, detector.plan_name
    entry = manifest.categories[name]
    earlier = any(one.chosen.get("lambda") for one in entry.calibrations.get(plan, {}).values())
    strengths = () if settings.strengths is None and earlier else settings.strengths
    alphas = () if settings.alphas is None and earlier else settings.alphas
    # one value each is set by hand, nothing is tried
    if strengths is not None and len(strengths) <= 1 and alphas is not None and len(alphas) <= 1:
        return None, _by_hand(detector, manifest, name, strengths, alphas), set()
    manifest = _by_hand(
        detector,
        manifest,
        name,
        strengths if strengths is not None and len(strengths) == 1 else (),
        alphas if alphas is not None and len(alphas) == 1 else (),
    )
    weights = choosing.present(manifest, name, plan)[1]
    pictures, taken = choosing.sources(material, entry.shots or ())
    if not pictures:
        raise InputError(
            f"{name}: too few images to choose noise strength and fusion with; add the training images or more good "
            "ones to DATA, or give --lambda keep --fusion keep"
        )
    tried = choosing.STRENGTHS if strengths is None else strengths if len(strengths) > 1 else None
    grid = None
    if alphas is None:
        grid = choosing.weight_grid(weights, entry.prototypes is not None)
    elif len(alphas) > 1:
        grid = [weights.model_copy(update={"alpha": alpha}) for alpha in alphas]
    synthetic = choosing.pairs_of(pairs[name].test) if pairs is not None and name in pairs.names else []
    trials = choosing.trials(pictures, synthetic, detector.image_size)
    found = choosing.choose(detector.variant(manifest), name, trials, tried, grid, cache)
    return found, _by_hand(detector, manifest, name, (found.strength,), (), found), taken


def _by_hand(
    detector: Detector,
    manifest: Manifest,
    name: str,
    strengths: Sequence[float],
    alphas: Sequence[float],
    found: choosing.Found | None = None,
) -> Manifest:
    """A copy of the manifest with a category's noise strength and weights set."""
    plan = detector.plan_name
    copy = manifest.model_copy(deep=True)
    if strengths:
        schedule = choosing.schedule_of(detector, manifest, name, strengths[0])
        copy = choosing.with_schedule(copy, name, plan, schedule)
    weights = choosing.present(copy, name, plan)[1]
    wanted = weights
    if alphas:
        wanted = weights.model_copy(update={"alpha": alphas[0]})
    if found is not None:
        wanted = found.fusion
    if wanted != weights:
        copy.categories[name].weights[plan] = wanted
    return copy


def _choice_record(
    found: choosing.Found | None,
    detector: Detector,
    manifest: Manifest,
    name: str,
    settings: Settings,
    pairs: Dataset | None,
) -> dict[str, Any]:
    """How λ and fusion were found; the earlier record when they stay as an earlier calibration chose them."""
    if found is not None:
        synthetic = pairs is not None and name in pairs.names
        return {**found.record(), "by": "synthetic pairs" if synthetic else "pasted defects"}
    if settings.strengths or settings.alphas:
        schedule, weights = choosing.present(manifest, name, detector.plan_name)
        return {"lambda": schedule.noise_strength, "weights": weights.model_dump(mode="json"), "by": "hand"}
    for one in detector.bundle.category(name).calibrations.get(detector.plan_name, {}).values():
        same = choosing.present(manifest, name, detector.plan_name) == choosing.present(
            detector.bundle.manifest, name, detector.plan_name
        )
        if one.chosen and same:
            return one.chosen
    return {}


def _from_shots(detector: Detector, material: Material, min_area: float, cache: Cache) -> list[list[Measured]]:
    """Every shot and some variations of it, scored without the shot's own prototypes where others are left."""
    shots = list(detector.bundle.category(material.category).shots or ())
    place = context(
        detector.bundle.manifest, material.category, detector.plan_name, min_area=min_area, **settings_of(detector)
    )
    groups = []
    with progress(f"Scoring {material.category}'s shots", len(material.shots) * (1 + VARIATIONS)) as step:
        for item in material.shots:
            leave = shots.index(item.hash) if len(shots) > 1 else None
            ready = choosing.leaving_out(detector, material.category, leave)
            image, group = read_image(item.path), []
            for number in range(1 + VARIATIONS):
                picture = as_good(image, np.random.default_rng([shots.index(item.hash), number])) if number else image
                key = f"shot {place} {item.hash} {leave} {number}"

                def compute(d: Detector = ready, p: Any = picture, path: Path = item.path) -> dict[str, Any]:
                    return measure_picture(d, material.category, p, min_area, str(path))

                group.append(restored(cache.get(key, compute)))
                step(note=material.category)
            groups.append(group)
    return groups


def _watch(
    outcome: Outcome,
    detector: Detector,
    items: Sequence[Item],
    good: Sequence[Measured],
    settings: Settings,
    cache: Cache,
) -> None:
    """Fit the drift model, and try on it what should alarm."""
    pooled = [one.pooled for one in good if one.pooled is not None]
    if len(pooled) < len(good):
        outcome.no_monitor = "the category has no prototypes, so its features are not computed"
        return
    features = np.stack(pooled) if pooled else np.empty((0, 1), np.float32)
    streams = good_streams(features, settings.window, settings.horizon) if len(features) >= LEAST else None
    model = calibrated_model(features, window=settings.window, rate=settings.rate, streams=streams)
    if model is None:
        outcome.no_monitor = f"{len(good)} good images that were not trained on are too few to tell drift from"
        return
    outcome.model, outcome.streams = model, streams
    outcome.changes = _changes(outcome.category, detector, items, features, model, cache)


def _changes(
    category: str, detector: Detector, items: Sequence[Item], features: Floats, model: DriftModel, cache: Cache
) -> list[Change]:
    """Changes of camera and light on pictures that the model of a random half was not made from."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(items))
    first, second = order[: len(order) // 2], order[len(order) // 2 :][:CHANGED]
    half = fit_model(features[first], model.window)
    place = context(detector.bundle.manifest, category, detector.plan_name, **settings_of(detector))

    def row(name: str, pooled: Floats) -> Change:
        whitened = half.whitened(pooled)
        windows = [whitened[rng.integers(len(whitened), size=model.window)] for _ in range(50)]
        values = np.array([statistics(window, model.window)[-1] for window in windows])
        return Change(name, float((values > model.limit).mean()), float(np.median(values)) / model.limit)

    rows = [row("nothing changed", features[second])]
    with progress(f"Changing {category}", len(DRIFTS) * len(second)) as step:
        for name, change in DRIFTS.items():
            pooled = []
            for i in second:
                item = items[i]

                def compute(path: Path = item.path, make: Callable[[Any], Any] = change) -> list[float]:
                    return [float(f"{value:.7g}") for value in detector.pooled(make(read_image(path)))]

                pooled.append(cache.get(f"change {place} {item.hash} {name}", compute))
                step(note=name)
            rows.append(row(name, np.array(pooled, np.float32)))
    return rows


def _evidence(
    material: Material,
    taken: set[str],
    held_out: Sequence[Item],
    good: Sequence[Measured],
    bad: Sequence[Measured],
    entry: Calibration,
    detector: Detector,
) -> dict[str, Any]:
    """What the threshold was computed from, picture by picture, as plain data."""

    def rows(role: str, items: Sequence[Item], measured: Sequence[Measured]) -> list[Mapping[str, Any]]:
        return [
            {"sha256": item.hash, "file": item.path.name, "role": role, "score": one.score, "level": one.area_level}
            for item, one in zip(items, measured)
        ]

    chosen = [item for item in material.held_out if item.hash in taken]
    return {
        "category": material.category,
        "plan": detector.plan_name,
        **settings_of(detector),
        "created": entry.created,
        "rule": entry.rule,
        "target": entry.target,
        "promised": entry.promised,
        "pictures": [
            *rows("good", held_out, good),
            *rows("bad", material.bad, bad),
            *({"sha256": item.hash, "file": item.path.name, "role": "shot"} for item in material.shots),
            *({"sha256": item.hash, "file": item.path.name, "role": "choosing"} for item in chosen),
        ],
    }
