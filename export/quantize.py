"""A bundle with fp32 graphs to one in fp16, int8 or FP8, checked against it. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_ad.bundle import Graph, Manifest, Precision, Quantization
from edge_ad.bundle_files import Bundle, write_manifest
from edge_ad.calibration.cache import Cache
from edge_ad.calibration.layers import Layer, find_layers, kept_by_rule
from edge_ad.calibration.material import Material, gather
from edge_ad.calibration.measure import runs_on
from edge_ad.calibration.ranges import bundle_ranges
from edge_ad.dataset import Dataset
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.export.costs import graph_cost
from edge_ad.export.quantize_check import Agreement, compare_bundles
from edge_ad.export.quantize_half import half_model
from edge_ad.export.quantize_options import (
    QuantizeOptions,
    check_source,
    checked_options,
    compared_plans,
    layout_of,
)
from edge_ad.export.quantize_samples import sample_inputs
from edge_ad.export.quantize_scheme import Range, Scheme
from edge_ad.export.quantize_sensitivity import Choice, SwitchedGraph, choose_layers
from edge_ad.export.quantize_table import layer_table
from edge_ad.export.quantize_write import quantized_model, switched_model
from edge_ad.export.targets import INLINE_LIMIT, refuse_foreign
from edge_ad.files import atomic_folder, link_or_copy, write_text
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.engines.make import make_engines
from edge_ad.runtime.verify import HALF_TOLERANCE, verify_graphs
from edge_ad.version import __version__

Log = Callable[[str], None]


def quantize_bundle(
    source: Path, out: Path, dataset: Dataset | None, options: QuantizeOptions, work: Path, *, log: Log = print
) -> Path:
    """Write the bundle `source`, folder or `.tar`, with graphs of another precision to the folder `out`.

    Args:
        source: with fp32 graphs and, but for fp16, activation ranges.
        out: the new bundle's folder; one that is there is replaced.
        dataset: pictures to measure layers and compare bundles with; None only for fp16.
        options: how.
        work: a folder for what was measured; an interrupted export goes on from there.
        log: is told each step.

    Returns:
        `out`.

    Raises:
        OptionError: options that cannot be combined, before any work.
        BundleError: the source has no ranges or other graphs, or the result is too far from fp32; nothing is written.
        InputError: the data set lacks pictures.
    """
    started = time.perf_counter()
    options, engines = checked_options(options)
    refuse_foreign(out)
    with Bundle.open(source) as bundle:
        check_source(bundle, options, log)
        materials = [] if dataset is None else [gather(bundle, dataset[name]) for name in dataset.names]
        if options.precision != "fp16" and not materials:
            raise OptionError(
                f"--precision {options.precision} is measured on pictures: give --data, the folder that the bundle was "
                "calibrated on"
            )
        for material in materials:
            if not material.held_out and not material.shots:
                raise InputError(f"{material.category}: no good image in train/good or test/good of {dataset.path}")  # type: ignore[union-attr]
        named = {material.category for material in materials}
        if materials and (absent := [name for name in bundle.manifest.categories if name not in named]):
            log(f"not compared with fp32, as --data has no pictures of it: {', '.join(absent)}")
        cache = Cache(work / "quantize.jsonl")
        with atomic_folder(out) as folder:
            manifest = _write_graphs(bundle, folder, materials, options, cache, log)
            manifest = write_manifest(folder, manifest)
            manifest = write_manifest(folder, _verified(folder, manifest, log))
            if materials:
                found = _compared(bundle, folder, materials, options, cache, log)
                manifest.metrics["export"]["quantization"]["check"] = found
                manifest = write_manifest(folder, manifest)
            for wanted in engines:
                manifest.engines.update(make_engines(folder, manifest, wanted, folder / "engines", log=log))
            if engines:
                write_manifest(folder, manifest)
        if table := layer_table(manifest).strip():
            write_text(work / "layers.md", table + "\n")
            log(f"layers: {work / 'layers.md'}")
    log(f"{out}: {options.precision}, verified, in {time.perf_counter() - started:.0f} s")
    return out


def _write_graphs(
    bundle: Bundle, folder: Path, materials: Sequence[Material], options: QuantizeOptions, cache: Cache, log: Log
) -> Manifest:
    """Copy the bundle without engines, with the graphs that are to change made anew; the manifest to be written."""
    import onnx

    manifest = bundle.manifest.model_copy(deep=True)
    manifest.engines = {}
    for entry in manifest.categories.values():
        entry.thresholds = {}  # of other graphs; calibrations stay, as they say how λ and fusion were chosen
    manifest.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    replaced = {file for name in options.graphs for file in bundle.graph(name).paths}
    gone = {file for engine in bundle.manifest.engines.values() for file in engine.files.values()}
    for file in set(bundle.manifest.files) - replaced - gone:
        link_or_copy(bundle.folder / file, folder / file)
    samples = {}
    if options.precision != "fp16":
        pictures = [(m.category, (m.held_out or m.shots)[0]) for m in materials]
        samples = sample_inputs(bundle, options.graphs, pictures, plan=options.plan, threads=options.threads)
    errors: dict[str, dict[str, float]] = {}
    for name in options.graphs:
        started = time.perf_counter()
        model = onnx.load(str(bundle.file(bundle.graph(name).file)))
        layers = find_layers(model)
        choice: Choice | None = None
        alone: dict[str, float] = {}
        left: dict[str, str] = {}
        if options.precision == "fp16":
            made = half_model(_copy(model), model)
        else:
            scheme = Scheme(options.precision, layout_of(options))
            ranges = bundle_ranges(bundle, name, options.clip)
            choice, alone, left = _choose(bundle, name, model, layers, ranges, scheme, samples[name], options, cache)
            if not choice.layers and scheme.layout == "cpu":
                log(f"graph {name}: stays in fp32, as no layer keeps its error below {options.layer_error:g}")
                _take_graph(bundle, name, folder)
                continue
            chosen = [layer for layer in layers if layer.name in set(choice.layers)]
            half = scheme.layout == "tensorrt" and name != "features"
            made = quantized_model(model, chosen, ranges, scheme, half=half)
            if half:
                made = half_model(made, model)
        manifest.graphs[name] = _saved(folder, bundle.graph(name), made, name, options, choice, left)
        errors[name] = alone
        size = sum((folder / f).stat().st_size for f in manifest.graphs[name].paths)
        share = "" if choice is None else f", {len(choice.layers)} of {len(layers)} layers, error {choice.error:.4f}"
        log(f"graph {name}: {size / 1e6:.1f} MB{share}, in {time.perf_counter() - started:.0f} s")
    if not any(manifest.graphs[name].precision == options.precision for name in options.graphs):
        raise BundleError(
            f"no layer could be quantized to {options.precision} with an error below {options.layer_error:g}; nothing "
            "was written: give a larger --layer-error, or use --precision fp16"
        )
    export = dict(manifest.metrics.get("export", {}))
    export["quantization"] = {"clip": options.clip, "layer_error": options.layer_error, "layers": errors}
    manifest.metrics = {"export": export}
    return manifest


def _choose(
    bundle: Bundle,
    name: str,
    model: Any,
    layers: Sequence[Layer],
    ranges: dict[str, Range],
    scheme: Scheme,
    batch: Any,
    options: QuantizeOptions,
    cache: Cache,
) -> tuple[Choice, dict[str, float], dict[str, str]]:
    """The layers to quantize, the error of each alone, and why the others are left."""
    import onnx

    left = kept_by_rule(model, list(layers))
    candidates = [layer for layer in layers if layer.name not in left]
    files = [bundle.manifest.files[f] for f in bundle.graph(name).paths]
    made_of = f"{' '.join(files)} {scheme.kind} {scheme.layout} {options.clip} {sorted(ranges.items())!r}"
    with tempfile.TemporaryDirectory(prefix="edge-ad-layers-") as scratch:
        path = Path(scratch) / "switched.onnx"
        switched = switched_model(model, candidates, ranges, scheme)
        onnx.save(switched, str(path), save_as_external_data=_large(switched))
        del switched
        graph = SwitchedGraph(path, [layer.name for layer in candidates], [batch], options.threads)
        place = _place(made_of, batch)
        alone: dict[str, float] = {}
        with progress(f"Layers of {name}", len(candidates)) as step:
            for layer in candidates:
                alone[layer.name] = cache.get(
                    f"layer {place} {layer.name}",
                    lambda one=layer: min(graph.error([one.name]), 1e9),  # type: ignore[misc]
                )
                step(note=layer.name)
        choice = choose_layers(alone, graph.error, options.layer_error)
    for layer_name in set(alone) - set(choice.layers):
        left[layer_name] = f"error {alone[layer_name]:.4f}"
    return choice, alone, {layer.name: left[layer.name] for layer in layers if layer.name in left}


def _place(made_of: str, batch: Mapping[str, Any]) -> str:
    """A digest of what the error of a layer depends on: graph, edge-ad, library, machine, inputs. Once one was run."""
    ran = f"{__version__} {runs_on('cpu')} {made_of}"
    return f"{_short(ran)} {_short(repr([(key, value.tobytes()) for key, value in sorted(batch.items())]))}"


def _saved(
    folder: Path, before: Graph, model: Any, name: str, options: QuantizeOptions, choice: Choice | None,
    left: dict[str, str],
) -> Graph:  # fmt: skip
    """Write a graph's file, check it, and return its entry."""
    import onnx

    path = folder / before.file
    path.parent.mkdir(parents=True, exist_ok=True)
    data = f"{before.file}.data" if _large(model) else None
    onnx.save(
        model, str(path), save_as_external_data=data is not None, location=None if data is None else Path(data).name
    )
    onnx.checker.check_model(str(path))
    rest: Precision = "fp32" if layout_of(options) == "cpu" or name == "features" else "fp16"
    cost = graph_cost(path)
    if before.cost is not None:  # the scales are no weights of the network
        cost = cost.model_copy(update={"parameters": before.cost.parameters})
    update: dict[str, Any] = {"data": data, "precision": rest, "cost": cost, "tolerance": HALF_TOLERANCE}
    if choice is not None and choice.layers:
        update["precision"] = options.precision
        update["quantization"] = Quantization(
            layout=layout_of(options), rest=rest, layers=tuple(choice.layers), left=left, error=choice.error,
            clip=options.clip,
        )  # fmt: skip
    return before.model_copy(update=update)


