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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BundleError, EdgeAdError, InputError
from edge_ad.images import resize_image
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.serve import render, retention, usage
from edge_ad.runtime.serve.batches import Batches, Job
from edge_ad.runtime.serve.counts import DayCounts, midnight
from edge_ad.runtime.serve.decision import (
    Decision,
    Expired,
    InspectionFailed,
    Overloaded,
    RegionBox,
    State,
    WorkerDied,
    utc_text,
)
from edge_ad.runtime.serve.decoding import check_size, decode
from edge_ad.runtime.serve.events import Hub, Listener
from edge_ad.runtime.serve.lines import Throttle, log
from edge_ad.runtime.serve.lock import lock_folder
from edge_ad.runtime.serve.metrics import Metrics
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.outbox import Outbox
from edge_ad.runtime.serve.pictures import PictureStore, is_png, png
from edge_ad.runtime.serve.products import Product, available, check_product_name, route
from edge_ad.runtime.serve.protocols import Sink, Source
from edge_ad.runtime.serve.records import KINDS, Kept, Records, links, new_record_id
from edge_ad.runtime.serve.supervisor import Supervisor
from edge_ad.version import __version__

T = TypeVar("T")

#: Seconds that sinks get to hand on what is left when the station stops.
_SETTLE = 5.0
#: Seconds before a source that failed is started again; doubled each time, up to the second number.
_SOURCE_PAUSES = (1.0, 30.0)
#: Seconds between two looks at whether counts or queue have changed, for listeners.
_TICK = 1.0


