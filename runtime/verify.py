"""Proof that a bundle computes what PyTorch computed: every graph, and every engine, run on its stored example."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Engine
from edge_ad.bundle_files import Bundle
from edge_ad.errors import BundleError, EdgeAdError
from edge_ad.runtime.engines.header import header_problem
from edge_ad.runtime.engines.library import capability_text, load_library
from edge_ad.runtime.sessions.base import Session, SessionOptions
from edge_ad.runtime.sessions.choose import choose_provider, each_session, open_session

KEPT = 16384
#: Largest error against PyTorch in fp32 that is accepted of a graph in fp16, or that a session computes in bf16.
HALF_TOLERANCE = 2e-2


@dataclass(frozen=True)
class GraphCheck:
    """How one graph compares. Errors are absolute, over the largest magnitude of the output where that is above 1."""

    graph: str
    max_error: float
    mean_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the largest error is within the tolerance."""
        return self.max_error <= self.tolerance


@dataclass(frozen=True)
class EngineCheck:
    """What could be found out here about one engine file.

    state: "ran" on the card and was compared (`compared` says how), "read" by its library but not run, "unread", or
    "broken". reason: why it went no further, empty where it ran.
    """

    engine: str
    graph: str
    state: Literal["ran", "read", "unread", "broken"]
    reason: str = ""
    compared: GraphCheck | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing wrong was found."""
        return self.state != "broken" and (self.compared is None or self.compared.passed)


def thinned(array: NDArray[Any]) -> NDArray[Any]:
    """At most `KEPT` values of an array, taken at equal distances in its flat order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat[:: max(-(-flat.size // KEPT), 1)]


def compare(expected: NDArray[Any], actual: NDArray[Any]) -> tuple[float, float]:
    """(largest, mean) absolute error of thinned arrays, divided by the largest expected magnitude where above 1.

    Both are infinite where shapes differ or a value is not a number.
    """
    if expected.shape != actual.shape:
        return float("inf"), float("inf")
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)) / max(
        1.0, float(np.abs(expected).max(initial=0))
    )
    if not np.isfinite(difference).all():
        return float("inf"), float("inf")
    return float(difference.max()), float(difference.mean())


def verify_graphs(bundle: Bundle, provider: str = "cpu", threads: int | None = None) -> Iterator[GraphCheck]:
    """Run every graph that has a stored example and compare it, one after another.

    Raises BundleError when an example is damaged, OptionError when the provider cannot run here.
    """
    for name, session in each_session(bundle, choose_provider(provider), SessionOptions(threads=threads)):
        if (check := _check_session(bundle, name, session)) is not None:
            yield check


def verify_graph(bundle: Bundle, name: str, provider: str = "cpu", threads: int | None = None) -> GraphCheck | None:
    """As `verify_graphs`, of one graph; None where it has no stored example."""
    graph, options = bundle.graph(name), SessionOptions(threads=threads)
    return _check_session(
        bundle, name, open_session(name, bundle.file(graph.file), graph, choose_provider(provider), options)
    )


def verify_engines(bundle: Bundle) -> Iterator[EngineCheck]:
    """Look into every engine of the bundle as far as this machine allows: its library reads it, its card runs it.

    Hashes are not looked at here: opening the bundle has checked them.
    """
    for name, entry in bundle.manifest.engines.items():
        yield from _check_engine(bundle, name, entry)


def _check_engine(bundle: Bundle, name: str, entry: Engine) -> Iterator[EngineCheck]:
    from edge_ad.runtime.sessions.card import card_capability
    from edge_ad.runtime.sessions.engine import open_engine

    try:
        trt = load_library(entry.library)
    except EdgeAdError as error:
        yield from (EngineCheck(name, graph, "unread", str(error)) for graph in entry.files)
        return
    if str(trt.__version__) != entry.version:
        reason = f"{entry.library} {entry.version} built it, this machine has {trt.__version__}"
        yield from (EngineCheck(name, graph, "unread", reason) for graph in entry.files)
        return
    card = card_capability()
    reason = ""
    if card is None:
        reason = "no NVIDIA card here to run it on"
    elif capability_text(card) != entry.compute_capability:
        reason = f"it is for compute capability {entry.compute_capability}, the card here has {capability_text(card)}"
    for graph, file in entry.files.items():
        problem = header_problem(trt, bundle.file(file))
        if problem:
            yield EngineCheck(name, graph, "broken", problem)
        elif reason:
            yield EngineCheck(name, graph, "unread" if problem is None else "read", reason)
        else:
            try:
                compared = _check_session(bundle, graph, open_engine(bundle, name, graph, trt, SessionOptions()))
            except EdgeAdError as error:
                yield EngineCheck(name, graph, "broken", str(error))
                continue
            yield EngineCheck(name, graph, "ran", "" if compared else "it has no example to compare with", compared)


def _check_session(bundle: Bundle, name: str, session: Session) -> GraphCheck | None:
    """Run a session on its graph's stored example; None where there is none."""
    reference = bundle.graph(name).reference
    return None if reference is None else check_session(name, session, bundle.file(reference))


def check_session(name: str, session: Session, reference: Path) -> GraphCheck:
    """Run a session on the stored example in the file `reference` (`.npz`) and compare. BundleError: it is damaged."""
    graph = session.graph
    inputs, outputs = _read_reference(reference)
    actual = session.run(inputs, list(outputs))
    errors = [compare(expected, thinned(actual[output])) for output, expected in outputs.items()]
    rounded = session.precision == "bf16" and graph.precision == "fp32"
    tolerance = max(graph.tolerance, HALF_TOLERANCE) if rounded else graph.tolerance
    return GraphCheck(name, max(e[0] for e in errors), max(e[1] for e in errors), tolerance)


def _read_reference(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f'"{path}" is not a readable .npz; export again') from error
    inputs = {name[3:]: value for name, value in arrays.items() if name.startswith("in:")}
    outputs = {name[4:]: value for name, value in arrays.items() if name.startswith("out:")}
    if not inputs or not outputs:
        raise BundleError(f'"{path}" holds no example; export again')
    return inputs, outputs
