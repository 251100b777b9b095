"""The two libraries that build engines, what they are called, and for which compute capabilities they build."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from types import ModuleType

from edge_ad.errors import OptionError

Capability = tuple[int, int]
LIBRARIES = ("trt-rtx", "tensorrt")
_MODULES = {"trt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
# TensorRT-RTX is for cards, not for data centres or Jetson: what it cannot build for goes to TensorRT
_ELSEWHERE = "for other cards, data centres and Jetson use tensorrt on the machine itself"


def installed(library: str) -> bool:
    """Whether the library's module is installed. It is not imported."""
    return importlib.util.find_spec(_MODULES[library]) is not None


def load_library(library: str) -> ModuleType:
    """The module `tensorrt_rtx` or `tensorrt`. OptionError when it is unknown, not installed, or cannot start."""
    if library not in LIBRARIES:
        raise OptionError(f'--library "{library}" is not known; use {" or ".join(LIBRARIES)}')
    if not installed(library):
        raise OptionError(
            f'{library} needs {_MODULES[library]}, which is not installed: pip install "edge-ad[{library}]"'
        )
    try:
        if library == "trt-rtx":
            import tensorrt_rtx as module
        else:
            import tensorrt as module
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OptionError(f'{library} is installed but cannot start ({reason}); see "edge-ad doctor"') from error
    return module


def default_library() -> str:
    """`trt-rtx` where installed, else `tensorrt`; OptionError where neither is."""
    for library in LIBRARIES:
        if installed(library):
            return library
    raise OptionError(
        'no engine library is installed: pip install "edge-ad[trt-rtx]" for RTX cards, or "edge-ad[tensorrt]"'
    )


def parse_capability(text: str) -> Capability:
    """(8, 6) from "8.6", "86", "sm86" or "sm_86". OptionError for anything else."""
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text.strip().lower())
    if match is None:
        raise OptionError(f'--sm "{text}" is no compute capability; write it like 8.6, several like 7.5,8.6')
    return int(match[1]), int(match[2])


def parse_capabilities(texts: Iterable[str]) -> tuple[Capability, ...]:
    """Each capability once, from option values that may hold several with commas."""
    parts = [part for text in texts for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(parse_capability(part) for part in parts))


def capability_text(capability: Capability) -> str:
    """ "8.6" from (8, 6)."""
    return f"{capability[0]}.{capability[1]}"


def known_capabilities(module: ModuleType) -> tuple[Capability, ...]:
    """The compute capabilities that a library can build for without their card; none for TensorRT."""
    members = getattr(getattr(module, "ComputeCapability", None), "__members__", {})
    numbers = [name.removeprefix("SM") for name in members if name.startswith("SM")]
    return tuple(sorted((int(number[:-1]), int(number[-1])) for number in numbers))


def check_capabilities(
    library: str, module: ModuleType, wanted: tuple[Capability, ...], card: Capability | None
) -> tuple[Capability, ...]:
    """The compute capabilities to build for: those wanted, or the card's own where none is.

    TensorRT-RTX builds for cards that are not there; TensorRT builds on the card that will run the engine, and for it
    alone. Raises OptionError for what cannot be built here.
    """
    if library == "tensorrt":
        if card is None:
            raise OptionError(
                "tensorrt builds on the card that runs the engine, and this machine has none: "
                "run edge-ad engines build BUNDLE --library tensorrt there, or use trt-rtx, which needs no card"
            )
        if other := [capability for capability in wanted if capability != card]:
            raise OptionError(
                f"--sm {capability_text(other[0])}: tensorrt builds for the card of this machine alone, which is "
                f"{capability_text(card)}; leave --sm out, or build on the other machine"
            )
        return (card,)
    known = known_capabilities(module)
    names = ", ".join(map(capability_text, known))
    if not wanted:
        if card is None:
            raise OptionError(f"--sm is needed, as this machine has no card; trt-rtx builds for {names}")
        wanted = (card,)
    for capability in wanted:
        if capability not in known:
            raise OptionError(
                f"--sm {capability_text(capability)}: trt-rtx {module.__version__} builds for {names}; {_ELSEWHERE}"
            )
    return tuple(dict.fromkeys(wanted))


def target_name(library: str, capability: Capability, precision: str) -> str:
    """The folder of an engine below engines/, such as "trt-rtx-sm86-fp16"."""
    return f"{library}-sm{capability[0]}{capability[1]}-{precision}"
