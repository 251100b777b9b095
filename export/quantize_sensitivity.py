"""What quantizing each layer costs, and which layers are therefore left as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.export.quantize_write import SWITCH

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Choice:
    """The layers that are quantized, in their order, and the relative error of the graph with all of them."""

    layers: list[str]
    error: float


def relative_error(expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]) -> float:
    """Root mean square of the difference over that of what is expected, all arrays together; infinite where NaN."""
    change = sum(float(np.square(a.astype(np.float64) - e).sum()) for e, a in zip(expected, actual, strict=True))
    size = sum(float(np.square(e.astype(np.float64)).sum()) for e in expected)
    value = sqrt(change / max(size, 1e-30))
    return value if np.isfinite(value) else float("inf")


class SwitchedGraph:
    """A model of `edge_ad.export.quantize_write.switched_model` in ONNX Runtime, with inputs to try it on.

    path: its file. layers: their names, in the order of the switches. batches: the other inputs, a mapping a run.
    """

    def __init__(self, path: Path, layers: Sequence[str], batches: Sequence[Arrays], threads: int | None = None):
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.enable_cpu_mem_arena = False
        # pairs are to be computed as they stand, not joined with what surrounds them
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if threads:
            settings.intra_op_num_threads = threads
        self._session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self._place = {name: i for i, name in enumerate(layers)}
        self._batches = batches
        self._output = self._session.get_outputs()[0].name
        self._expected = self._run([])

    def error(self, layers: Sequence[str]) -> float:
        """The relative error of the graph's first output with these layers quantized."""
        return relative_error(self._expected, self._run(layers))

    def _run(self, layers: Sequence[str]) -> list[NDArray[Any]]:
        switch = np.zeros(len(self._place), np.float32)
        switch[[self._place[name] for name in layers]] = 1
        return [self._session.run([self._output], {**feeds, SWITCH: switch})[0] for feeds in self._batches]


def choose_layers(errors: Mapping[str, float], together: Callable[[Sequence[str]], float], limit: float) -> Choice:
    """As many layers as keep the graph's error within a limit, the costliest being left first.

    Args:
        errors: of the graph with one layer quantized, by layer.
        together: the error with several quantized.
        limit: of the error with all that are chosen.

    As long as errors of layers are independent, squares add up; what that says is tried, and more are left as needed.
    """
    order = sorted(errors, key=lambda name: errors[name])
    while order and sqrt(sum(errors[name] ** 2 for name in order)) > limit:
        order.pop()
    while order:
        chosen = [name for name in errors if name in set(order)]
        error = together(chosen)
        if error <= limit:
            return Choice(chosen, error)
        order.pop()
    return Choice([], 0.0)
