"""Ranges of activations, from which graphs are quantized: what every layer reads and gives on good pictures.

The bundle's own fp32 graphs are run by a detector, so that every category, mask and timestep of the plan is seen as it
is in use. One picture after the other is counted into histograms that are kept on disk.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Graph, Manifest, Ranges
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.cache import context
from edge_ad.calibration.choose import present, spaced
from edge_ad.calibration.histogram import CLIPS, Histogram, clipped_range
from edge_ad.calibration.material import Item, Material, gather
from edge_ad.calibration.measure import runs_on
from edge_ad.calibration.observe import ObservedSession, observing_graph
from edge_ad.calibration.write import write_back
from edge_ad.dataset import Dataset
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.files import atomic_path
from edge_ad.images import read_image
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.sessions.base import Array, Session, SessionOptions
from edge_ad.runtime.sessions.choose import choose_provider, open_session

OBSERVED = ("encoder", "denoiser", "decoder", "features", "score")
#: Pictures of a category by default.
IMAGES = 8
#: Bytes that the activations of one run may take.
MEMORY = 1 << 29
_SCHEMA = 1

Log = Callable[[str], None]


@dataclass
class Seen:
    """The histograms so far, by graph and tensor, and the pictures in them: category and hash."""

    histograms: dict[str, dict[str, Histogram]]
    done: set[tuple[str, str]]

    def watch(self, graph: str, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count one run of a graph; an `edge_ad.calibration.observe.Watch`."""
        for name, histogram in self.histograms[graph].items():
            histogram.add(outputs[name] if name in outputs else feeds[name])


def ranges_file(plan: str) -> str:
    """Where a bundle keeps the ranges of a plan."""
    return f"calibration/ranges-{plan}.json"