def _verified(folder: Path, manifest: Manifest, log: Log) -> Manifest:
    """Run every graph on its stored example. A quantized graph's tolerance is set to twice the error found there.

    BundleError where a graph that is not quantized is off.
    """
    found = {}
    with Bundle.open(folder) as opened:
        for check in verify_graphs(opened):
            graph = manifest.graphs[check.graph]
            if graph.quantization is not None and check.max_error < float("inf"):
                graph.tolerance = max(2 * check.max_error, HALF_TOLERANCE)
            elif not check.passed:
                raise BundleError(
                    f"the graph {check.graph} in {graph.precision} differs from PyTorch by {check.max_error:.2g} "
                    f"(limit {check.tolerance:.2g}); nothing was written"
                )
            log(f"verified {check.graph}: largest error {check.max_error:.1e}, mean {check.mean_error:.1e}")
            found[check.graph] = {"max_error": check.max_error, "mean_error": check.mean_error}
    manifest.metrics["export"]["verify"] = found
    return manifest


def _compared(
    bundle: Bundle, folder: Path, materials: Sequence[Material], options: QuantizeOptions, cache: Cache, log: Log
) -> dict[str, Any]:
    """Compare with fp32 on pictures, under every plan that has ranges; BundleError with the figure past a limit.

    Returns the first plan's record, and all of them under "plans".
    """
    detectors = [
        Detector.load(one, provider="cpu", plan=options.plan, threads=options.threads)
        for one in (bundle, Bundle.open(folder))
    ]
    plans = compared_plans(bundle.manifest, options.plan)
    for name in bundle.manifest.plans:
        if name not in plans:
            log(f"plan {name} was not compared: no ranges were taken under it")
    records: dict[str, Any] = {}
    for name in plans:
        plain, made = (one.variant(plan=name) for one in detectors)
        found = compare_bundles(plain, made, materials, options.images, cache)
        _check_agreement(found, name, options, log)
        records[name] = found.record()
    return {**records[plans[0]], "plans": records}


