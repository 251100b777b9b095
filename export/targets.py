"""What exports share: limits, and what is checked before any work: the engines that follow, the folder written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_ad.bundle import MANIFEST
from edge_ad.errors import OptionError
from edge_ad.runtime.engines.library import LIBRARIES, Capability
from edge_ad.runtime.engines.make import EngineOptions, checked

#: Bytes of weights above which they go into a file beside the graph: protobuf ends at 2 GB.
INLINE_LIMIT = 1 << 30


def engine_options(targets: Sequence[str], capabilities: Sequence[Capability], max_batch: int) -> list[EngineOptions]:
    """The engines to build after the graphs. OptionError for those that cannot be built here."""
    if unknown := sorted(set(targets) - {"onnx", *LIBRARIES}):
        raise OptionError(f'--target "{unknown[0]}" is not known; use onnx, {", ".join(LIBRARIES)} or several')
    if capabilities and "trt-rtx" not in targets:
        raise OptionError("--sm is for --target trt-rtx; onnx needs none, and tensorrt builds for this machine's card")
    return [
        checked(EngineOptions(library, tuple(capabilities) if library == "trt-rtx" else (), max_batch))
        for library in LIBRARIES
        if library in targets
    ]


def refuse_foreign(out: Path) -> None:
    """A folder that is there and is no bundle is not replaced: OptionError."""
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise OptionError(f'--out "{out}" exists and is no bundle; give another name')
