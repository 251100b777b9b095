"""The station's side of its worker process: messages out, answers in, and the news that it died."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edge_ad.errors import BundleError, BundleUnavailable, EdgeAdError, InputError, OptionError
from edge_ad.runtime.serve import wire
from edge_ad.runtime.serve.decision import InspectionFailed, WorkerDied

_KINDS: dict[str, type[EdgeAdError]] = {
    kind.__name__: kind for kind in (BundleError, BundleUnavailable, InputError, OptionError)
}
#: asyncio stops reading the pipe above this; a batch of large score maps is some MiB.
_BUFFER = 1 << 24


class Accelerator:
    """One worker process. It is started once; after its death make another."""

    def __init__(self) -> None:
        self.died = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._pending: dict[int, asyncio.Future[wire.Message]] = {}
        self._next = 0
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process. OSError when the machine has no room for one."""
        try:
            # what it unpacks is not its own to remove: it may end at any moment
            self._scratch = tempfile.TemporaryDirectory(prefix="edge-ad-worker-", ignore_cleanup_errors=True)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge_ad.runtime.serve.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_BUFFER,
                env={**os.environ, "TMPDIR": self._scratch.name},
                cwd=sys.prefix,  # -m looks here first; from a checkout's root `edge_ad` would be the folder alone
            )  # fmt: skip
        except BaseException:
            self.died.set()
            self._clear()
            raise
        self._reader = asyncio.create_task(self._read(), name="worker reader")

    async def load(self, **options: Any) -> dict[str, Any]:
        """Load a bundle into a slot; see `Worker`. Raises BundleError, OptionError, InspectionFailed."""
        about, _ = await self._ask({"do": "load", **options})
        return about

    async def unload(self, slot: int) -> None:
        """Have the worker let go of a slot."""
        await self._ask({"do": "unload", "slot": slot})

    async def inspect(
        self,
        slot: int,
        images: Sequence[NDArray[Any]],
        categories: Sequence[str],
        sizes: Sequence[tuple[int, int]],
    ) -> list[tuple[dict[str, Any], NDArray[Any], NDArray[Any]]]:
        """Decide on images, uint8 S,S,3: for each what was found, its score map float32 S,S, and inpainted uint8 S,S,3.

        The inpainted picture of a part that a cascade decided is empty. An image without a finite score has an "error"
        for what was found.

        sizes: (H, W) of the originals, in whose pixels regions are told.

        Raises InspectionFailed when the batch failed, WorkerDied when the process ended.
        """
        answer, arrays = await self._ask(
            {"do": "inspect", "slot": slot, "categories": list(categories), "sizes": list(sizes)}, images
        )
        return [(result, arrays[2 * i], arrays[2 * i + 1]) for i, result in enumerate(answer["results"])]

    def kill(self) -> None:
        """End a worker that does not answer any more; `died` follows."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """Close the worker's input, on which it ends, and wait for that; after 5 s it is killed."""
        if self._process is None or self._reader is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except asyncio.TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    async def cleared(self, seconds: float) -> None:
        """Wait until a worker that died is gone, with what it had unpacked; no longer than `seconds`."""
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=seconds)

    async def _ask(self, header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> wire.Message:
        if self._process is None or self._process.stdin is None or self.died.is_set():
            raise WorkerDied("the worker is not running; it is being started again")
        self._next += 1
        number = self._next
        answer: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            # pieces of one message must not be parted by another's: nothing is awaited between the writes
            for piece in wire.encode({**header, "id": number}, arrays):
                self._process.stdin.write(piece)
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            pass  # the reader sees the end of the process and fails `answer`
        try:
            found, results = await answer
        finally:
            self._pending.pop(number, None)
        if "error" in found:
            raise _KINDS.get(found["kind"], InspectionFailed)(found["error"])
        return found, results

    async def _read(self) -> None:
        assert self._process is not None  # it was started
        assert self._process.stdout is not None  # with a pipe
        try:
            while True:
                message = await wire.read_frame_async(self._process.stdout.readexactly)
                answer = self._pending.get(message[0]["id"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.died.set()
            for answer in self._pending.values():
                if not answer.done():
                    answer.set_exception(
                        WorkerDied("the worker process ended while it held the image; send the image again")
                    )
            await self._reap()
            await asyncio.to_thread(self._clear)

    async def _reap(self) -> None:
        """Wait for the process that closed its pipe; kill it if it goes on without."""
        assert self._process is not None  # it was started
        try:
            await asyncio.wait_for(self._process.wait(), 2)
        except asyncio.TimeoutError:
            self.kill()
            await self._process.wait()

    def _clear(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
