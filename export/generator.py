"""A generator of defects to ONNX graphs, and engines of them: each branch with its LoRA fused, SAIM as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from edge_ad.bundle import Graph
from edge_ad.errors import BundleError, OptionError
from edge_ad.export.graphs.case import GraphCase
from edge_ad.export.graphs.decoder import decoder_case
from edge_ad.export.graphs.drawing import drawing_case
from edge_ad.export.memory import row_bytes
from edge_ad.export.onnx import torch_outputs, write_graph, write_reference
from edge_ad.export.targets import engine_options
from edge_ad.files import atomic_folder
from edge_ad.runtime.engines.library import Capability
from edge_ad.runtime.engines.make import EngineOptions, Job, build_job
from edge_ad.runtime.engines.profiles import Profile
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.choose import open_session
from edge_ad.runtime.verify import HALF_TOLERANCE, check_session
from edge_ad.training.dual.exported import FOLDER, PROMPTS, Exported, write_exported
from edge_ad.training.dual.fuse import fuse_branches
from edge_ad.training.dual.generator import load_generator, load_model
from edge_ad.training.dual.model import DualModel

Log = Callable[[str], None]


@dataclass(frozen=True)
class GeneratorOptions:
    """How a generator is exported.

    precision of the networks; guidance and solver stay in fp32. targets: "onnx" always, "trt-rtx" and "tensorrt"
    besides. capabilities: compute capabilities that trt-rtx builds for, empty for this machine's card. batch: pairs
    that an engine's batch takes at most.
    """

    precision: Literal["fp32", "fp16"] = "fp32"
    targets: tuple[str, ...] = ("onnx",)
    capabilities: tuple[Capability, ...] = ()
    batch: int = 4


def export_generator(gen: Path, options: GeneratorOptions, *, log: Log = print) -> Path:
    """Write a generator's graphs into its folder, replacing those that are there; nothing is left of a failed export.

    Returns:
        The folder `gen`/exported; `edge_ad.training.dual.exported` says what is in it.

    Raises:
        InputError: `gen` is no generator, or its base cannot be had.
        OptionError: engines that cannot be built here.
        BundleError: the generator is damaged, or a graph does not compute what PyTorch does.
    """
    if options.batch < 1:
        raise OptionError("--max-batch must be 1 or more")
    engines = engine_options(options.targets, options.capabilities, 1)
    started = time.perf_counter()
    generator = load_generator(gen)
    base, model = load_model(generator)
    with torch.no_grad():
        prompts = torch.stack([model.encode(("", "")), model.encode(generator.prompts)], 1).numpy()
    # PyTorch's numbers are those of the branches as they were trained, before anything is fused or converted
    cases = _cases(base, model, prompts.shape[2:])
    expected = {case.name: torch_outputs(case) for case in cases}
    fuse_branches(model)
    memory = {case.name: row_bytes(case.module, case.inputs, case.rows) for case in cases}
    if options.precision == "fp16":
        base.vae.to(torch.float16)
        model.to(torch.float16)
    with atomic_folder(generator.folder / FOLDER) as folder:
        np.save(folder / PROMPTS, prompts, allow_pickle=False)
        graphs: dict[str, Graph] = {}
        for case in cases:
            began = time.perf_counter()
            graph = write_graph(case, folder, options.precision, memory[case.name])
            graph.reference = write_reference(case, expected[case.name], folder)
            if options.precision == "fp16":
                graph.tolerance = HALF_TOLERANCE
            graphs[case.name] = graph
            size = sum((folder / name).stat().st_size for name in graph.paths)
            log(f"graph {case.name}: {size / 1e6:.1f} MB in {time.perf_counter() - began:.1f} s")
            _verify(folder, case.name, graph, log)
        record = write_exported(
            folder,
            Exported(adapter=generator.digest, precision=options.precision, batch=options.batch, graphs=graphs),
        )
        for wanted in engines:
            record.engines.update(_engines(folder, record, wanted, log))
        if engines:
            write_exported(folder, record)
    log(f"{generator.folder / FOLDER}: verified, in {time.perf_counter() - started:.0f} s")
    return generator.folder / FOLDER


def _cases(base: Any, model: DualModel, prompt_shape: tuple[int, int]) -> list[GraphCase]:
    rng, channels = np.random.default_rng(0), int(base.vae.config.latent_channels)
    return [
        decoder_case(base.vae, channels, base.latent_size, rng),
        drawing_case(model, channels, base.latent_size, prompt_shape, rng),
    ]


def _verify(folder: Path, name: str, graph: Graph, log: Log) -> None:
    session = open_session(name, folder / graph.file, graph, "cpu", SessionOptions())
    assert graph.reference is not None  # it was written with the graph
    check = check_session(name, session, folder / graph.reference)
    if not check.passed:
        raise BundleError(
            f"the exported graph {name} differs from PyTorch by {check.max_error:.2g} (limit {check.tolerance:.2g}); "
            "nothing was written, export with --precision fp32 or report this"
        )
    log(f"verified {name}: largest error {check.max_error:.1e}, mean {check.mean_error:.1e}")


def _engines(folder: Path, record: Exported, options: EngineOptions, log: Log) -> dict[str, Any]:
    pairs = record.batch
    # the examples, which verification runs, are of 3 pairs and 2 rows
    profiles: dict[str, list[Profile]] = {
        "drawing": [{"B": (1, pairs, max(pairs, 3)), "C": (1, 2, 2)}],
        "decoder": [{"K": (1, 2 * pairs, 2 * pairs)}],
    }
    job = Job(folder, record.graphs, record.files, profiles, record.precision)
    return build_job(job, options, folder / "engines", log=log)
