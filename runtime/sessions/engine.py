"""Graphs run as TensorRT or TensorRT-RTX engines, with tensors that stay on the card and CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_ad.bundle import Engine, Graph, Precision
from edge_ad.bundle_files import Bundle
from edge_ad.errors import BundleError, OptionError
from edge_ad.runtime.engines.library import Capability, capability_text, load_library
from edge_ad.runtime.engines.profiles import axis_sizes, choose_profile
from edge_ad.runtime.sessions.base import Array, Feed, Handle, Session, SessionOptions, checked, to_host
from edge_ad.runtime.sessions.card import card_capability
from edge_ad.runtime.sessions.cuda import Card, CudaError, DeviceTensor, card
from edge_ad.runtime.sessions.replay import Replays


def select_engine(
    engines: Mapping[str, Engine],
    library: str,
    version: str,
    capability: Capability | None,
    *,
    what: str = "bundle",
    build: str = "",
) -> str:
    """The name of the engine that this library version and card can run, of those a manifest lists.

    An engine runs with exactly the library version that built it and on the compute capability it was built for.
    Raises OptionError that says what there is and how to build what is wanted. what: whose engines they are. build: the
    command that builds them.
    """
    build = build or f"run edge-ad engines build BUNDLE --library {library}"
    own = {name: engine for name, engine in engines.items() if engine.library == library}
    if not own:
        raise OptionError(f"--provider {library}: the {what} has no {library} engine; {build}, or use --provider cuda")
    if capability is None:
        raise OptionError(f"--provider {library}: this machine has no NVIDIA card; use --provider cpu or openvino")
    wanted = capability_text(capability)
    fitting = {name: engine for name, engine in own.items() if engine.compute_capability == wanted}
    if not fitting:
        built = ", ".join(sorted(str(engine.compute_capability) for engine in own.values()))
        raise OptionError(
            f"--provider {library}: this card has compute capability {wanted}, the {what}'s engines are for {built}; "
            f"{build} --sm {wanted}"
        )
    for name in sorted(fitting):
        if fitting[name].version == version:
            return name
    other = next(iter(fitting.values())).version
    raise OptionError(
        f"--provider {library}: the {what}'s engine was built by {library} {other}, this machine has {version}; "
        f"{build} --sm {wanted} here, or install that version"
    )


def each_engine(bundle: Bundle, library: str, options: SessionOptions) -> Iterator[tuple[str, Session]]:
    """Every graph of the bundle, from the engine that fits this machine. OptionError where none does."""
    if not any(engine.library == library for engine in bundle.manifest.engines.values()):
        select_engine({}, library, "", None)  # says so, before a library is asked for
    trt = load_library(library)
    capability = card_capability(options.device)
    name = select_engine(bundle.manifest.engines, library, str(trt.__version__), capability)
    entry = bundle.manifest.engines[name]
    if missing := sorted(set(bundle.manifest.graphs) - set(entry.files)):
        raise BundleError(f'engine "{name}" of "{bundle.source}" lacks {missing[0]}; run edge-ad engines build again')
    for graph in bundle.manifest.graphs:
        yield graph, open_engine(bundle, name, graph, trt, options)


def open_engine(bundle: Bundle, engine: str, graph: str, trt: ModuleType, options: SessionOptions) -> EngineSession:
    """A session of one graph from the engine of this name, with the library's module."""
    entry = bundle.manifest.engines[engine]
    onnx = bundle.file(bundle.graph(graph).file)
    path = bundle.file(entry.files[graph])
    session = EngineSession(path, bundle.graph(graph), options, trt=trt, entry=entry, graph_name=graph, onnx=onnx)
    # a stripped one has read the graph's weights too
    bundle.check_unchanged([entry.files[graph], *(bundle.graph(graph).paths if entry.stripped else ())])
    return session


