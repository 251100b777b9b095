"""The queue in front of the worker, and which of its images go into the next batch."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.serve.products import Product

#: What the worker found of one image: the result, its score map float32 S,S, and the inpainted picture uint8 S,S,3.
Found = tuple[dict[str, Any], NDArray[Any], NDArray[Any]]


@dataclass(eq=False)
class Job:
    """One image on its way: prepared for the worker, waiting for what it finds.

    image: uint8 S,S,3, resized from size (H, W). queued: `time.monotonic()` when it joined the queue; started: when it
    left for the worker. begun: called then. alone: it shares its batch with no other.
    """

    product: Product
    category: str
    image: NDArray[Any]
    size: tuple[int, int]
    found: asyncio.Future[Found]
    alone: bool = False
    queued: float = field(default_factory=time.monotonic)
    started: float = 0.0
    begun: Callable[[], None] = lambda: None

    def fail(self, error: EdgeAdError) -> None:
        """Answer with an error, unless it has an answer."""
        if not self.found.done():
            self.found.set_exception(error)


class Batches:
    """Jobs in the order they came, taken in batches of one product.

    A batch is taken when it is full or its oldest job has waited `max_delay` seconds. The oldest job of all decides the
    product, so that none starves; one that is to be alone is a full batch.
    """

    def __init__(self, max_batch: int, max_delay: float):
        self.max_batch = max_batch
        self.max_delay = max_delay
        self._jobs: list[Job] = []
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Add a job at the end."""
        self._jobs.append(job)
        self._arrived.set()

    def put_back(self, jobs: list[Job]) -> None:
        """Return jobs that were taken but not begun, to the front."""
        self._jobs[:0] = jobs
        self._arrived.set()

    def discard(self, job: Job) -> None:
        """Take a job out, if it is still here."""
        if job in self._jobs:
            self._jobs.remove(job)

    def clear(self) -> list[Job]:
        """Take all jobs out."""
        jobs, self._jobs = self._jobs, []
        return jobs

    async def next(self) -> list[Job]:
        """Wait for the next batch and take it: 1 to `max_batch` jobs of one product."""
        while True:
            self._arrived.clear()
            left: float | None = None
            if self._jobs:
                oldest = self._jobs[0]
                fitting = (job for job in self._jobs if job.product is oldest.product and not job.alone)
                batch = [oldest] if oldest.alone else list(itertools.islice(fitting, self.max_batch))
                left = oldest.queued + self.max_delay - time.monotonic()
                if oldest.alone or len(batch) == self.max_batch or left <= 0:
                    taken = set(map(id, batch))
                    self._jobs = [job for job in self._jobs if id(job) not in taken]
                    return batch
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except asyncio.TimeoutError:
                continue
