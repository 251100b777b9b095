"""What a library says of an engine file without running it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


def header_problem(trt: ModuleType, path: Path) -> str | None:
    """Why this library cannot take the engine: "" where it can, None where it cannot tell, as without a driver.

    TensorRT-RTX reads an engine's header without a card; only what concerns the file and its version is looked at.
    """

    class Quiet(trt.ILogger):  # type: ignore[name-defined]
        def log(self, severity: Any, message: str) -> None:
            """Nothing: the answer says it all."""

    logger = Quiet()
    try:
        runtime = trt.Runtime(logger)
    except TypeError:  # the bindings' way to say that tensorrt cannot use the card
        return None
    if not hasattr(runtime, "get_engine_validity"):
        return None
    _, diagnostics = runtime.get_engine_validity(path.read_bytes())
    known = trt.EngineInvalidityDiagnostics
    if diagnostics & int(known.MALFORMED_ENGINE):
        return "it is no engine of this library"
    if diagnostics & int(known.VERSION_MISMATCH):
        return "it was built by another version of the library"
    return ""