def _check_agreement(found: Agreement, plan: str, options: QuantizeOptions, log: Log) -> None:
    """Say how two bundles compare under a plan; BundleError with the figure past a limit."""
    defects = "pasted defects" if found.pasted else "labelled ones"
    log(
        f"against fp32 under plan {plan} on {found.pictures} pictures, {defects}: score maps correlate "
        f"{found.correlation:.4f} (lowest {found.lowest:.4f}), image AUROC {100 * found.after:.1f} %, was "
        f"{100 * found.before:.1f} %"
    )
    mend = "nothing was written: leave more layers with a smaller --layer-error, or use --precision fp16"
    if not found.correlation >= options.least_correlation:
        raise BundleError(
            f"{options.precision}: under plan {plan} the score maps correlate {found.correlation:.4f} with those of "
            f"fp32, less than --least-correlation {options.least_correlation:g}; {mend}"
        )
    if not found.before - found.after <= options.most_auroc_loss:
        raise BundleError(
            f"{options.precision}: under plan {plan} the image AUROC falls from {found.before:.4f} to "
            f"{found.after:.4f}, more than --most-auroc-loss {options.most_auroc_loss:g}; {mend}"
        )


def _large(model: Any) -> bool:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > INLINE_LIMIT


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _copy(model: Any) -> Any:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _take_graph(bundle: Bundle, name: str, folder: Path) -> None:
    for file in bundle.graph(name).paths:
        link_or_copy(bundle.folder / file, folder / file)
