"""Which library runs the graphs: the one switch `--provider`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_ad.bundle import Graph
from edge_ad.bundle_files import Bundle
from edge_ad.errors import OptionError
from edge_ad.runtime.sessions.base import Session, SessionOptions
from edge_ad.runtime.sessions.card import card_count

PROVIDERS = ("auto", "cpu", "cuda", "trt-rtx", "tensorrt", "openvino")
#: Those of `PROVIDERS` that compute on a processor; the others need a card.
ON_PROCESSOR = ("cpu", "openvino")
# what is rounded to bf16 where the processor has it; distances and scores keep fp32
_HALF_GRAPHS = ("denoiser", "encoder", "decoder", "drawing")


def choose_provider(provider: str) -> str:
    """The provider to use for "auto": cuda where there is a card, else openvino where installed, else cpu.

    Raises OptionError for an unknown name.
    """
    if provider not in PROVIDERS:
        raise OptionError(f'--provider "{provider}" is not known; use one of {", ".join(PROVIDERS)}')
    if provider != "auto":
        return provider
    if card_count():
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            return "cuda"
    return "openvino" if importlib.util.find_spec("openvino") else "cpu"


def each_session(bundle: Bundle, provider: str, options: SessionOptions) -> Iterator[tuple[str, Session]]:
    """The graphs of a bundle by name, each with a session of it that is opened when its turn comes.

    provider: as `choose_provider` returns it. "trt-rtx" runs the bundle's engines. "tensorrt" runs its TensorRT engines
    where it has some, and is then refused if none fits this machine; a bundle without them runs in ONNX Runtime's
    TensorRT provider. OptionError when it cannot run here.
    """
    built = any(engine.library == "tensorrt" for engine in bundle.manifest.engines.values())
    if provider == "trt-rtx" or (provider == "tensorrt" and built):
        from edge_ad.runtime.sessions.engine import each_engine

        yield from each_engine(bundle, provider, options)
        return
    for name in bundle.manifest.graphs:
        yield name, _open(bundle, name, provider, options)


def open_sessions(bundle: Bundle, provider: str, options: SessionOptions) -> dict[str, Session]:
    """All sessions of `each_session`, by the name of the graph; a processor's two at a time, if it has the threads."""
    if provider not in ON_PROCESSOR or options.threads == 1:
        return dict(each_session(bundle, provider, options))
    graphs = bundle.manifest.graphs
    size = {name: sum(bundle.file(file).stat().st_size for file in graph.paths) for name, graph in graphs.items()}
    with ThreadPoolExecutor(2) as pool:  # the largest first, so that none is left to wait for at the end
        opened = {
            name: pool.submit(_open, bundle, name, provider, options) for name in sorted(graphs, key=lambda n: -size[n])
        }
        return {name: opened[name].result() for name in graphs}


def _open(bundle: Bundle, name: str, provider: str, options: SessionOptions) -> Session:
    graph = bundle.manifest.graphs[name]
    # the bundle was verified: its files are what the manifest says
    digest = bundle.graph_digest(name)
    half = not any(other.quantization for other in bundle.manifest.graphs.values())
    session = open_session(name, bundle.file(graph.file), graph, provider, options, digest, half=half)
    if not getattr(session, "from_cache", False):  # the bundle may have been replaced since it was verified
        bundle.check_unchanged(graph.paths)
    return session


def open_session(
    name: str,
    path: Path,
    graph: Graph,
    provider: str,
    options: SessionOptions,
    digest: str | None = None,
    *,
    half: bool = True,
) -> Session:
    """Load graph `name` from the ONNX file `path` with a provider of `choose_provider`, an engine's excepted.

    digest: of its files; what a provider compiles may then be kept in the user's cache. half: OpenVINO may round to
    bf16, which a quantized bundle does without: its thresholds hold for its precision, whoever runs it.

    OptionError when it cannot run here.
    """
    if provider == "trt-rtx":
        raise OptionError("--provider trt-rtx runs engines of a bundle, not an ONNX graph; use --provider cuda")
    if provider == "openvino":
        from edge_ad.runtime.sessions.openvino import OpenVinoSession

        return OpenVinoSession(path, graph, options, half=half and name in _HALF_GRAPHS, digest=digest)
    from edge_ad.runtime.sessions.onnx import OnnxSession

    return OnnxSession(path, graph, options, provider)
