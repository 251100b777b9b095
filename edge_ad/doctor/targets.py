"""Which targets can be built here, from a run or, engines, from a bundle; which can be run here; and why not."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from edge_ad.doctor.check import Check
from edge_ad.doctor.machine import Machine
from edge_ad.doctor.packages import installed

# compute capabilities that TensorRT-RTX 1.7 builds for (trt.ComputeCapability): RTX cards, not data centres
TRT_RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))


@dataclass(frozen=True)
class Target:
    """Whether a target can be built and run here; a reason is empty when it can, else it ends with the mend."""

    name: str
    can_build: bool
    why_not_build: str
    can_run: bool
    why_not_run: str


def _missing(names: tuple[str, ...], extra: str) -> str:
    absent = [name for name in names if installed(name) is None]
    return f'{", ".join(absent)} not installed: pip install "edge-ad[{extra}]"' if absent else ""


def _export_reason() -> str:
    if sys.version_info < (3, 11):
        return f"export needs Python 3.11 or later, this is {sys.version_info.major}.{sys.version_info.minor}"
    return _missing(("torch", "diffusers", "onnx", "onnxscript"), "export")


def _capability_reason(machine: Machine) -> str:
    known = [card.compute_capability for card in machine.cards if card.compute_capability]
    if not machine.cards:
        return "no NVIDIA card (nvidia-smi finds none)"
    if known and not set(known) & set(TRT_RTX_CAPABILITIES):
        names = ", ".join(f"{major}.{minor}" for major, minor in known)
        return f"TensorRT-RTX does not support compute capability {names}: use the tensorrt target"
    return ""


def find_targets(machine: Machine, providers: list[Check], openvino: list[Check]) -> list[Target]:
    """The targets `onnx`, `openvino`, `trt-rtx` and `tensorrt`, judged from packages, card and what ran."""
    export = _export_reason()
    cpu = next((check for check in providers if check.name == "CPUExecutionProvider"), providers[0])
    onnx_run = "" if cpu.ok else f"{cpu.detail}: {cpu.mend}"
    openvino_run = "" if any(check.ok for check in openvino) else f"{openvino[0].detail}: {openvino[0].mend}"
    # engines are built from a bundle's ONNX graphs, which needs nothing of the export extra
    rtx = _missing(("tensorrt-rtx",), "trt-rtx")
    if machine.jetson:
        rtx = "TensorRT-RTX is not made for Jetson: use the tensorrt target"
    rtx_run = rtx or _capability_reason(machine) or _missing(("cuda-bindings",), "trt-rtx")
    # a TensorRT engine is built on the card that runs it; TensorRT-RTX builds without one
    no_card = "" if machine.cards or machine.jetson else "no NVIDIA card (nvidia-smi finds none)"
    trt = _missing(("tensorrt",), "tensorrt") or no_card
    reasons = {
        "onnx": (export, onnx_run),
        "openvino": (export, openvino_run),
        "trt-rtx": (rtx, rtx_run),
        "tensorrt": (trt, trt or _missing(("cuda-bindings",), "tensorrt")),
    }
    return [Target(name, not build, build, not run, run) for name, (build, run) in reasons.items()]


def as_checks(targets: list[Target]) -> list[Check]:
    """Two lines a target. Only `onnx` not running is wrong: every bundle needs it, the others are a choice."""
    checks = []
    for target in targets:
        checks.append(Check(f"build {target.name}", True if target.can_build else None, target.why_not_build or "yes"))
        state = True if target.can_run else (False if target.name == "onnx" else None)
        checks.append(Check(f"run {target.name}", state, target.why_not_run or "yes"))
    return checks