@dataclass(eq=False)
class _Request:
    """One image on its way. content: its file or pixels, until it is prepared. file: of `content`'s pixels, if there is
    one. size: (H, W), once known. small: for the map. answer: set once. closing: its decision is being recorded, it can
    no longer expire.
    """

    content: bytes | NDArray[np.uint8] | None
    file: bytes | None
    product: Product
    category: str
    source: str
    arrived: float = field(default_factory=time.time)
    clock: Clock = field(default_factory=Clock)
    answer: asyncio.Future[Decision] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    size: tuple[int, int] = (0, 0)
    small: NDArray[np.uint8] | None = None
    held: list[str] = field(default_factory=list)
    waiting: bool = True
    closing: bool = False


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
        self._sources = list(sources)
        self._sinks = list(sinks)
        self._products: dict[str, Product] = {}
        self._supervisor = Supervisor(options, self._worker_changed, self._product_lost)
        self._batches = Batches(options.max_batch, options.max_delay)
        self._hub = Hub()
        self._outboxes: list[Outbox] = []
        threads = min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, "pixels")
        self._pixels = asyncio.Semaphore(threads)  # full-size pictures in memory, of however many that wait
        self._lock: IO[bytes] | None = None
        self._loading = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._source_tasks: dict[str, asyncio.Task[None]] = {}
        self._open: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._uploads = 0
        self._seconds_an_image = 0.1
        self._counts = DayCounts(time.time(), {})
        self._drift: dict[str, dict[str, Any]] = {}
        self._stopping = asyncio.Event()
        self._started = time.time()
        self._ready = False
        self._refusal_lines: defaultdict[str, Throttle] = defaultdict(lambda: Throttle(1.0))

    @property
    def ready(self) -> bool:
        """Whether an image would be inspected now: started, warm, worker up, not stopping."""
        return self._ready and self._supervisor.is_up and not self._stopping.is_set()

    @property
    def products(self) -> Mapping[str, Product]:
        """What is loaded, by name."""
        return self._products

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
            await self._load(name, path)
        self.metrics.watch("edge_ad_queue_length", "Images that wait for the worker.", lambda: self._waiting)
        self.metrics.watch("edge_ad_ready", "1 when an image would be inspected now.", lambda: self.ready)
        self.metrics.watch(
            "edge_ad_worker_resident_bytes",
            "Resident memory of the worker.",
            lambda: usage.resident_bytes(self._supervisor.pid),
        )
        self.metrics.watch("edge_ad_device_memory_used_bytes", "Memory in use on the first card.", usage.device_bytes)
        works: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "dispatch": self._dispatch,
            "retention": lambda: retention.keep_within(self.records, self.pictures, self.options),
            "tick": self._tick,
            **{f"sink {outbox.sink.name}": outbox.run for outbox in self._outboxes},
        }
        self._tasks += [asyncio.create_task(self._for_ever(name, work), name=name) for name, work in works.items()]
        self._ready = True
        for source in self._sources:
            self._source_tasks[source.name] = asyncio.create_task(self._run_source(source), name=source.name)
        log("ready", products=sorted(self._products), version=__version__)
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
    ) -> Decision:
        """Decide on one image, and record the decision.

        image: uint8 H,W,3 RGB. category and product: what it shows; each may be left out where the other, or what is
        loaded, leaves no choice. source: where it came from; a word, or a word, a colon and more. deadline_s: seconds
        from now; the options' when None. picture: the file that the image was read from; a PNG is kept as it is.

        Raises Overloaded when the queue is full or the station not ready, Expired past the deadline, BundleError for
        an unknown category or product, InputError for what is no image or fits several products, InspectionFailed
        when the worker failed. In each of these cases the image has no record.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(f"an image must be uint8 of shape H,W,3, not {image.dtype} of shape {image.shape}")
        check_size(image.shape[0], image.shape[1], self.options.max_pixels)
        return await self._inspect(image, picture, category, product, source, deadline_s)

    async def inspect_file(
        self,
        data: bytes,
        category: str | None = None,
        *,
        product: str | None = None,
        source: str = "http",
        deadline_s: float | None = None,
    ) -> Decision:
        """As `inspect`, of an image file's bytes: few are decoded at a time, however many wait.

        Raises what `inspect` does; also NotAnImage, and TooManyPixels above the options' limit (both InputError).
        """
        return await self._inspect(data, data, category, product, source, deadline_s)

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

    def check_room(self) -> None:
        """Raises Overloaded when an image would be refused now; to be asked before it is uploaded or taken."""
        if self._stopping.is_set():
            raise Overloaded("the station is stopping", 5.0)
        if not self.ready:
            raise Overloaded("the station is not ready yet", 2.0)
        if self._waiting >= self.options.queue:
            wait = max(0.1, self._waiting * self._seconds_an_image)
            raise Overloaded(f"the queue is full ({self.options.queue} images wait)", wait)

    async def _inspect(
        self,
        content: bytes | NDArray[np.uint8],
        file: bytes | None,
        category: str | None,
        product: str | None,
        source: str,
        deadline_s: float | None,
    ) -> Decision:
        try:
            self.check_room()
            chosen, name = route(self._products, category, product)
            deadline = self.options.deadline if deadline_s is None else deadline_s
            request = _Request(content, file, chosen, name, source)
            chosen.jobs += 1
            self._waiting += 1
            task = asyncio.create_task(self._carry(request), name="inspection")
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            timer = asyncio.get_running_loop().call_later(max(deadline, 0), self._expire, request, deadline)
            try:
                return await request.answer
            finally:
                timer.cancel()
        except EdgeAdError as error:
            self.metrics.refused(type(error).__name__)
            if self._refusal_lines[type(error).__name__]():
                log("refused", level="warning", kind=type(error).__name__, source=source)
            raise

    def _expire(self, request: _Request, deadline: float) -> None:
        if not request.closing and not request.answer.done():
            request.answer.set_exception(Expired(f"no decision within {deadline:g} s; the station is behind"))

    async def _carry(self, request: _Request) -> None:
        """Bring one request to its answer. Every way out of here answers it."""
        storing: asyncio.Task[Kept] | None = None
        try:
            await self._pixels.acquire()
            if request.answer.done():
                self._pixels.release()
                return
            try:
                image, square = await self._in_pool(self._prepare, request)
            except BaseException:
                self._pixels.release()
                raise
            storing = asyncio.create_task(self._store(request, image))
            del image
            job = Job(
                request.product, request.category, square, request.size, asyncio.get_running_loop().create_future()
            )
            job.found.add_done_callback(lambda done: done.cancelled() or done.exception())  # a late error is nobody's
            job.begun = lambda: self._leave_queue(request)
            # an answer that comes first is an expired deadline, or a caller that has gone
            request.answer.add_done_callback(lambda _: self._give_up(job))
            self._batches.put(job)
            result, score_map, inpainted = await job.found
            request.clock.seconds["queue"] = job.started - job.queued
            rendered = await self._in_pool(self._render, request, result, score_map, inpainted)
            kept = [await storing, *rendered]
            decision = self._decide(request, result, kept)
            if request.answer.done():
                return
            request.closing = True
            await self.records.add(decision, kept)
            self._tell(decision, result["drift"])
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
            self._done_with(request.product)
            if request.held and not request.closing:
                await self._in_pool(self.pictures.remove, await self.records.unknown(request.held))

    def _prepare(self, request: _Request) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """In a thread: the pixels, uint8 H,W,3, and the worker's square of them, uint8 S,S,3."""
        content, request.content = request.content, None
        assert content is not None  # it is prepared once
        with request.clock("read"):
            image = decode(content, self.options.max_pixels) if isinstance(content, bytes) else content
        request.size = (image.shape[0], image.shape[1])
        with request.clock("resize"):
            square = resize_image(image, int(request.product.about["image_size"]))
            request.small = render.small_copy(image)
        return image, square

    async def _store(self, request: _Request, image: NDArray[np.uint8]) -> Kept:
        """Keep the image as it came, while it is inspected."""
        try:
            file, request.file = request.file, None
            return await self._in_pool(self._keep, request, "image", image, file)
        finally:
            self._pixels.release()

    def _fail(self, request: _Request, error: EdgeAdError) -> None:
        if not request.answer.done():
            request.answer.set_exception(error)

    def _give_up(self, job: Job) -> None:
        self._batches.discard(job)
        job.fail(Expired("given up"))

    def _leave_queue(self, request: _Request) -> None:
        if request.waiting:
            request.waiting = False
            self._waiting -= 1

    def _keep(self, request: _Request, kind: str, image: NDArray[np.uint8], file: bytes | None) -> Kept:
        """In a thread: encode a picture and put it on disk."""
        data = file if file is not None and is_png(file) else png(image)
        digest = self.pictures.put(data)
        request.held.append(digest)
        return Kept(kind, digest, len(data))

    def _render(
        self, request: _Request, result: dict[str, Any], score_map: NDArray[Any], inpainted: NDArray[Any]
    ) -> list[Kept]:
        """In a thread: the pictures of the defect map and of what the part should have looked like."""
        assert request.small is not None  # it was prepared
        with request.clock("render"):
            heat = render.map_picture(request.small, score_map, result["range"])
            pictures = [heat, render.unsquare(inpainted, request.size)] if inpainted.size else [heat]
            return [self._keep(request, kind, picture, None) for kind, picture in zip(KINDS[1:], pictures)]

    def _decide(self, request: _Request, result: dict[str, Any], kept: Sequence[Kept]) -> Decision:
        about, (height, width) = request.product.about, request.size
        stages = {name: seconds for name, seconds in result["times"].items() if name != "total"}
        stages |= request.clock.seconds
        return Decision(
            record_id=new_record_id(request.arrived),
            time=utc_text(request.arrived),
            product=request.product.name,
            category=request.category,
            verdict=result["verdict"],
            score=result["score"],
            threshold=result["threshold"],
            normalised=result["normalised"],
            regions=[RegionBox(**region) for region in result["regions"]],
            times={**stages, "total": request.clock.shared_by(1)["total"]},
            bundle_sha256=about["sha256"],
            plan=about["plan"],
            source=request.source,
            width=width,
            height=height,
            pictures=links([(picture.kind, picture.sha256) for picture in kept]),
            drift=None if result["drift"] is None else result["drift"]["changed"],
            defect=result["defect"],
            defect_probability=result["defect_probability"],
        )

    def _tell(self, decision: Decision, drift: dict[str, Any] | None) -> None:
        self._counts.add(time.time(), decision.category, decision.verdict)
        if drift is not None:
            before = self._drift.get(decision.category, {"changed": False})
            self._drift[decision.category] = {"product": decision.product, **drift}
            if drift["changed"] != before["changed"]:
                log("drift", level="warning", category=decision.category, **drift)
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

    async def _dispatch(self) -> None:
        """Feed the worker, one batch at a time."""
        while True:
            worker = await self._supervisor.worker()
            jobs = [job for job in await self._batches.next() if not job.found.done()]
            if not jobs:
                continue
            if worker.died.is_set():
                self._batches.put_back(jobs)
                await asyncio.sleep(0)  # lets the supervisor see it too
                continue
            began = time.monotonic()
            for job in jobs:
                job.started = began
                job.begun()
            self.metrics.batch(len(jobs))
            asking = worker.inspect(
                jobs[0].product.slot,
                [job.image for job in jobs],
                [job.category for job in jobs],
                [job.size for job in jobs],
            )
            try:
                found = await asyncio.wait_for(asking, self.options.worker_timeout)
            except asyncio.TimeoutError:
                log("worker hangs", level="error", seconds=self.options.worker_timeout)
                worker.kill()
                for job in jobs:
                    job.fail(WorkerDied(f"the worker did not answer in {self.options.worker_timeout:g} s"))
                await worker.died.wait()
                continue
            except Exception as error:
                for job in jobs:
                    job.fail(
                        error if isinstance(error, EdgeAdError) else InspectionFailed(f"the worker failed: {error}")
                    )
                continue
            seconds = (time.monotonic() - began) / len(jobs)
            self._seconds_an_image += 0.2 * (seconds - self._seconds_an_image)
            for job, result in zip(jobs, found):
                if not job.found.done():
                    job.found.set_result(result)

    # products

    async def load_product(self, name: str, bundle: str) -> Product:
        """Load a bundle of the allowed folders, by its file name, as product `name`; what had that name is replaced.

        The old one answers until the new one is verified, loaded and warm, and stays if that fails. Raises InputError
        for a name that cannot be or is not there, BundleError and OptionError as `Detector.load` does.
        """
        check_product_name(name)
        choices = await asyncio.to_thread(available, self.options.bundle_folders)
        if bundle not in choices:
            known = ", ".join(sorted(choices)) or "none; start the station with --bundles FOLDER"
            raise InputError(f"there is no such bundle to load; there is: {known}")
        return await self._load(name, choices[bundle])

    async def remove_product(self, name: str) -> None:
        """Take a product out; images of it that wait are still inspected. Raises BundleError for an unknown one."""
        if name not in self._products:
            raise BundleError(f'there is no product "{name}"')
        self._retire(self._products.pop(name))
        log("product removed", product=name)
        self._changed("products")

    async def _load(self, name: str, path: Path) -> Product:
        async with self._loading:
            product = await self._supervisor.load(name, path)
            old = self._products.get(name)
            self._products[name] = product
            if old is not None:
                self._retire(old)
        log("product loaded", product=name, bundle_sha256=product.about["sha256"], seconds=product.about["seconds"])
        self._changed("products")
        return product

    def _retire(self, product: Product) -> None:
        product.retired = True
        if product.jobs == 0:
            self._supervisor.unload(product)

    def _done_with(self, product: Product) -> None:
        product.jobs -= 1
        if product.retired and product.jobs == 0:
            self._supervisor.unload(product)

    def _product_lost(self, product: Product, reason: str) -> None:
        log("product lost", level="error", product=product.name, reason=reason)
        if self._products.get(product.name) is product:
            del self._products[product.name]
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
        return {
            "version": __version__,
            "ready": self.ready,
            "draining": self._stopping.is_set(),
            "started": utc_text(self._started),
            "products": [product.summary() for _, product in sorted(self._products.items())],
            "counts": {"since": utc_text(self._counts.since), **self._counts.summary()},
            "queue": {"length": self._waiting, "limit": self.options.queue},
            "drift": {category: bool(drift["changed"]) for category, drift in self._drift.items()},
            "drift_details": dict(self._drift),
            "worker": {"up": self._supervisor.is_up, "restarts": self._supervisor.restarts},
            "sources": {name: {"running": not task.done()} for name, task in self._source_tasks.items()},
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
            now = (status["counts"], status["queue"], status["ready"], status["sinks"])
            if now != told:
                told = now
                self._hub.publish(State(reason="counts", status=status))
            if (here := [outbox.position for outbox in self._outboxes]) != positions:
                positions = here
                await self.records.save_cursors()

    async def _run_source(self, source: Source) -> None:
        pause = _SOURCE_PAUSES[0]
        while not self._stopping.is_set():
            try:
                await source.run(self, self._stopping)
                return
            except Exception as error:  # a source's failures are its own
                log("source failed", level="error", source=source.name, reason=str(error), pause_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _SOURCE_PAUSES[1])

    # the end

    def drain(self) -> None:
        """Take no more images; those that are here are still decided on. Listeners' iterations end."""
        if not self._stopping.is_set():
            self._stopping.set()
            log("draining", open=len(self._open))
            self._changed("draining")
            self._hub.close()

    async def close(self) -> None:
        """Drain, wait for what is open, and let go of everything."""
        self.drain()
        if self._open:
            await asyncio.gather(*self._open, return_exceptions=True)
        for task in self._source_tasks.values():
            task.cancel()
        await asyncio.gather(*self._source_tasks.values(), return_exceptions=True)
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

    async def _in_pool(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
