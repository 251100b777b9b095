"""Facts about this machine: processor, memory, disk and NVIDIA cards. Nothing here imports a heavy package."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_ad.processor import this_processor

QUERY = ("--query-gpu=name,compute_cap,driver_version,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Card:
    """An NVIDIA card: compute capability as (major, minor), or None where the driver does not say it."""

    name: str
    compute_capability: tuple[int, int] | None
    driver: str
    memory_mib: int | None


@dataclass(frozen=True)
class Machine:
    """Bytes for memory and disk; None where the system does not say."""

    platform: str
    processor: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_total: int | None
    memory_available: int | None
    disk_free: dict[str, int]
    cards: tuple[Card, ...]
    jetson: str | None


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """Total and available memory in bytes, from the text of /proc/meminfo."""
    fields = {line.partition(":")[0]: line.split()[1] for line in text.splitlines() if len(line.split()) >= 2}
    total, available = fields.get("MemTotal"), fields.get("MemAvailable")
    return int(total) * 1024 if total else None, int(available) * 1024 if available else None


def parse_cards(text: str) -> tuple[Card, ...]:
    """Cards from the CSV that nvidia-smi prints for `QUERY`: name, compute capability, driver, memory in MiB."""
    cards = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4:
            continue
        name, capability, driver, memory = fields
        major, _, minor = capability.partition(".")
        known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
        cards.append(Card(name, known, driver, int(memory) if memory.isdigit() else None))
    return tuple(cards)


def find_cards() -> tuple[Card, ...]:
    """Ask nvidia-smi for the cards; none where it is absent, fails or does not answer in 20 s."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run([program, *QUERY], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_cards(answer.stdout) if answer.returncode == 0 else ()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def examine() -> Machine:
    """Look at this machine."""
    processor, features = this_processor()
    total, available = parse_meminfo(_read("/proc/meminfo"))
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit() and total is not None:  # a container may have less than the machine
        total = min(total, int(limit))
        available = min(available or total, total)
    model = _read("/proc/device-tree/model").strip("\0\n ")
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        platform=platform.platform(),
        processor=processor,
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        cpu_features=features,
        memory_total=total,
        memory_available=available,
        disk_free={str(folder): shutil.disk_usage(folder).free for folder in (Path.cwd(), Path(tempfile.gettempdir()))},
        cards=find_cards(),
        jetson=model if "jetson" in model.lower() else None,
    )
