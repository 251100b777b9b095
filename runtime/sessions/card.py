"""NVIDIA cards of this machine, asked from the driver's library alone."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# CUdevice_attribute of the driver's interface
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def _driver() -> Any:
    """The started driver, or None without one."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return driver if driver.cuInit(0) == 0 else None
    except (OSError, AttributeError):
        return None


def card_count() -> int:
    """NVIDIA cards that this machine's driver can use; 0 without a driver."""
    driver, count = _driver(), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _device(index: int) -> tuple[Any, ctypes.c_int] | None:
    """The driver and its handle of a card; None where there is no such card."""
    driver, device = _driver(), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    return driver, device


def card_memory(index: int = 0) -> int | None:
    """Bytes that a card has, in use or not; None where there is no such card."""
    found, size = _device(index), ctypes.c_size_t(0)
    if found is None or found[0].cuDeviceTotalMem_v2(ctypes.byref(size), found[1]) != 0:
        return None
    return size.value


def card_capability(index: int = 0) -> tuple[int, int] | None:
    """The compute capability of a card, such as (8, 6); None where there is no such card."""
    found = _device(index)
    if found is None:
        return None
    driver, device = found
    numbers = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
            return None
        numbers.append(value.value)
    return numbers[0], numbers[1]
