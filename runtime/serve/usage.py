"""Memory in use, for /metrics: the worker's, and the card's."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def resident_bytes(pid: int | None) -> float:
    """Resident memory of a process; NaN where the system does not tell (not Linux) or the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float("nan")


def device_bytes() -> float:
    """Memory in use on the first NVIDIA card, by its management library (NVML); NaN without one."""
    try:
        library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        if library.nvmlInit_v2() != 0:
            return float("nan")
        try:
            card, memory = ctypes.c_void_p(), _Memory()
            if library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(card)) != 0:
                return float("nan")
            if library.nvmlDeviceGetMemoryInfo(card, ctypes.byref(memory)) != 0:
                return float("nan")
            return float(memory.used)
        finally:
            library.nvmlShutdown()
    except (OSError, AttributeError):
        return float("nan")