def collect_ranges(
    bundle: Path | Bundle,
    dataset: Dataset,
    work: Path,
    *,
    plan: str | None = None,
    images: int = IMAGES,
    split: str = "all",
    provider: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    log: Log = print,
) -> Ranges:
    """Observe a plan on a data set's good pictures and write the ranges into the bundle, folder or `.tar`.

    Args:
        bundle: with fp32 graphs.
        dataset: its categories must be the bundle's.
        work: a folder for the histograms so far; an interrupted collection goes on from there.
        plan: one of the bundle's, None for its default.
        images: of a category, at most: those that the model was not trained on, or the shots where there are no others.
        split: which folders of the data set count.
        provider: "cuda" runs on the card; everything else on ONNX Runtime's CPU, whose intermediate values can be had.
        seed: of the noise.
        threads: CPU threads.
        log: is told what was done.

    Returns:
        The manifest's entry. The bundle holds it already.

    Raises:
        OptionError: the graphs are not fp32, or the onnx package is missing.
        InputError: a category without a good picture, or one that cannot be read.
        BundleError: an activation is not finite, or the bundle was changed meanwhile.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    name, chosen = opened.plan(plan)
    check_graphs(opened)
    pictures = [(material.category, item, role) for material in _materials(opened, dataset, split)
                for item, role in _items(material, images)]  # fmt: skip
    kind = "cuda" if choose_provider(provider) == "cuda" else "cpu"
    with tempfile.TemporaryDirectory(prefix="edge-ad-ranges-") as scratch:
        seen, sessions = _observed(opened, Path(scratch), kind, SessionOptions(threads=threads))
        place = _context(opened.manifest, dataset.names, name, seed, kind)  # the sessions' library is there now
        state = work / f"ranges-{name}.npz"
        _restore(state, place, seen, {(category, item.hash) for category, item, _ in pictures})
        detector = Detector(opened, name, chosen, sessions, seed=seed, memory=1 << 30)
        with progress("Activation ranges", len(pictures)) as step:
            for category, item, _ in pictures:
                if (category, item.hash) not in seen.done:
                    try:
                        detector.inspect(read_image(item.path), category)
                    except ValueError as error:
                        raise BundleError(f"{item.path}: {error} in {opened.source}; export it again") from error
                    seen.done.add((category, item.hash))
                    _keep(state, place, seen)
                step(note=category)
    entry, content = _written(opened, name, seed, kind, seen, pictures)
    manifest = opened.manifest.model_copy(deep=True)
    manifest.ranges = {**manifest.ranges, name: entry}
    write_back(opened, manifest, {entry.file: content}, {})
    tensors = sum(map(len, seen.histograms.values()))
    log(f"ranges of {tensors} activations from {len(pictures)} pictures under plan {name}")
    if missing := [category for category in opened.manifest.categories if category not in entry.categories]:
        log(f"not of {', '.join(missing)}: int8 and fp8 need ranges of all the bundle's categories, taken at once")
    return entry


def check_graphs(bundle: Bundle) -> None:
    """OptionError where ranges cannot be taken of a bundle: its graphs are not fp32, or the onnx package is missing."""
    for graph in OBSERVED:
        if bundle.graph(graph).precision != "fp32":
            raise OptionError(
                f'--ranges: the graph {graph} of "{bundle.source}" is {bundle.graph(graph).precision}; ranges are '
                "taken from fp32 graphs, so give the bundle that it was made of"
            )
    if importlib.util.find_spec("onnx") is None:
        raise OptionError('--ranges needs the onnx package: pip install "edge-ad[export]"')


def schedule_digest(manifest: Manifest, category: str, plan: str) -> str:
    """A digest of the schedule that a category runs a plan with, on which its activations depend."""
    text = json.dumps(present(manifest, category, plan)[0].model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_ranges(bundle: Bundle, log: Log) -> None:
    """BundleError where a plan's ranges are not of all categories, or of another schedule than one has now.

    Ranges of a version that did not say pass; `log` is told.
    """
    manifest = bundle.manifest
    for plan, entry in manifest.ranges.items():
        if plan not in manifest.plans:
            continue
        if not entry.categories:
            log(f"the ranges of plan {plan} do not say of which categories and schedules they are; taken as of all")
            continue
        mend = f'run edge-ad calibrate "{bundle.source}" DATA --ranges-only --plan {plan} on pictures of all categories'
        if missing := [name for name in manifest.categories if name not in entry.categories]:
            raise BundleError(
                f'the activation ranges of plan {plan} in "{bundle.source}" are not of {", ".join(missing)}; {mend}'
            )
        now = {name: schedule_digest(manifest, name, plan) for name in manifest.categories}
        if changed := [name for name, digest in now.items() if entry.categories[name] != digest]:
            raise BundleError(
                f'"{bundle.source}": noise strength or steps of {", ".join(changed)} changed since the activation '
                f"ranges of plan {plan} were taken; {mend}"
            )


def bundle_ranges(bundle: Bundle, graph: str, clip: str) -> dict[str, tuple[float, float]]:
    """(lowest, highest) of a graph's activations by tensor, the widest over the plans that have ranges.

    clip: one of `edge_ad.calibration.histogram.CLIPS`. BundleError where there are none, or they are of another graph.
    """
    manifest = bundle.manifest
    if not manifest.ranges:
        raise BundleError(
            f'"{bundle.source}" has no activation ranges; run edge-ad calibrate "{bundle.source}" DATA --ranges'
        )
    found: dict[str, tuple[float, float]] = {}
    for entry in manifest.ranges.values():
        if entry.graphs.get(graph) != _digest(manifest, manifest.graphs[graph]):
            raise BundleError(
                f'the activation ranges in "{bundle.source}" are of another graph {graph}; run edge-ad calibrate '
                "with --ranges again"
            )
        content = json.loads(bundle.file(entry.file).read_text(encoding="utf-8"))
        for tensor, row in content["graphs"][graph].items():
            low, high = row[clip]
            before = found.get(tensor, (low, high))
            found[tensor] = (min(low, before[0]), max(high, before[1]))
    return found


def _materials(bundle: Bundle, dataset: Dataset, split: str) -> list[Material]:
    found = [gather(bundle, dataset[name], split) for name in dataset.names]
    for material in found:
        if not material.held_out and not material.shots:
            raise InputError(f"{material.category}: no good image to take ranges from in train/good or test/good")
    return found


def _items(material: Material, images: int) -> list[tuple[Item, str]]:
    if material.held_out:
        return [(item, "good") for item in spaced(material.held_out, images)]
    return [(item, "shot") for item in spaced(material.shots, images)]


def _observed(bundle: Bundle, folder: Path, provider: str, options: SessionOptions) -> tuple[Seen, dict[str, Session]]:
    """Sessions of all graphs, those of `OBSERVED` counted, and the empty histograms they count into."""
    seen, sessions = Seen({}, set()), {}
    for name, graph in bundle.manifest.graphs.items():
        if name not in OBSERVED:
            sessions[name] = open_session(name, bundle.file(graph.file), graph, provider, options)
            continue
        path, widened, tensors = observing_graph(bundle, name, folder)
        inner = open_session(name, path, widened, provider, options)
        seen.histograms[name] = {tensor: Histogram.empty() for tensor in tensors}
        sessions[name] = ObservedSession(name, inner, graph, seen.watch, _rows(graph))
    return seen, sessions


def _rows(graph: Graph) -> int | None:
    """Rows of a batch whose activations fit `MEMORY`; None where the bundle does not say what a row takes."""
    if graph.cost is None:
        return None
    row = max((value for axis, value in graph.cost.traffic.items() if axis), default=0)
    return max(MEMORY // row, 1) if row else None


def _digest(manifest: Manifest, graph: Graph) -> str:
    """One digest of a graph's file and of its data."""
    files = [manifest.files[file] for file in graph.paths]
    return files[0] if len(files) == 1 else hashlib.sha256("".join(files).encode()).hexdigest()


