"""Engines for a bundle: what is asked is checked, each graph is taken from the cache or built, the manifest renewed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_ad.bundle import Engine, Graph, Manifest, Precision
from edge_ad.bundle_files import Bundle, replaced, write_manifest
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.files import link_tree, sha256_file
from edge_ad.progress import progress
from edge_ad.runtime.engines.build import BuildOptions
from edge_ad.runtime.engines.cache import EngineCache, engine_key
from edge_ad.runtime.engines.library import (
    Capability,
    capability_text,
    check_capabilities,
    load_library,
    target_name,
)
from edge_ad.runtime.engines.memory import available_bytes, build_bytes, memory_text, run_bytes
from edge_ad.runtime.engines.profiles import Profile, axis_sizes, graph_profiles, plan_axes
from edge_ad.runtime.engines.worker import Builder
from edge_ad.runtime.sessions.card import card_capability

Log = Callable[[str], None]


@dataclass(frozen=True)
class EngineOptions:
    """Which engines to make.

    library: "trt-rtx" or "tensorrt". capabilities: compute capabilities, empty for this machine's card. images: how
    many images may share a batch. build: see `BuildOptions`. force: build even where memory looks too small.
    """

    library: str
    capabilities: tuple[Capability, ...] = ()
    images: int = 1
    build: BuildOptions = field(default_factory=BuildOptions)
    force: bool = False


def checked(options: EngineOptions) -> EngineOptions:
    """The options with the compute capabilities filled in. OptionError, before any work, for what cannot be built."""
    if options.images < 1:
        raise OptionError("--max-batch must be 1 or more")
    module = load_library(options.library)
    card = card_capability()
    if options.build.stripped and options.library == "trt-rtx" and card is None:
        raise OptionError("--strip: trt-rtx leaves weights out only where there is a card; build without --strip")
    found = check_capabilities(options.library, module, options.capabilities, card)
    return EngineOptions(options.library, found, options.images, options.build, options.force)


def make_engines(
    folder: Path,
    manifest: Manifest,
    options: EngineOptions,
    out: Path,
    *,
    log: Log = print,
    cache: EngineCache | None = None,
) -> dict[str, Engine]:
    """Build every graph of the bundle in `folder` and write `out`/<target>/<graph>.engine.

    `options` are those that `checked` returned. `out` is the bundle's future folder `engines`. Returns the manifest's
    entries. Raises InputError where memory does not suffice, BuildError with the library's reason.
    """
    for name, graph in manifest.graphs.items():
        if graph.quantization is not None and graph.quantization.layout != "tensorrt":
            raise OptionError(
                f"the graph {name} is quantized for processors, which no engine can be built of: export the fp32 "
                f"bundle again with --precision {graph.precision} --layout tensorrt"
            )
    job = Job(
        folder,
        manifest.graphs,
        manifest.files,
        {name: _profiles(folder, manifest, name, options.images) for name in manifest.graphs},
        manifest.graphs["denoiser"].precision,
    )
    entries = build_job(job, options, out, log=log, cache=cache)
    files = {name: job.paths(name) for name in job.graphs}
    for target in entries:
        log(f"engine {target}: on the card, about {_card_need(manifest, files, options.images)}")
    return entries


@dataclass(frozen=True)
class Job:
    """Graphs to build.

    folder: that their files lie in. hashes: SHA-256 of every file by name. profiles: by graph. precision: theirs.
    """

    folder: Path
    graphs: Mapping[str, Graph]
    hashes: Mapping[str, str]
    profiles: Mapping[str, list[Profile]]
    precision: Precision

    def paths(self, name: str) -> list[Path]:
        """The files of a graph."""
        return [self.folder / file for file in self.graphs[name].paths]


def build_job(
    job: Job, options: EngineOptions, out: Path, *, log: Log = print, cache: EngineCache | None = None
) -> dict[str, Engine]:
    """Build every graph of a job for every compute capability, or take it from the cache.

    As `make_engines`; entries name their files engines/<target>/<graph>.engine.
    """
    cache = cache or EngineCache()
    version = str(load_library(options.library).__version__)
    _check_memory({name: job.paths(name) for name in job.graphs}, options, log)
    entries = {}
    with progress("engines", len(job.graphs) * len(options.capabilities)) as step, Builder(options.library) as builder:
        for capability in options.capabilities:
            target = target_name(options.library, capability, job.precision)
            (out / target).mkdir(parents=True, exist_ok=True)
            entry = Engine(
                library=options.library,
                version=version,
                compute_capability=capability_text(capability),
                precision=job.precision,
                profiles=dict(job.profiles),
                weight_streaming=options.build.weight_streaming,
                stripped=options.build.stripped,
            )
            for name, graph in job.graphs.items():
                label = f"{target}/{name}"
                path = out / target / f"{name}.engine"
                hashes = [job.hashes[file] for file in graph.paths]
                profiles = job.profiles[name]
                key = engine_key(hashes, options.library, version, capability, job.precision, profiles, options.build)
                seconds, how = cache.fetch(key, path), "from the cache, built"
                if seconds is None:
                    started, how = time.perf_counter(), "built"
                    builder.build(
                        job.folder / graph.file,
                        graph,
                        path,
                        capability=capability,
                        profiles=profiles,
                        options=options.build,
                        on_phase=lambda phase, label=label: step(0, f"{label}: {phase}"),  # type: ignore[misc]
                    )
                    seconds = time.perf_counter() - started
                    if [sha256_file(file) for file in job.paths(name)] != hashes:  # must not be kept as what it is not
                        raise BundleError(f'"{graph.file}" got other content while engines were built; run this again')
                    cache.store(key, path, seconds)
                entry.files[name] = f"engines/{target}/{name}.engine"
                entry.build_seconds[name] = round(seconds, 3)
                log(f"engine {label}: {path.stat().st_size / 1e6:.1f} MB, {how} in {seconds:.1f} s")
                step(1, label)
            entries[target] = entry
    return entries


def add_engines(
    bundle: Path, options: EngineOptions, *, precision: str | None = None, log: Log = print
) -> dict[str, Engine]:
    """Build engines for a bundle folder or `.tar` and put them into it, with its manifest renewed.

    The bundle is replaced as a whole once every engine is there; interrupted or failed, it stays as it was, and a next
    call takes what was finished from the cache. Engines of the same target are replaced. precision: refused where it is
    not the bundle's. Returns the entries. Errors as `checked` and `make_engines`.
    """
    options = checked(options)
    bundle = Path(bundle).resolve()
    with Bundle.open(bundle) as opened:
        has = opened.manifest.graphs["denoiser"].precision
        if precision not in (None, has):
            raise OptionError(
                f"--precision {precision}: the graphs of {bundle.name} are {has}, and an engine computes in the "
                f"precision of its graphs; export the bundle again with --precision {precision}"
            )
        with tempfile.TemporaryDirectory(prefix=f".{bundle.name}.", dir=bundle.parent) as scratch:
            made = Path(scratch) / "engines"
            entries = make_engines(opened.folder, opened.manifest, options, made, log=log)
            # the bundle is read again: a calibration may have changed it while the engines were built
            with Bundle.open(bundle) as now:
                if now.manifest.graphs != opened.manifest.graphs or _hashes(now.manifest) != _hashes(opened.manifest):
                    raise BundleError(f'"{bundle}" got other graphs while engines were built; run this again')
                with replaced(bundle) as folder:
                    _copy_with(now, folder, made, entries)
    return entries


def _hashes(manifest: Manifest) -> list[str]:
    return [manifest.files[file] for graph in manifest.graphs.values() for file in graph.paths]


def _copy_with(bundle: Bundle, folder: Path, made: Path, entries: dict[str, Engine]) -> None:
    """Write the bundle with the engines in `made` to `folder`; unchanged files are links to the old ones."""
    link_tree(bundle.folder, folder)
    for target in entries:
        place = folder / "engines" / target
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        os.replace(made / target, place)
    engines = {**bundle.manifest.engines, **entries}
    write_manifest(folder, bundle.manifest.model_copy(update={"engines": engines}))


def _profiles(folder: Path, manifest: Manifest, name: str, images: int) -> list[Profile]:
    graph = manifest.graphs[name]
    example: dict[str, int] = {}
    if graph.reference is not None:
        with np.load(folder / graph.reference, allow_pickle=False) as stored:
            given = {spec.name: stored[f"in:{spec.name}"].shape for spec in graph.inputs}
        example = axis_sizes(graph.inputs, given)
    return graph_profiles(name, graph, list(manifest.plans.values()), manifest.latent_size, images, example)


def _check_memory(files: Mapping[str, list[Path]], options: EngineOptions, log: Log) -> None:
    name, need = max(((name, build_bytes(paths)) for name, paths in files.items()), key=lambda pair: pair[1])
    free = available_bytes()
    if free is None or need <= free:
        return
    sentence = f"building {name} needs about {memory_text(need)} of memory and {memory_text(free)} is free"
    if not options.force:
        raise InputError(
            f"{sentence}: close other programs, or build on a machine with more (trt-rtx needs no card) and copy the "
            "bundle; --force tries it"
        )
    log(f"{sentence}: trying, as --force says")


def _card_need(manifest: Manifest, files: Mapping[str, list[Path]], images: int) -> str:
    """Weights of all graphs, and for every plan the activations of all: each graph keeps memory of its own."""
    weights = sum(run_bytes(graph, files[name], 0) for name, graph in manifest.graphs.items())
    needs = []
    for plan_name, plan in manifest.plans.items():
        activations = 0
        for name, graph in manifest.graphs.items():
            axis = next((axis for axis in graph.outputs[0].shape[:1] if isinstance(axis, str)), "")
            rows = plan_axes(name, plan, manifest.latent_size, images).get(axis, 1)
            activations += run_bytes(graph, [], rows)
        needs.append(f"{memory_text(activations)} for the batches of {plan_name}")
    return f"{memory_text(weights)} of weights, at most {', '.join(needs)}"
