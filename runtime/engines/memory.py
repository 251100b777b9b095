"""How much memory a build and an engine need, estimated before the work."""

from __future__ import annotations

from pathlib import Path

from edge_ad.bundle import Graph

GIB = 1 << 30
# The library itself, and how often it holds the weights while it compiles. Measured with TensorRT-RTX 1.7 on fp16
# graphs: the SD 1.5 UNet (1.7 GB) peaked at 6 GB, nano's denoiser (17 MB) at 0.6 GB
_LIBRARY_BYTES = GIB
_WEIGHT_COPIES = 3.0


def build_bytes(files: list[Path]) -> int:
    """Host memory that building a graph of these files needs, an estimate."""
    return int(_LIBRARY_BYTES + _WEIGHT_COPIES * sum(path.stat().st_size for path in files))


def run_bytes(graph: Graph, files: list[Path], rows: int) -> int:
    """Card memory that an engine needs with `rows` rows in its batch: weights and activations, an estimate."""
    width = 2 if graph.precision in ("fp16", "bf16") else 4
    return sum(path.stat().st_size for path in files) + graph.row_bytes * rows * width // 4


def available_bytes() -> int | None:
    """Host memory that a new process may take, within this container's limit; None where the system does not say."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # files that are kept in memory make room when it is needed
        used = int((group / "memory.current").read_text()) - int(stat["active_file"]) - int(stat["inactive_file"])
        return min(available, max(limit - used, 0))
    except (OSError, ValueError, KeyError):  # no limit
        return available


def memory_text(value: int) -> str:
    """ "1.4 GiB", or "93 MiB" where that is less than one."""
    return f"{value / GIB:.1f} GiB" if value >= GIB else f"{value / (1 << 20):.0f} MiB"
