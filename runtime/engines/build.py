"""One ONNX graph to one engine, with `tensorrt_rtx` or `tensorrt`: versions 10 and 11 have the same calls here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_ad.bundle import Graph
from edge_ad.errors import EdgeAdError
from edge_ad.runtime.engines.library import Capability, known_capabilities
from edge_ad.runtime.engines.profiles import Profile, shapes
from edge_ad.runtime.engines.turing import TURING, replace_products

Phase = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """How engines are built.

    weight_streaming: weights may stay in the host's memory and stream to a card that cannot hold them. stripped: the
    engine holds no weights; they are taken from the bundle's ONNX file when it is loaded.
    """

    weight_streaming: bool = False
    stripped: bool = False


class BuildError(EdgeAdError):
    """A library could not build an engine; exit code 1."""


def build_engine(
    trt: ModuleType,
    onnx: Path,
    graph: Graph,
    target: Path,
    *,
    capability: Capability,
    profiles: Sequence[Profile],
    options: BuildOptions = BuildOptions(),
    on_phase: Phase | None = None,
) -> None:
    """Compile the graph in `onnx` and write the engine to the file `target`.

    trt: the module to build with. capability: what TensorRT-RTX builds for; TensorRT builds for the card it runs on.
    on_phase: called with the name of each phase of the builder. Networks are strongly typed: an engine computes in the
    precisions that are in the ONNX file.

    Blocks, and cannot be interrupted: `Builder` runs it in a process of its own. Raises BuildError with the library's
    own reason.
    """
    logger = _logger(trt)
    plan = _serialized(trt, onnx, graph, capability, profiles, options, logger, on_phase)
    if plan is None:
        raise BuildError(f"{trt.__name__} {trt.__version__} cannot build {onnx.name}: {logger.reason()}")
    with open(target, "wb") as file:
        file.write(memoryview(plan))


def _serialized(
    trt: ModuleType,
    onnx: Path,
    graph: Graph,
    capability: Capability,
    profiles: Sequence[Profile],
    options: BuildOptions,
    logger: Any,
    on_phase: Phase | None,
) -> Any:
    """The engine in the library's memory, or None where it could not be built."""
    try:
        builder = trt.Builder(logger)
    except TypeError:  # the bindings' way to say that tensorrt cannot use the card
        return None
    # TensorRT 11 knows strongly typed networks alone
    typed = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        return None
    across = capability in known_capabilities(trt)  # TensorRT-RTX: for a card that need not be here
    if across and capability == TURING:
        replace_products(trt, network)
    config = builder.create_builder_config()
    if on_phase is not None:
        monitor = _monitor(trt, on_phase)  # the configuration does not keep it alive
        config.progress_monitor = monitor
    if across:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{capability[0]}{capability[1]}"], 0)
    # an fp32 graph computes in fp32, as it did when its reference and thresholds were taken; for speed there is fp16
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    if options.stripped:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    for sizes in profiles:
        profile = builder.create_optimization_profile()
        for spec in graph.inputs:
            if any(isinstance(axis, str) for axis in spec.shape):
                profile.set_shape(spec.name, *shapes(spec, sizes))
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def _logger(trt: ModuleType) -> Any:
    """A logger that keeps the errors and says nothing: what is of use to a person is raised."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(" ".join(message.split()))

        def reason(self) -> str:
            # without a driver, the libraries also complain about that, which is not what stopped the build
            own = [line for line in self.errors if "CUDA driver version" not in line]
            return (own or self.errors or ["it gave no reason"])[0][:400]

    return Logger()


def _monitor(trt: ModuleType, on_phase: Phase) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            on_phase(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

    return Monitor()
