"""What a bundle costs on this machine: counted FLOPs and bytes beside measured times, and the share of the peak."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle_files import Bundle
from edge_ad.errors import OptionError
from edge_ad.runtime.costs import PlanCost, bundle_plan_cost
from edge_ad.runtime.detector import Detector
from edge_ad.runtime.gemm import measure_peak
from edge_ad.runtime.sessions.choose import choose_provider


def profile(
    bundle: Bundle,
    image: NDArray[np.uint8],
    category: str,
    plans: Sequence[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
    repeats: int = 5,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Inspect `image` (uint8 H,W,3) `repeats` times a plan, after one warm-up, and measure the machine's peak.

    step: called after every inspection and after the peak. Returns plain data for JSON: times in seconds, medians over
    the repeats, `spread` half of the largest minus the smallest; `traffic` and `peak_memory` in bytes; `cascade` (see
    `cascade_row`) of plans that can have one. Plans with fewer FLOPs come first, since a process's peak memory never
    falls. Errors as `Detector.load`.
    """
    kind = choose_provider(provider)
    costs = {name: bundle_plan_cost(bundle, name, category) for name in plans}
    found: dict[str, Any] = {}
    load_seconds, precision = 0.0, ""
    for name in sorted(plans, key=lambda name: (costs[name].flops, costs[name].evaluations)):
        start = time.perf_counter()
        detector = Detector.load(bundle, provider=kind, plan=name, threads=threads, memory=memory)
        load_seconds = load_seconds or time.perf_counter() - start
        precision = detector.precision
        runs = []
        for _ in range(repeats + 1):
            runs.append(detector.inspect(image, category).times)
            step()
        found[name] = {
            "masks": costs[name].inpaintings,
            "evaluations": costs[name].evaluations,
            "encodings": costs[name].encodings,
            "decodings": costs[name].decodings,
            "stages": stage_rows(runs[1:], costs[name]),
            "peak_memory": peak_memory(),
        }
        if detector.can_cascade(category):
            found[name]["cascade"] = cascade_row(found[name]["stages"])
        del detector
    gemm: dict[str, Any] = {"flops_per_second": None, "size": None, "precision": None, "reason": None}
    try:
        peak = measure_peak(kind, half=bundle.graph("denoiser").precision == "fp16", threads=threads)
        gemm |= {"flops_per_second": peak.flops_per_second, "size": peak.size, "precision": peak.precision}
    except OptionError as error:
        gemm["reason"] = str(error)
    step()
    for plan in found.values():
        for row in plan["stages"]:
            fast = gemm["flops_per_second"] and row["flops_per_second"]
            row["of_peak"] = row["flops_per_second"] / gemm["flops_per_second"] if fast else None
    return {
        "bundle": str(bundle.source),
        "category": category,
        "provider": kind,
        "precision": precision,
        "threads": threads,
        "cores": os.cpu_count(),
        "repeats": repeats,
        "load_seconds": load_seconds,
        "gemm": gemm,
        "plans": found,
    }


def cascade_row(stages: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What a cascade takes: seconds of a part that prototypes decide, and of one that goes the whole way, the worst."""
    times = {row["stage"]: float(row["seconds"]) for row in stages}
    first = sum(times.get(stage, 0.0) for stage in ("resize", "features", "prototypes"))
    return {"seconds_prototypes": first, "seconds_worst": times["total"]}


def stage_rows(times: Sequence[dict[str, float]], cost: PlanCost) -> list[dict[str, Any]]:
    """One row a stage in the order of the work, "other" for what no stage covers, and "total".

    times: `Inspection.times` of each repeat. FLOPs, bytes and rows are None where they are not counted.
    """
    known = {stage.stage: stage for stage in cost.stages}
    stages = [name for name in times[0] if name != "total"]
    series = {name: [one[name] for one in times] for name in stages}
    totals = [one["total"] for one in times]
    series["other"] = [whole - sum(one[name] for name in stages) for one, whole in zip(times, totals)]
    series["total"] = totals
    whole = statistics.median(totals)
    rows = []
    for name, values in series.items():
        stage = known.get(name)
        flops = cost.flops if name == "total" and cost.known else stage.flops if stage else None
        traffic = cost.traffic if name == "total" and cost.known else stage.traffic if stage else None
        median = statistics.median(values)
        rows.append(
            {
                "stage": name,
                "rows": stage.rows if stage else None,
                "flops": flops,
                "traffic": traffic,
                "seconds": median,
                "spread": (max(values) - min(values)) / 2,
                "share": median / whole,
                "flops_per_second": flops / median if flops and median else None,
                "bytes_per_second": traffic / median if traffic and median else None,
            }
        )
    return rows


def drawn_image(size: int) -> NDArray[np.uint8]:
    """Rings on a slope with a little noise, the same every time: uint8 size,size,3. Times do not depend on content."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    rings = 40 * np.sin(18 * np.hypot(x, y)) + 30 * x + 120
    noisy = rings[..., None] * np.array([1, 0.9, 0.8]) + rng.normal(0, 4, (size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def peak_memory() -> int | None:
    """The most memory this process has had resident, bytes; None on systems that do not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
