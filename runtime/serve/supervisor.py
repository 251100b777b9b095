"""Keeps one worker running: starts it, loads its bundles, and starts another when it dies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_ad.errors import BundleError, BundleUnavailable, OptionError
from edge_ad.runtime.serve.accelerator import Accelerator
from edge_ad.runtime.serve.decision import WorkerDied
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.products import Product

#: Seconds before a worker that died is started again; doubled with each death in a row, up to the second number.
_PAUSES = (0.2, 30.0)
#: A worker that lived so long (seconds) did not die in a row.
_LONG = 60.0
#: Seconds that a dead worker gets to be gone, with its unpacked bundles, before the next is started all the same.
_GONE = 10.0


class Supervisor:
    """The worker and the products it has loaded.

    changed: called whenever the worker came up or died. lost: called with a product whose bundle has become unusable;
    for any other failure the next worker is tried, as for its death: a card may have no memory yet, a disk no room.
    """

    def __init__(self, options: StationOptions, changed: Callable[[], None], lost: Callable[[Product, str], None]):
        self.restarts = 0
        self._options = options
        self._changed = changed
        self._lost = lost
        self._worker: Accelerator | None = None
        self._up = asyncio.Event()
        self._slots = itertools.count()
        self._products: list[Product] = []
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether a worker runs with all its bundles loaded and warm."""
        return self._up.is_set()

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return None if self._worker is None else self._worker.pid

    async def start(self) -> None:
        """Start the first worker, with nothing loaded."""
        self._worker = Accelerator()
        await self._worker.start()
        self._up.set()
        log("worker started", pid=self.pid)
        self._watching = asyncio.create_task(self._watch(), name="worker watch")

    async def worker(self) -> Accelerator:
        """The worker, once it is up."""
        await self._up.wait()
        assert self._worker is not None  # it is up
        return self._worker

    async def load(self, name: str, path: Path) -> Product:
        """Verify, load and warm up a bundle beside what runs. Raises BundleError, OptionError or InspectionFailed."""
        worker = await self.worker()
        slot = next(self._slots)
        product = Product(name, path, slot, await self._load(worker, slot, path))
        if worker is not self._worker:
            raise WorkerDied("the worker was started anew while the bundle was loaded; load it again")
        self._products.append(product)
        return product

    def unload(self, product: Product) -> None:
        """Let go of a product that nothing uses any more."""
        if product in self._products:
            self._products.remove(product)
            if self._worker is not None and self.is_up:
                task = asyncio.create_task(self._worker.unload(product.slot))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # its death is seen elsewhere

    async def stop(self) -> None:
        """End the worker."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._worker is not None:
            await self._worker.stop()

    async def _load(self, worker: Accelerator, slot: int, path: Path) -> dict[str, Any]:
        options = self._options
        return await worker.load(
            slot=slot,
            path=str(path.absolute()),
            provider=options.provider,
            plan=options.plan,
            seed=options.seed,
            threads=options.threads,
            memory=options.memory,
            cascade=options.cascade,
            allow_uncalibrated=options.allow_uncalibrated,
            warm_batch=options.max_batch,
        )

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause, since = _PAUSES[0], loop.time()
        while True:
            assert self._worker is not None  # started before it is watched
            await self._worker.died.wait()
            self._up.clear()
            self.restarts += 1
            pause = _PAUSES[0] if loop.time() - since > _LONG else min(pause * 2, _PAUSES[1])
            log("worker died", level="error", pid=self.pid, restarts=self.restarts, pause_s=pause)
            self._changed()
            await asyncio.sleep(pause)
            await self._worker.cleared(_GONE)  # or there would have to be room for what both unpack
            self._worker, since = Accelerator(), loop.time()
            try:
                await self._worker.start()
                await self._load_again(self._worker)
            except Exception as error:  # whatever it is, somebody waits for a worker: the next may come up
                log("worker not ready", level="error", error=error)
                self._worker.kill()
                continue
            self._up.set()
            log("worker started", pid=self.pid)
            self._changed()

    async def _load_again(self, worker: Accelerator) -> None:
        for product in list(self._products):
            if product not in self._products:  # taken out while others were loaded
                continue
            try:
                about = await self._load(worker, product.slot, product.path)
            except (BundleError, OptionError) as error:
                if isinstance(error, BundleUnavailable) and not product.retired:
                    raise  # it may be there, or there may be room, the next time
                self.unload(product)
                self._lost(product, str(error))
                continue
            if product not in self._products:
                await worker.unload(product.slot)
                continue
            if about["sha256"] != product.about["sha256"]:
                log("bundle changed on disk", level="warning", product=product.name, bundle_sha256=about["sha256"])
            product.about = about
