"""The station: takes images, has them inspected in batches, records every decision, and tells whoever listens.

All of it runs on one event loop; the model runs in a process of its own, pixels are prepared in threads. An image
either gets a decision, which is then in the records, or an error, and then it is not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.images import check_picture
from edge_ad.runtime.serve import retention, usage
from edge_ad.runtime.serve.batches import Batches, Job
from edge_ad.runtime.serve.counts import DayCounts, midnight
from edge_ad.runtime.serve.decision import (
    Decision,
    Expired,
    InspectionFailed,
    Overloaded,
    State,
    utc_text,
)
from edge_ad.runtime.serve.decoding import check_size
from edge_ad.runtime.serve.dispatch import Dispatcher
from edge_ad.runtime.serve.drift import DriftBoard
from edge_ad.runtime.serve.events import Hub, Listener
from edge_ad.runtime.serve.intake import Intake
from edge_ad.runtime.serve.lines import Throttle, log
from edge_ad.runtime.serve.lock import lock_folder
from edge_ad.runtime.serve.metrics import Metrics
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.outbox import Outbox
from edge_ad.runtime.serve.pictures import PictureStore
from edge_ad.runtime.serve.products import Product
from edge_ad.runtime.serve.protocols import Sink, Source
from edge_ad.runtime.serve.records import Records
from edge_ad.runtime.serve.request import Request, Together
from edge_ad.runtime.serve.shelf import Shelf
from edge_ad.runtime.serve.supervisor import Supervisor
from edge_ad.runtime.serve.tables import Kept
from edge_ad.version import __version__

T = TypeVar("T")

#: Seconds that images get to be decided on when the station stops, from then on; the second number without a worker.
_DRAIN = (30.0, 5.0)
#: Seconds that sinks get to hand on what is left when the station stops.
_SETTLE = 5.0
#: Seconds between two looks at whether counts or queue have changed, for listeners.
_TICK = 1.0


class Station:
    """Owns products, queue, worker, records and events.

    options: settings. bundles: name to bundle of the products to start with. sources and sinks: see `protocols`.
    """

    def __init__(
        self,
        options: StationOptions,
        bundles: Mapping[str, Path],
        sources: Sequence[Source] = (),
        sinks: Sequence[Sink] = (),
    ):
        names = [sink.name for sink in sinks]
        if len(set(names)) != len(names):
            raise InputError(f"two sinks have one name: {', '.join(sorted(names))}; give each its own")
        self.options = options
        self.metrics = Metrics()
        self.pictures = PictureStore(options.records / "pictures")
        self.records: Records
        self._bundles = dict(bundles)
        self._intakes = [Intake(source) for source in sources]
        self._sinks = list(sinks)
        self._supervisor = Supervisor(options, self._worker_changed, self._product_lost)
        self._shelf = Shelf(self._supervisor, options.bundle_folders, self._products_changed)
        self._batches = Batches(options.max_batch, options.max_delay)
        self._dispatcher = Dispatcher(self._batches, self._supervisor, self.metrics, options.worker_timeout)
        self._hub = Hub()
        self._outboxes: list[Outbox] = []
        threads = min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, "pixels")
        self._pixels = asyncio.Semaphore(threads)  # full-size pictures in memory, of however many that wait
        self._lock: IO[bytes] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._open: dict[asyncio.Task[None], Request] = {}
        self._waiting = 0
        self._uploads = 0
        self._counts = DayCounts(time.time(), {})
        self._drift = DriftBoard()
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0  # of the loop's time
        self._started = time.time()
        self._ready = False
        self._refusal_lines: defaultdict[str, Throttle] = defaultdict(lambda: Throttle(1.0))

    @property
    def ready(self) -> bool:
        """Whether an image would be inspected now: started, warm, worker up, a product loaded, not stopping."""
        return self._ready and self._supervisor.is_up and bool(self._shelf.products) and not self._stopping.is_set()

    @property
    def products(self) -> Mapping[str, Product]:
        """What is loaded, by name."""
        return self._shelf.products

    async def start(self) -> None:
        """Open the records, start the worker, load and warm up the bundles, start sources and sinks.

        Raises InputError, BundleError, OptionError or InspectionFailed; `close` is to be called then too.
        """
        self._lock = lock_folder(self.options.records)
        self.records = await Records.open(self.options.records)
        if orphans := await retention.sweep(self.records, self.pictures):
            log("cleared pictures without a record", pictures=orphans)
        now = time.time()
        self._counts = DayCounts(now, await self.records.counts(midnight(now)))
        self._outboxes = [Outbox(sink, self.records) for sink in self._sinks]
        for outbox in self._outboxes:
            await outbox.begin()
        await self._supervisor.start()
        for name, path in self._bundles.items():
            await self._shelf.put(name, path)
        self.metrics.watch("edge_ad_queue_length", "Images that wait for the worker.", lambda: self._waiting)
        self.metrics.watch("edge_ad_ready", "1 when an image would be inspected now.", lambda: self.ready)
        self.metrics.watch(
            "edge_ad_worker_resident_bytes",
            "Resident memory of the worker.",
            lambda: usage.resident_bytes(self._supervisor.pid),
        )
        self.metrics.watch("edge_ad_device_memory_used_bytes", "Memory in use on the first card.", usage.device_bytes)
        works: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "dispatch": self._dispatcher.run,
            "retention": lambda: retention.keep_within(self.records, self.pictures, self.options),
            "tick": self._tick,
            **{f"sink {outbox.sink.name}": outbox.run for outbox in self._outboxes},
        }
        self._tasks += [asyncio.create_task(self._for_ever(name, work), name=name) for name, work in works.items()]
        self._ready = True
        for intake in self._intakes:
            intake.start(self, self._stopping)
        log("ready", products=sorted(self._shelf.products), version=__version__)
        self._changed("ready")

    async def inspect(
        self,
        image: NDArray[np.uint8],
        category: str | None = None,
        *,
        product: str | None = None,
        source: str = "http",
        deadline_s: float | None = None,
        picture: bytes | None = None,
        alone: bool = False,
    ) -> Decision:
        """Decide on one image, and record the decision.

        image: uint8 H,W,3 RGB. category and product: what it shows; each may be left out where the other, or what is
        loaded, leaves no choice. source: where it came from; a word, or a word, a colon and more. deadline_s: seconds
        from now; the options' when None. picture: the file that the image was read from; a PNG is kept as it is.
        alone: in a batch of its own, as what brought the worker down before is best tried again.

        Raises Overloaded when the queue is full or the station not ready, Expired past the deadline, BundleError for
        an unknown category or product, InputError for what is no image or fits several products, InspectionFailed
        when the worker failed. In each of these cases the image has no record.
        """
        self._check_pixels(image)
        return (await self._inspect([(image, picture)], [category], product, source, deadline_s, alone))[0]

    async def inspect_file(
        self,
        data: bytes,
        category: str | None = None,
        *,
        product: str | None = None,
        source: str = "http",
        deadline_s: float | None = None,
        alone: bool = False,
    ) -> Decision:
        """As `inspect`, of an image file's bytes: few are decoded at a time, however many wait.

        Raises what `inspect` does; also NotAnImage, and TooManyPixels above the options' limit (both InputError).
        """
        return (await self._inspect([(data, data)], [category], product, source, deadline_s, alone))[0]

    async def inspect_all(
        self,
        images: Sequence[bytes | NDArray[np.uint8]],
        categories: Sequence[str | None],
        *,
        product: str | None = None,
        source: str = "http",
    ) -> list[Decision]:
        """As `inspect` and `inspect_file`, of images with one answer: the worker gets all of them, or none.

        It gets none where the queue has no room for all, or one cannot be routed or read. What fails later, the worker
        or the deadline, can leave the others with a record. Raises what `inspect` does, for the first that failed;
        InputError too for more images than the queue ever holds.
        """
        if len(images) > self.options.queue:
            raise InputError(f"{len(images)} images are more than the queue of {self.options.queue} holds; send fewer")
        for image in images:
            if not isinstance(image, bytes):
                self._check_pixels(image)
        pictures = [(image, image if isinstance(image, bytes) else None) for image in images]
        return await self._inspect(pictures, categories, product, source, None, False)

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Around the reading of a body: raises Overloaded rather than spend memory on what would be refused."""
        self.check_room()
        if self._uploads >= self.options.queue:
            raise Overloaded("too many images are being sent at once", 1.0)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def check_room(self, images: int = 1) -> None:
        """Raises Overloaded when so many would be refused now; to be asked before they are uploaded or taken."""
        if self._stopping.is_set():
            raise Overloaded("the station is stopping", 5.0)
        if not self.ready:
            up = self._ready and self._supervisor.is_up
            raise Overloaded("no product is loaded" if up else "the station is not ready yet", 2.0)
        if self._waiting + images > self.options.queue:
            wait = max(0.1, self._waiting * self._dispatcher.seconds_an_image)
            full = "the queue is full" if images == 1 else f"the queue has no room for {images} images"
            raise Overloaded(f"{full} ({self._waiting} images wait)", wait)

    def _check_pixels(self, image: NDArray[np.uint8]) -> None:
        check_picture(image)
        check_size(image.shape[0], image.shape[1], self.options.max_pixels)

    async def _inspect(
        self,
        pictures: Sequence[tuple[bytes | NDArray[np.uint8], bytes | None]],
        categories: Sequence[str | None],
        product: str | None,
        source: str,
        deadline_s: float | None,
        alone: bool,
    ) -> list[Decision]:
        found: list[Decision | BaseException]
        try:
            self.check_room(len(pictures))
            taken = self._shelf.take(categories, product)
        except EdgeAdError as error:
            found = [error] * len(pictures)
        else:  # nothing is awaited between the look at the queue and the places in it
            together = Together(len(pictures)) if len(pictures) > 1 else None
            requests = [
                Request(content, file, chosen, name, source, alone, together)
                for (content, file), (chosen, name) in zip(pictures, taken)
            ]
            deadline = self.options.deadline if deadline_s is None else deadline_s
            found = await asyncio.gather(*(self._begin(one, deadline) for one in requests), return_exceptions=True)
        failed = [one for one in found if isinstance(one, BaseException)]
        for kind in (type(one).__name__ for one in failed if isinstance(one, EdgeAdError)):
            self.metrics.refused(kind)
            if self._refusal_lines[kind]():
                log("refused", level="warning", kind=kind, source=source)
        if failed:
            raise failed[0]
        return [one for one in found if isinstance(one, Decision)]

    def _begin(self, request: Request, deadline: float) -> asyncio.Future[Decision]:
        self._waiting += 1
        task = asyncio.create_task(self._carry(request), name="inspection")
        self._open[task] = request
        task.add_done_callback(self._open.pop)
        timer = asyncio.get_running_loop().call_later(max(deadline, 0), self._expire, request, deadline)
        request.answer.add_done_callback(lambda _: timer.cancel())
        if request.together is not None:
            request.together.watch(request.answer)
        return request.answer

    def _expire(self, request: Request, deadline: float) -> None:
        if not request.closing and not request.answer.done():
            request.answer.set_exception(Expired(f"no decision within {deadline:g} s; the station is behind"))

    async def _carry(self, request: Request) -> None:
        """Bring one request to its answer. Every way out of here answers it."""
        storing: asyncio.Task[Kept] | None = None
        try:
            await self._pixels.acquire()
            if request.answer.done():
                self._pixels.release()
                return
            try:
                image, square = await self._in_pool(request.prepare, self.options.max_pixels)
            except BaseException:
                self._pixels.release()
                raise
            storing = asyncio.create_task(self._store(request, image))
            del image
            if request.together is not None:
                await request.together.arrive()
            found = asyncio.get_running_loop().create_future()
            job = Job(request.product, request.category, square, request.size, found, request.alone)
            job.found.add_done_callback(lambda done: done.cancelled() or done.exception())  # a late error is nobody's
            job.begun = lambda: self._leave_queue(request)
            # an answer that comes first is an expired deadline, or a caller that has gone
            request.answer.add_done_callback(lambda _: self._give_up(job))
            self._batches.put(job)
            result, score_map, inpainted = await job.found
            request.clock.seconds["queue"] = job.started - job.queued
            rendered = await self._in_pool(request.draw, self.pictures, result, score_map, inpainted)
            kept = [await storing, *rendered]
            decision = request.decision(result, kept)
            if request.answer.done():
                return
            request.closing = True
            try:
                await self.records.add(decision, kept)
            except EdgeAdError:
                request.closing = False  # its pictures go
                raise
            self._tell(decision, request.product, result["drift"])
            if not request.answer.done():
                request.answer.set_result(decision)
        except EdgeAdError as error:
            self._fail(request, error)
        except OSError as error:  # the disk is full, or gone: there is no record, so there must be no decision
            self._fail(request, InspectionFailed(f"the pictures cannot be kept: {error.strerror or error}"))
        except Exception as error:
            log("inspection failed", level="error", error=error)
            self._fail(request, InspectionFailed(f"internal error ({type(error).__name__}), see the log"))
        finally:
            if storing is not None:
                await asyncio.gather(storing, return_exceptions=True)
            self.pictures.release(request.held)
            self._leave_queue(request)
            self._shelf.done_with(request.product)
            if request.held and not request.closing:
                await self.records.remove_unknown(request.held, self.pictures.remove)

    async def _store(self, request: Request, image: NDArray[np.uint8]) -> Kept:
        """Keep the image as it came, while it is inspected."""
        try:
            file, request.file = request.file, None
            return await self._in_pool(request.keep, self.pictures, "image", image, file)
        finally:
            self._pixels.release()

    def _fail(self, request: Request, error: EdgeAdError) -> None:
        if not request.answer.done():
            request.answer.set_exception(error)

    def _give_up(self, job: Job) -> None:
        self._batches.discard(job)
        job.fail(Expired("given up"))

    def _leave_queue(self, request: Request) -> None:
        if request.waiting:
            request.waiting = False
            self._waiting -= 1

    def _tell(self, decision: Decision, product: Product, drift: dict[str, Any] | None) -> None:
        self._counts.add(time.time(), decision.category, decision.verdict)
        if drift is not None and self._is_loaded(product):  # not replaced meanwhile
            self.metrics.drift(product.name, decision.category, drift["changed"])
            if self._drift.put(product, decision.category, drift):
                log("drift", level="warning", product=product.name, category=decision.category, **drift)
                self._changed("drift")
        self.metrics.decided(decision)
        log(
            "decision",
            record_id=decision.record_id,
            product=decision.product,
            category=decision.category,
            verdict=decision.verdict,
            score=decision.score,
            seconds=decision.times["total"],
        )
        self._hub.publish(decision)
        for outbox in self._outboxes:
            outbox.wake()

    async def _for_ever(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one of the station's own works; an error in it, a mistake of ours or a full disk, must not end it."""
        while True:
            try:
                await work()
            except Exception as error:
                log("work failed", level="error", error=error, work=name)
            await asyncio.sleep(1)

    # products

    async def load_product(self, name: str, bundle: str) -> Product:
        """Load a bundle of the allowed folders, by its file name, as product `name`; what had that name is replaced.

        Raises InputError for a name that cannot be or is not there, and what `Shelf.put` does.
        """
        return await self._shelf.put_from_folders(name, bundle)

    async def remove_product(self, name: str) -> None:
        """Take a product out; images of it that wait are still inspected. Raises BundleError for an unknown one."""
        self._shelf.remove(name)

    def _is_loaded(self, product: Product) -> bool:
        return self._shelf.products.get(product.name) is product

    def _products_changed(self) -> None:
        for name, category in self._drift.keep(self._is_loaded):
            self.metrics.drift(name, category, None)
        self._changed("products")

    def _product_lost(self, product: Product, reason: str) -> None:
        log("product lost", level="error", product=product.name, reason=reason)
        self._shelf.lost(product)
        self._products_changed()
        for job in self._batches.clear():
            if job.product is product:
                job.fail(InspectionFailed(f"the bundle could not be loaded again: {reason}"))
            else:
                self._batches.put(job)

    def _worker_changed(self) -> None:
        if not self._supervisor.is_up:
            self.metrics.restarted()
        self._changed("worker")

    # what people and programs ask

    async def recorded(self, source: str) -> Decision | None:
        """The newest decision on an image from exactly this source: whether a file was inspected before a crash."""
        return await self.records.of_source(source)

    async def judge(self, record_id: str, verdict: str, note: str) -> Decision | None:
        """Record an operator's verdict; the decision with it, or None when there is no such record."""
        decision = await self.records.judge(record_id, verdict, note)
        if decision is not None:
            log("operator verdict", record_id=record_id, verdict=verdict)
            self._hub.publish(State(reason="verdict", status=self.status(), decision=decision))
        return decision

    def subscribe(self) -> Listener:
        """An asynchronous iterator of what happens from now on: `Decision` and `State`."""
        return self._hub.listen()

    def status(self) -> dict[str, Any]:
        """What the station is and does; plain values, fit for JSON, no paths and no secrets."""
        self._counts.roll(time.time())
        drift = self._drift.details()
        return {
            "version": __version__,
            "ready": self.ready,
            "draining": self._stopping.is_set(),
            "started": utc_text(self._started),
            "products": [product.summary() for _, product in sorted(self._shelf.products.items())],
            "counts": {"since": utc_text(self._counts.since), **self._counts.summary()},
            "queue": {"length": self._waiting, "limit": self.options.queue},
            "drift": {category: any(one["changed"] for one in found.values()) for category, found in drift.items()},
            "drift_details": drift,
            "worker": {"up": self._supervisor.is_up, "restarts": self._supervisor.restarts},
            "sources": {intake.source.name: intake.status() for intake in self._intakes},
            "sinks": {
                outbox.sink.name: {"failing": outbox.failing, "failures": outbox.failures} for outbox in self._outboxes
            },
        }

    def _changed(self, reason: str) -> None:
        self._hub.publish(State(reason=reason, status=self.status()))

    async def _tick(self) -> None:
        """Tell listeners when counts or queue have changed, and write how far the sinks have come."""
        told: tuple[Any, ...] = ()
        positions: list[int] = []
        while True:
            await asyncio.sleep(_TICK)
            status = self.status()
            now = (status["counts"], status["queue"], status["ready"], status["sinks"], status["sources"])
            if now != told:
                told = now
                self._hub.publish(State(reason="counts", status=status))
            if (here := [outbox.position for outbox in self._outboxes]) != positions:
                positions = here
                await self.records.save_cursors()

    # the end

    def drain(self) -> None:
        """Take no more images; those that are here are still decided on. Listeners' iterations end."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._stopped_at = asyncio.get_running_loop().time()
            log("draining", open=len(self._open))
            self._changed("draining")
            self._hub.close()

    async def close(self, *, wait: bool = True) -> None:
        """Drain, wait for what is open (not without `wait`), and let go of everything."""
        self.drain()
        if wait:
            await self._decide_open()
        for request in self._open.values():
            if not request.closing:  # its source keeps the picture for the next start
                self._fail(request, Overloaded("the station is stopping", 5.0))
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.gather(*(intake.close() for intake in self._intakes))
        await asyncio.gather(*(outbox.settle(_SETTLE) for outbox in self._outboxes if self._ready))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sink in self._sinks:
            try:
                await asyncio.wait_for(sink.close(), _SETTLE)
            except Exception as error:
                log("sink did not close", level="error", sink=sink.name, reason=str(error))
        await self._supervisor.stop()
        self._pool.shutdown()
        if hasattr(self, "records"):
            await self.records.close()
        if self._lock is not None:
            self._lock.close()
        log("stopped")

    async def _decide_open(self) -> None:
        """Wait for what is open, as long as the stopping of a service may take and a worker is there to decide on it.

        A watched folder's pictures have time; whoever waits for the end of the station has not.
        """
        now = asyncio.get_running_loop().time
        up = now()
        while self._open and now() < self._stopped_at + _DRAIN[0] and now() < up + _DRAIN[1]:
            await asyncio.wait(self._open, timeout=0.1)
            if self._supervisor.is_up:
                up = now()

    async def _in_pool(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
