"""Proof that a bundle computes what PyTorch computed: every graph run on its stored example."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Bundle
from edge_ad.errors import BundleError
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.choose import choose_provider, open_session

KEPT = 16384


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
    kind = choose_provider(provider)
    for name, graph in bundle.manifest.graphs.items():
        if graph.reference is None:
            continue
        inputs, outputs = _read_reference(bundle, graph.reference)
        session = open_session(name, bundle.file(graph.file), graph, kind, SessionOptions(threads=threads))
        actual = session.run(inputs, list(outputs))
        errors = [compare(expected, thinned(actual[output])) for output, expected in outputs.items()]
        yield GraphCheck(name, max(e[0] for e in errors), max(e[1] for e in errors), graph.tolerance)


def _read_reference(bundle: Bundle, relative: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    try:
        with np.load(bundle.file(relative), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            f'"{relative}" of "{bundle.source}" is not a readable .npz; export the bundle again'
        ) from error
    inputs = {name[3:]: value for name, value in arrays.items() if name.startswith("in:")}
    outputs = {name[4:]: value for name, value in arrays.items() if name.startswith("out:")}
    if not inputs or not outputs:
        raise BundleError(f'"{relative}" of "{bundle.source}" holds no example; export the bundle again')
    return inputs, outputs
