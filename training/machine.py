"""On what a training runs: an `Accelerator` for the device, the precision and the processes of one training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch

from edge_ad.errors import OptionError
from edge_ad.progress import Step, progress

Precision = Literal["auto", "no", "bf16", "fp16"]


def find_device(name: str) -> torch.device:
    """The kind of device that `auto`, `cpu` or `cuda` stands for here.

    Raises:
        OptionError: "cuda" where PyTorch finds no card.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: PyTorch finds no CUDA card here; use --device cpu or see edge-ad doctor")
    return torch.device(name)


def find_precision(name: str, device: torch.device) -> str:
    """What "auto" stands for on a device, and whether the precision can be had there.

    auto: bf16 where the hardware multiplies matrices in it (cards from Ampere on, processors with AMX or AVX512-BF16),
    else fp16 on a card and "no" (float32) on a processor.

    Returns:
        "no", "bf16" or "fp16".

    Raises:
        OptionError: an unknown name, or fp16 on a processor.
    """
    if name not in get_args(Precision):
        raise OptionError(f"--mixed-precision {name} is not known; use {', '.join(get_args(Precision))}")
    if name == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if _cpu_has_bf16() else "no"
    if name == "fp16" and device.type == "cpu":
        raise OptionError("--mixed-precision fp16 needs a CUDA card; use bf16 or no on a processor")
    return name


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies matrices in bf16; emulated, it would be slower than float32."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # PyTorch 2.6 has no public name for them
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def make_accelerator(device: str = "auto", precision: str = "auto", accumulate: int = 1) -> Any:
    """An `accelerate.Accelerator`; the processes are those that `accelerate launch` or `torchrun` started.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: "auto", "no", "bf16" or "fp16".
        accumulate: parts of a batch whose gradients are added up before one step.

    Raises:
        OptionError: no such device or precision here.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    found = find_device(device)
    mixed = find_precision(precision, found)
    # accelerate's state belongs to the process and refuses another precision: a second training begins anew
    AcceleratorState._reset_state(reset_partial_state="LOCAL_RANK" not in os.environ)
    return Accelerator(cpu=found.type == "cpu", mixed_precision=mixed, gradient_accumulation_steps=accumulate)


def check_split(batch: int, parts: int, option: str) -> None:
    """OptionError unless a batch can be split into equal parts, one for each process and accumulation."""
    if batch % parts:
        raise OptionError(
            f"{option} {batch} cannot be split into {parts} equal parts (processes times --accumulate); "
            f"use a multiple of {parts}"
        )


@contextmanager
def shown(description: str, total: int, main: bool) -> Iterator[Step]:
    """`progress`, shown by the main process only."""
    if main:
        with progress(description, total) as tick:
            yield tick
        return
    with open(os.devnull, "w") as nowhere, progress(description, total, stream=nowhere) as tick:
        yield tick
