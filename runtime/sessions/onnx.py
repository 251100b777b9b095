"""Graphs run by ONNX Runtime: on the CPU, on a card through CUDA, or through its TensorRT provider."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_ad.bundle import Graph, Precision
from edge_ad.errors import OptionError
from edge_ad.processor import clamps_int8_sums, this_processor
from edge_ad.runtime.sessions.base import Array, Feed, Handle, SessionOptions, checked, to_host

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class OrtTensor:
    """A tensor in ONNX Runtime's memory, on the host or a card."""

    def __init__(self, value: Any):
        self.value = value

    def numpy(self) -> Array:
        """Copy to the host (a view where it is there already)."""
        array: Array = self.value.numpy()
        return array


def preload_cuda() -> None:
    """Load CUDA and cuDNN where they came as NVIDIA's wheels: ONNX Runtime's CUDA provider does not look there itself.

    What ONNX Runtime prints about libraries that are missing goes to standard error.
    """
    preload = getattr(ort, "preload_dlls", None)  # from 1.21
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(ImportError, OSError):
            preload()


def _chain(provider: str, device: int) -> list[Any]:
    """ONNX Runtime's providers, the wanted one first, with their options."""
    card = {"device_id": str(device)}
    # an fp32 graph computes in fp32, as it did when its reference and thresholds were taken
    cuda = (_PROVIDERS["cuda"], {**card, "use_tf32": "0"})
    wanted = {"cpu": [], "cuda": [cuda], "tensorrt": [(_PROVIDERS["tensorrt"], card), cuda]}[provider]
    return [*wanted, _PROVIDERS["cpu"]]


class OnnxSession:
    """One graph in ONNX Runtime. OptionError when the provider asked for is not the one that runs."""

    def __init__(self, path: Path, graph: Graph, options: SessionOptions, provider: str = "cpu"):
        wanted = _PROVIDERS[provider]
        if wanted not in ort.get_available_providers():
            raise OptionError(
                f"--provider {provider}: this onnxruntime lacks {wanted}; install onnxruntime-gpu or use --provider cpu"
            )
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        # measured on nano at 256 px: the arena more than doubles peak memory and saves no time
        settings.enable_cpu_mem_arena = False
        # each graph has a thread pool of its own: threads that spin while another graph runs would only be in its way
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if graph.precision == "fp8":
            # ONNX Runtime 1.31 takes FP8 pairs for integers: it joins them with Relu wrongly, or refuses the graph
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if graph.quantization is not None and clamps_int8_sums(platform.machine(), this_processor()[1]):
            # uint8 weights, which overflow nothing; elsewhere they would be slower
            settings.add_session_config_entry("session.x64quantprecision", "1")
        if options.threads:
            settings.intra_op_num_threads = options.threads
        if provider != "cpu":
            preload_cuda()
        try:
            # it prints of a card's provider that fails; a processor's sessions are opened by threads that share stdout
            with contextlib.nullcontext() if provider == "cpu" else contextlib.redirect_stdout(sys.stderr):
                self._session = ort.InferenceSession(str(path), settings, providers=_chain(provider, options.device))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise OptionError(f"--provider {provider} cannot load {graph.file}: {reason}") from error
        if self._session.get_providers()[0] != wanted:
            # ONNX Runtime would go on, on the CPU, with a warning at most
            raise OptionError(
                f"--provider {provider}: {wanted} could not start (card, driver or CUDA libraries are missing); "
                'see "edge-ad doctor", or use --provider cpu'
            )
        self.graph = graph
        self.provider = provider
        self.max_rows: int | None = None
        self.precision: Precision = graph.precision
        self._device = "cpu" if provider == "cpu" else "cuda"
        self._device_id = 0 if provider == "cpu" else options.device

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See `Session.run`."""
        names = self._outputs(outputs)
        if all(isinstance(feed, np.ndarray) for feed in feeds.values()):
            results = self._session.run(names, dict(checked(feeds, self.graph)))
            return dict(zip(names, results))
        return {name: handle.numpy() for name, handle in self.run_kept(feeds, names).items()}

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """See `Session.run_kept`."""
        names = self._outputs(outputs)
        binding = self._session.io_binding()
        kept = [self._bind_input(binding, name, feed) for name, feed in checked(feeds, self.graph)]
        for name in names:
            binding.bind_output(name, self._device, self._device_id)
        self._session.run_with_iobinding(binding)
        del kept
        return {name: OrtTensor(value) for name, value in zip(names, binding.get_outputs())}

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """See `Session.iterate`. Two buffers a carried tensor, allocated once and swapped."""
        if not steps:
            raise ValueError("there is no step to run")
        for _ in checked({**fixed, **state, **steps[0]}, self.graph):
            pass
        binding = self._session.io_binding()
        kept = [self._bind_input(binding, name, feed) for name, feed in fixed.items()]
        current = {name: self._on_device(feed) for name, feed in state.items()}
        # the caller's arrays are never written to: the first step reads them and writes into the first pair of buffers
        spare = [{output: self._like(current[name]) for output, name in carry.items()} for _ in range(2)]
        for i, step in enumerate(steps):
            into = spare[i % 2]
            for name, feed in step.items():
                kept.append(self._bind_input(binding, name, feed))
            for name, value in current.items():
                binding.bind_ortvalue_input(name, value)
            for output, value in into.items():
                binding.bind_ortvalue_output(output, value)
            self._session.run_with_iobinding(binding)
            current = {name: into[output] for output, name in carry.items()}
        return {output: OrtTensor(current[name]) for output, name in carry.items()}

    def _outputs(self, outputs: Sequence[str] | None) -> list[str]:
        return list(outputs) if outputs is not None else [spec.name for spec in self.graph.outputs]

    def _on_device(self, feed: Feed) -> Any:
        if isinstance(feed, OrtTensor):
            return feed.value
        array = np.ascontiguousarray(to_host(feed))
        return ort.OrtValue.ortvalue_from_numpy(array, self._device, self._device_id)

    def _like(self, value: Any) -> Any:
        dtype = value.numpy().dtype if self._device == "cpu" else _numpy_dtype(value.data_type())
        return ort.OrtValue.ortvalue_from_shape_and_type(value.shape(), dtype, self._device, self._device_id)

    def _bind_input(self, binding: Any, name: str, feed: Feed) -> Any:
        """Bind one input and return what must stay alive until the run."""
        value = self._on_device(feed)
        binding.bind_ortvalue_input(name, value)
        return value


def _numpy_dtype(name: str) -> Any:
    kind = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
