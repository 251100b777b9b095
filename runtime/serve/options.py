"""What `edge-ad serve` can be told about its work, apart from the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StationOptions:
    """Settings of a station.

    records: folder of the database and the pictures. provider, plan, seed, threads, memory: as `Detector.load` has
    them.
    max_batch: images in one batch. max_delay: seconds that the oldest image waits for others to fill its batch.
    queue: images that may wait; more are refused. deadline: seconds an image may take, where its request says nothing.
    worker_timeout: seconds after which a batch is given up and the worker started anew; five times what a full batch
    took at the warm-up, where that is longer. allow_uncalibrated: load bundles without thresholds too. max_pixels: of
    one image. keep_days: records are removed after so long; None keeps them. keep_bytes: pictures are removed, oldest
    first, above this; None keeps them. bundle_folders: where bundles may be loaded from while the station runs.
    cascade: inpaint only what the prototypes leave in doubt.
    """

    records: Path
    provider: str = "auto"
    plan: str | None = None
    seed: int = 0
    threads: int | None = None
    memory: int | None = None
    max_batch: int = 8
    max_delay: float = 0.005
    queue: int = 64
    deadline: float = 30.0
    worker_timeout: float = 120.0
    allow_uncalibrated: bool = False
    max_pixels: int = 50_000_000
    keep_days: float | None = None
    keep_bytes: int | None = None
    bundle_folders: tuple[Path, ...] = ()
    cascade: bool = False
