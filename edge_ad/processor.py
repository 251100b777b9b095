"""Which processor this machine has."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# what decides the speed of the bf16 and int8 paths on a CPU (names as in /proc/cpuinfo)
CPU_FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """The processor's name and those of `CPU_FEATURES` it has, from the text of /proc/cpuinfo (x86 and Arm)."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = (fields.get("flags") or fields.get("features") or "").split()
    return fields.get("model name", ""), tuple(name for name in CPU_FEATURES if name in flags)


def clamps_int8_sums(machine: str, features: Iterable[str]) -> bool:
    """Whether a processor may add two products of uint8 and int8 in 16 bits, where they overflow and are clamped.

    x86 without VNNI or AMX does. machine: as `platform.machine` says. features: of `CPU_FEATURES`; it may where the
    system does not tell them.
    """
    return machine.lower() in ("x86_64", "amd64") and not {"avx_vnni", "avx512_vnni", "amx_int8"} & set(features)


@cache
def this_processor() -> tuple[str, tuple[str, ...]]:
    """Name and `CPU_FEATURES` of the processor here, as far as the system says."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name, features = parse_cpuinfo(text)
    return name or platform.processor() or platform.machine(), features
