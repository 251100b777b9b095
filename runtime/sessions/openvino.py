"""Graphs run by OpenVINO: for inspection PCs with no NVIDIA card; bf16 where the processor has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Graph, Precision
from edge_ad.errors import OptionError
from edge_ad.runtime.sessions.base import Array, Feed, Handle, HostTensor, SessionOptions, checked, to_host
from edge_ad.runtime.sessions.openvino_cache import load_or_compile


class OpenVinoSession:
    """One graph in OpenVINO's CPU plug-in.

    half: compute in bf16 where the processor has instructions for it, which quarters the time of wide convolutions and
    keeps three significant digits; False computes in fp32. digest: of the graph's files, by which the compiled model is
    kept in the user's cache; None does not keep it.
    """

    def __init__(
        self, path: Path, graph: Graph, options: SessionOptions, *, half: bool = False, digest: str | None = None
    ):
        try:
            import openvino
        except ImportError as error:
            raise OptionError(
                '--provider openvino: OpenVINO is not installed; pip install "edge-ad[openvino]", or use --provider cpu'
            ) from error
        except RuntimeError as error:  # its telemetry looks for the account's home
            raise OptionError(
                f"--provider openvino: OpenVINO does not start: {error} Set HOME to a folder, or use --provider cpu"
            ) from error
        core = openvino.Core()
        lower = half and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if lower else "f32",
        }
        if options.threads:
            settings["INFERENCE_NUM_THREADS"] = options.threads
        try:
            files = [path, *(path.with_name(Path(file).name) for file in graph.paths[1:])]
            self._model, self._weights = load_or_compile(openvino, core, files, settings, digest)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise OptionError(f"--provider openvino cannot load {graph.file}: {reason}") from error
        self._tensor = openvino.Tensor
        self._request = self._model.create_infer_request()
        self._position = {name: i for i, out in enumerate(self._model.outputs) for name in out.get_names()}
        self.graph = graph
        self.provider = "openvino"
        self.max_rows: int | None = None
        self.precision: Precision = "bf16" if lower else graph.precision
        self.from_cache = self._weights is not None

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See `Session.run`."""
        self._infer({name: to_host(feed) for name, feed in checked(feeds, self.graph)})
        names = outputs if outputs is not None else [spec.name for spec in self.graph.outputs]
        return {name: self._output(name) for name in names}

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """See `Session.run_kept`; the device is the host here."""
        return {name: HostTensor(array) for name, array in self.run(feeds, outputs).items()}

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """See `Session.iterate`."""
        if not steps:
            raise ValueError("there is no step to run")
        constant = {name: to_host(feed) for name, feed in fixed.items()}
        current = {name: to_host(feed) for name, feed in state.items()}
        for i, step in enumerate(steps):
            feeds = dict(checked({**constant, **current, **step}, self.graph))
            self._infer(feeds if i == 0 else {name: feeds[name] for name in (*current, *step)})
            current = {name: self._output(output) for output, name in carry.items()}
        return {output: HostTensor(current[name]) for output, name in carry.items()}

    def _infer(self, feeds: Mapping[str, Any]) -> None:
        """Run with these inputs; one that is not among them keeps its last value."""
        for name, array in feeds.items():
            self._request.set_tensor(name, self._tensor(np.ascontiguousarray(array), shared_memory=False))
        self._request.infer()

    def _output(self, name: str) -> Array:
        # copied, since the request writes into the same memory next time
        array: Array = np.array(self._request.get_output_tensor(self._position[name]).data)
        return array