class EngineSession:
    """One engine on one card. OptionError when it cannot be loaded, CudaError when the card refuses.

    trt: the module it runs with. entry and graph_name: its entry in the manifest. onnx: the graph it was built from,
    which a stripped engine takes its weights from.
    """

    def __init__(
        self,
        path: Path,
        graph: Graph,
        options: SessionOptions,
        *,
        trt: ModuleType,
        entry: Engine,
        graph_name: str,
        onnx: Path,
    ):
        self.graph = graph
        self.provider = entry.library
        self.precision: Precision = graph.precision
        self.profiles = entry.profiles.get(graph_name, [])
        batch = next((axis for axis in graph.outputs[0].shape[:1] if isinstance(axis, str)), None)
        self.max_rows = max((p[batch][2] for p in self.profiles), default=None) if batch else None
        self._card: Card = card(options.device)
        self._trt = trt
        # tensorrt_rtx compiles kernels for the card when they are first used, and captures CUDA graphs by itself
        self._own_graphs = not hasattr(trt, "CudaGraphStrategy")
        self._logger = trt.Logger(trt.Logger.ERROR)
        try:
            runtime = trt.Runtime(self._logger)
        except TypeError as error:  # the bindings' way to say that they cannot use the card
            raise OptionError(
                f"--provider {entry.library}: {entry.library} {trt.__version__} cannot use this card; update its driver"
            ) from error
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise OptionError(
                f"--provider {entry.library}: {path.name} cannot be loaded by {entry.library} {trt.__version__}; "
                f"run edge-ad engines build BUNDLE --library {entry.library}"
            )
        if entry.stripped:
            _refit(trt, self._engine, self._logger, onnx)
        if entry.weight_streaming:
            self._engine.weight_streaming_budget_v2 = self._engine.get_weight_streaming_automatic_budget()
        self._contexts: dict[int, Any] = {}
        self._shapes: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._replays = Replays(self._card.capture, self._card.launch, self._card.discard)
        self._step_inputs: dict[tuple[str, tuple[int, ...]], DeviceTensor] = {}

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See `Session.run`."""
        return {name: handle.numpy() for name, handle in self.run_kept(feeds, outputs).items()}

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """See `Session.run_kept`."""
        results = self._execute({name: self._on_card(feed) for name, feed in checked(feeds, self.graph)}, {})
        return {name: results[name] for name in outputs or results}

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """See `Session.iterate`. Two buffers a carried tensor, swapped; each step's inputs go into the same buffers."""
        if not steps:
            raise ValueError("there is no step to run")
        for _ in checked({**fixed, **state, **steps[0]}, self.graph):
            pass
        constant = {name: self._on_card(feed) for name, feed in fixed.items()}
        current = {name: self._on_card(feed) for name, feed in state.items()}
        # the caller's tensors are never written to: the first step reads them and writes into the first pair
        spare = [
            {output: self._card.empty(current[name].shape, current[name].dtype) for output, name in carry.items()}
            for _ in range(2)
        ]
        for i, step in enumerate(steps):
            inputs = {name: self._step_input(name, array) for name, array in step.items()}
            results = self._execute({**constant, **current, **inputs}, spare[i % 2])
            current = {name: results[output] for output, name in carry.items()}
        return {output: current[name] for output, name in carry.items()}

    def _execute(self, inputs: Mapping[str, DeviceTensor], into: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """Put one run on the stream. Outputs not in `into` get new tensors."""
        sizes = axis_sizes(self.graph.inputs, {name: tensor.shape for name, tensor in inputs.items()})
        profile = choose_profile(self.profiles, sizes) if self.profiles else 0
        if profile is None:
            largest = {axis: most for axis, (_, _, most) in self.profiles[-1].items()}
            raise OptionError(
                f"{self.graph.file} was asked for {sizes}, its engine was built for at most {largest}; "
                "run edge-ad engines build BUNDLE with a larger --max-batch"
            )
        with self._card.lock:  # another thread's work must not come between, least of all into a capture
            return self._put(profile, inputs, into)

    def _put(
        self, profile: int, inputs: Mapping[str, DeviceTensor], into: Mapping[str, DeviceTensor]
    ) -> dict[str, DeviceTensor]:
        context = self._context(profile)
        shapes = tuple(tensor.shape for tensor in inputs.values())
        if self._shapes.get(profile) != shapes:
            for name, tensor in inputs.items():
                context.set_input_shape(name, tensor.shape)
            self._shapes[profile] = shapes
            self._replays.shapes_changed(profile)
        outputs = {
            spec.name: into[spec.name]
            if spec.name in into
            else self._card.empty(tuple(context.get_tensor_shape(spec.name)), spec.dtype)
            for spec in self.graph.outputs
        }
        for name, tensor in (*inputs.items(), *outputs.items()):
            context.set_tensor_address(name, tensor.pointer)

        def enqueue() -> None:
            if not context.execute_async_v3(self._card.stream):
                raise CudaError(f'{self.graph.file} failed on the card; see "edge-ad doctor", or use --provider cuda')

        if self._own_graphs:
            pointers = tuple(tensor.pointer for tensor in (*inputs.values(), *outputs.values()))
            self._replays.run(profile, (profile, shapes, pointers), enqueue)
        else:
            enqueue()
        return outputs

    def _context(self, profile: int) -> Any:
        """The execution context of a profile, made when it is first needed."""
        if profile not in self._contexts:
            context = self._new_context(profile)
            if context is None:
                self._card.release()  # buffers that nobody uses may be what is in the way
                context = self._new_context(profile)
            if context is None:
                raise CudaError(f"{self.graph.file}: the card has no memory for its engine; use a smaller plan")
            self._contexts[profile] = context
        return self._contexts[profile]

    def _new_context(self, profile: int) -> Any:
        """An execution context with memory for the largest shapes of a profile; None where the card has none left."""
        strategy = self._trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if self._own_graphs:
            context = self._engine.create_execution_context(strategy)
        else:
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        if context is None or not self.profiles:
            return context
        taken = context.set_optimization_profile_async(profile, self._card.stream)
        self._card.wait()
        return context if taken else None

    def _on_card(self, feed: Feed) -> DeviceTensor:
        if isinstance(feed, DeviceTensor) and feed.card is self._card:
            return feed
        return self._card.upload(to_host(feed))

    def _step_input(self, name: str, array: Array) -> DeviceTensor:
        """One buffer for an input that changes each step, so that a captured graph stays valid."""
        key = (name, np.shape(array))
        self._step_inputs[key] = self._card.upload(array, self._step_inputs.get(key))
        return self._step_inputs[key]


def _refit(trt: ModuleType, engine: Any, logger: Any, onnx: Path) -> None:
    """Put the weights of the ONNX file into a stripped engine."""
    refitter = trt.Refitter(engine, logger)
    if not trt.OnnxParserRefitter(refitter, logger).refit_from_file(str(onnx)) or not refitter.refit_cuda_engine():
        raise OptionError(
            f"the stripped engine of {onnx.name} does not take its weights; run edge-ad engines build BUNDLE again"
        )
