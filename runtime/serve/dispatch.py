"""Between the queue and the worker: one batch at a time, and every job of it answered."""

from __future__ import annotations

import asyncio
import time

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.serve.accelerator import Accelerator
from edge_ad.runtime.serve.batches import Batches, Job
from edge_ad.runtime.serve.decision import InspectionFailed, WorkerDied
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.metrics import Metrics
from edge_ad.runtime.serve.supervisor import Supervisor

#: A worker is not taken for hung before this many times what a full batch of the product took at its warm-up.
_SLOWER = 5.0
#: A worker that fails so many batches in a row is replaced: after some errors a card fails whatever its process does.
_FAILURES = 3


class Dispatcher:
    """Feeds the worker from the queue.

    timeout: seconds after which a worker that does not answer is taken for hung, and killed; longer for a bundle whose
    full batch takes long. seconds_an_image: what an image took of late, a moving mean.
    """

    def __init__(self, batches: Batches, supervisor: Supervisor, metrics: Metrics, timeout: float):
        self.seconds_an_image = 0.1
        self._batches = batches
        self._supervisor = supervisor
        self._metrics = metrics
        self._timeout = timeout
        self._failures = 0  # in a row

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            worker = await self._supervisor.worker()
            jobs = [job for job in await self._batches.next() if not job.found.done()]
            if not jobs:
                continue
            if worker.died.is_set():
                self._batches.put_back(jobs)
                await asyncio.sleep(0)  # lets the supervisor see it too
                continue
            await self._one(worker, jobs)

    async def _one(self, worker: Accelerator, jobs: list[Job]) -> None:
        began = time.monotonic()
        for job in jobs:
            job.started = began
            job.begun()
        self._metrics.batch(len(jobs))
        asking = worker.inspect(
            jobs[0].product.slot,
            [job.image for job in jobs],
            [job.category for job in jobs],
            [job.size for job in jobs],
        )
        timeout = max(self._timeout, _SLOWER * jobs[0].product.about["batch_seconds"])
        try:
            found = await asyncio.wait_for(asking, timeout)
        except asyncio.TimeoutError:
            log("worker hangs", level="error", seconds=timeout)
            worker.kill()
            _fail(jobs, WorkerDied(f"the worker did not answer in {timeout:.3g} s"))
            await worker.died.wait()
            self._failures = 0
            return
        except Exception as error:
            failure = error if isinstance(error, EdgeAdError) else InspectionFailed(f"the worker failed: {error}")
            _fail(jobs, failure)
            await self._failed(worker, failure)
            return
        self._failures = 0
        seconds = (time.monotonic() - began) / len(jobs)
        self.seconds_an_image += 0.2 * (seconds - self.seconds_an_image)
        for job, result in zip(jobs, found):
            if "error" in result[0]:
                job.fail(InspectionFailed(result[0]["error"]))
            elif not job.found.done():
                job.found.set_result(result)

    async def _failed(self, worker: Accelerator, error: EdgeAdError) -> None:
        """Count a batch that failed by no fault of its images or bundle; replace a worker that fails all."""
        if isinstance(error, InspectionFailed):
            self._failures += 1
        if self._failures >= _FAILURES and not worker.died.is_set():
            log("worker fails", level="error", batches=self._failures, reason=str(error))
            worker.kill()
            await worker.died.wait()
        if worker.died.is_set():
            self._failures = 0


def _fail(jobs: list[Job], error: EdgeAdError) -> None:
    for job in jobs:
        job.fail(error)