def _context(manifest: Manifest, names: Sequence[str], plan: str, seed: int, provider: str) -> str:
    """A digest of what the activations of a picture depend on beside the picture. Once sessions are open."""
    rest = {"seed": seed, "provider": provider, "runs_on": runs_on(provider)}
    parts = [context(manifest, name, plan, **rest) for name in sorted(names)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _keep(path: Path, place: str, seen: Seen) -> None:
    about = {"schema": _SCHEMA, "context": place, "done": sorted(seen.done)}
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    for graph, tensors in seen.histograms.items():
        arrays[f"{graph}.limits"] = np.array([(h.low, h.high, h.exponent) for h in tensors.values()], np.float64)
        arrays[f"{graph}.counts"] = np.array([h.counts for h in tensors.values()], np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _restore(path: Path, place: str, seen: Seen, wanted: set[tuple[str, str]]) -> None:
    """Go on from the histograms in a file, if they are of the same bundle and plan and of wanted pictures only."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays["about"]))
        done = {(category, digest) for category, digest in about["done"]}
        if (about["schema"], about["context"]) != (_SCHEMA, place) or not done <= wanted:
            return
        found: dict[str, dict[str, Histogram]] = {}
        for graph, tensors in seen.histograms.items():
            limits, counts = arrays[f"{graph}.limits"], arrays[f"{graph}.counts"]
            if len(limits) != len(tensors):
                return
            found[graph] = {
                name: Histogram(float(low), float(high), int(exponent), row.copy())
                for name, (low, high, exponent), row in zip(tensors, limits, counts)
            }
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return  # not there, or cut off: begun anew
    for graph, restored in found.items():
        seen.histograms[graph].update(restored)
    seen.done.update(done)


def _written(
    bundle: Bundle, plan: str, seed: int, provider: str, seen: Seen, pictures: Sequence[tuple[str, Item, str]]
) -> tuple[Ranges, dict[str, Any]]:
    """The manifest's entry and the file's content."""
    graphs = {name: _digest(bundle.manifest, bundle.graph(name)) for name in OBSERVED}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    tensors = {
        graph: {
            name: {clip: list(clipped_range(histogram, clip)) for clip in CLIPS}
            for name, histogram in histograms.items()
        }
        for graph, histograms in seen.histograms.items()
    }
    content = {
        "plan": plan,
        "seed": seed,
        "provider": provider,
        "created": created,
        "pictures": [
            {"category": category, "sha256": item.hash, "file": item.path.name, "role": role}
            for category, item, role in pictures
        ],
        "graphs": tensors,
    }
    categories = {category: schedule_digest(bundle.manifest, category, plan) for category, _, _ in pictures}
    entry = Ranges(file=ranges_file(plan), created=created, images=len(pictures), graphs=graphs, categories=categories)
    return entry, content
