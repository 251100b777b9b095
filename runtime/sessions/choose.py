"""Which library runs the graphs: the one switch `--provider`."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from edge_ad.bundle import Graph
from edge_ad.errors import OptionError
from edge_ad.runtime.sessions.base import Session, SessionOptions

PROVIDERS = ("auto", "cpu", "cuda", "tensorrt", "openvino")
# what is rounded to bf16 where the processor has it; distances and scores keep fp32
_HALF_GRAPHS = ("denoiser", "encoder", "decoder")


def card_count() -> int:
    """NVIDIA cards that this machine's driver can use; 0 without a driver. Loads the driver's library only."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
        return count.value
    except (OSError, AttributeError):
        return 0


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


def open_session(name: str, path: Path, graph: Graph, provider: str, options: SessionOptions) -> Session:
    """Load graph `name` from `path` with a provider of `choose_provider`. OptionError when it cannot run here."""
    if provider == "openvino":
        from edge_ad.runtime.sessions.openvino import OpenVinoSession

        return OpenVinoSession(path, graph, options, half=name in _HALF_GRAPHS)
    from edge_ad.runtime.sessions.onnx import OnnxSession

    return OnnxSession(path, graph, options, provider)
