"""A generator's exported graphs on disk, and drawing with them: no PyTorch network, on a card through its engine.

`edge-ad synthesize export` writes them beside the generator:

```
gen/exported/
  exported.json         schema, the adapter they were made of, graphs, engines, SHA-256 of every other file
  graphs/drawing.onnx   a solver step of both branches, each with its LoRA fused
  graphs/decoder.onnx   latents to pictures
  prompts.npy           float32 2,2,L,D: of each branch the empty prompt and its own, encoded
  verify/               example inputs, and what PyTorch computed of them
  engines/              built engines, if any were asked for
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from edge_ad.bundle import Engine, Graph, Part, Precision, Schedule
from edge_ad.errors import BundleError, InputError
from edge_ad.files import sha256_file, write_text
from edge_ad.runtime.engines.library import load_library
from edge_ad.runtime.sessions.base import Session, SessionOptions
from edge_ad.runtime.sessions.card import card_capability
from edge_ad.runtime.sessions.choose import choose_provider, open_session
from edge_ad.training.dual.generator import Generator
from edge_ad.training.out_folder import file_hashes
from edge_ad.version import __version__

SCHEMA = 1
FOLDER, RECORD = "exported", "exported.json"
GRAPHS = {"drawing", "decoder"}
PROMPTS = "prompts.npy"


class Exported(Part):
    """What exported.json says: the graphs' entries are those of a bundle.

    adapter: SHA-256 of the adapter that was fused. batch: pairs that an engine's batch takes at most.
    """

    schema_version: int = SCHEMA
    edge_ad: str = __version__
    adapter: str
    precision: Precision
    batch: int
    graphs: dict[str, Graph]
    engines: dict[str, Engine] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


def write_exported(folder: Path, record: Exported) -> Exported:
    """Write exported.json over the files already in `folder`, with their hashes."""
    record = record.model_copy(update={"files": file_hashes(folder, RECORD)})
    write_text(folder / RECORD, record.model_dump_json(indent=2) + "\n")
    return record


def load_exported(generator: Generator) -> Exported:
    """Read and verify the exported graphs of a generator.

    Raises:
        InputError: it has none, or they were made of another adapter.
        BundleError: a file is missing or changed, or a newer edge-ad wrote them.
    """
    folder, again = generator.folder / FOLDER, f"run edge-ad synthesize export {generator.folder} again"
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{generator.folder} has no exported graphs; run edge-ad synthesize export {generator.folder} first, or "
            "draw with --provider torch"
        )
    try:
        record = Exported.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{path} is damaged ({error.errors()[0]['msg']}); {again}") from error
    if record.schema_version > SCHEMA:
        raise BundleError(f"{path} was made by a newer edge-ad (schema {record.schema_version}): upgrade edge-ad")
    listed = {PROMPTS} | {name for graph in record.graphs.values() for name in graph.paths}
    listed |= {name for engine in record.engines.values() for name in engine.files.values()}
    if set(record.graphs) != GRAPHS or not listed <= set(record.files):
        raise BundleError(f"{path} is damaged (it does not list all of its files); {again}")
    for name, digest in record.files.items():
        target = (folder / name).resolve()
        if not target.is_relative_to(folder.resolve()) or not target.is_file() or sha256_file(target) != digest:
            raise BundleError(f"{folder}: {name} is missing or damaged; {again}")
    if record.adapter != generator.digest:
        raise InputError(f"{folder} was exported from another training than {generator.folder} holds; {again}")
    return record


class GraphPainter:
    """Draws with the exported graphs of a generator. See `edge_ad.training.dual.sample.Painter`.

    Args:
        generator: it has been exported.
        provider: as `edge_ad.runtime.sessions.choose.choose_provider` takes it: "auto", "cpu", "cuda", "openvino", or
            "trt-rtx" and "tensorrt", which take an engine that was built for this card.

    Raises:
        InputError, BundleError: as `load_exported`.
        OptionError: the provider cannot run here.
    """

    def __init__(self, generator: Generator, provider: str) -> None:
        record = load_exported(generator)
        folder = generator.folder / FOLDER
        self.provider = choose_provider(provider)
        self._sessions = _sessions(folder, record, self.provider, generator.folder)
        self._prompts = np.load(folder / PROMPTS, allow_pickle=False)
        self._batch = record.batch if self.provider in ("trt-rtx", "tensorrt") else None

    def paint(
        self, x: Tensor, behind: list[Tensor] | None, schedule: Schedule, cfg: float, attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Painter.paint`. ValueError where attention maps are asked for: the graphs do not give them."""
        if attention:
            raise ValueError("exported graphs give no attention maps")
        size = self._batch or len(x)
        pictures = [
            self._some(x[i : i + size], behind and [step[i : i + size] for step in behind], schedule, cfg)
            for i in range(0, len(x), size)
        ]
        return torch.cat(pictures), None

    def _some(self, x: Tensor, behind: list[Tensor] | None, schedule: Schedule, cfg: float) -> Tensor:
        guided = cfg != 1
        weights = np.array([1 - cfg, cfg] if guided else [1], np.float32)
        start = x.contiguous().numpy()
        steps: list[dict[str, np.ndarray[Any, Any]]] = [
            {"timestep": np.array([t], np.float32), "coeffs": np.array(row, np.float32)}
            for t, row in zip(schedule.timesteps, schedule.coefficients)
        ]
        for step, noised in zip(steps, behind or ()):
            step["background"] = noised.float().contiguous().numpy()
        found = self._sessions["drawing"].iterate(
            {"prompts": self._prompts if guided else self._prompts[:, 1:], "weights": weights},
            {"latents": start, "history": np.zeros_like(start)},
            steps,
            {"next": "latents", "next_history": "history"},
        )
        latents = found["next"].numpy()
        image = self._sessions["decoder"].run({"latents": latents.reshape(-1, *latents.shape[2:])})["image"]
        return torch.from_numpy(image).unflatten(0, latents.shape[:2])


def _sessions(folder: Path, record: Exported, provider: str, gen: Path) -> dict[str, Session]:
    options = SessionOptions()
    if provider == "trt-rtx" or (provider == "tensorrt" and _built(record.engines, provider)):
        return _engine_sessions(folder, record, provider, gen, options)
    opened = {}
    for name, graph in record.graphs.items():
        digest = "-".join(record.files[file] for file in graph.paths)
        opened[name] = open_session(name, folder / graph.file, graph, provider, options, digest)
        if [sha256_file(folder / file) for file in graph.paths] != [record.files[file] for file in graph.paths]:
            raise BundleError(f"{folder}: {graph.file} has changed since it was verified; start again")
    return opened


def _built(engines: Mapping[str, Engine], library: str) -> bool:
    return any(engine.library == library for engine in engines.values())


def _engine_sessions(
    folder: Path, record: Exported, library: str, gen: Path, options: SessionOptions
) -> dict[str, Session]:
    from edge_ad.runtime.sessions.engine import EngineSession, select_engine

    build = f"run edge-ad synthesize export {gen} --target {library}"
    if not _built(record.engines, library):
        select_engine({}, library, "", None, what="generator", build=build)  # says so, before a library is asked for
    trt = load_library(library)
    capability = card_capability(options.device)
    name = select_engine(record.engines, library, str(trt.__version__), capability, what="generator", build=build)
    entry = record.engines[name]
    return {
        graph_name: EngineSession(
            folder / entry.files[graph_name], graph, options, trt=trt, entry=entry, graph_name=graph_name,
            onnx=folder / graph.file,
        )
        for graph_name, graph in record.graphs.items()
    }  # fmt: skip
