"""A watched folder: every complete picture that appears in it is inspected once, also across restarts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.files import write_text
from edge_ad.images import SUFFIXES
from edge_ad.runtime.serve.decision import Expired, InspectionFailed, Overloaded
from edge_ad.runtime.serve.decoding import decode
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.sources.attempts import Attempts
from edge_ad.runtime.serve.sources.journal import Identity, Journal
from edge_ad.runtime.serve.sources.waiting import stopped_within

if TYPE_CHECKING:
    from edge_ad.runtime.serve.station import Station

#: Seconds without a change after which a file counts as complete, unless asked otherwise.
SETTLE = 0.5
#: Seconds between two looks at the folder; longer where a look takes long.
POLL = 0.2
#: A file that cannot be decoded may be one whose writer pauses: it is tried again until this long unchanged, seconds.
PATIENCE = 10.0
#: A file may wait, seconds.
DEADLINE = 3600.0
#: Larger files are not read, bytes.
MAX_BYTES = 256 << 20
#: Subfolders for what is through, where files are moved.
DONE, FAILED = "done", "failed"


class FolderSource:
    """Inspects pictures in `folder/<category>/`, and in `folder` itself those of `category`.

    Without `category` pictures in the folder itself are for a station with one category, which need not be named.
    A file is complete when size and time of change have been still for `settle` seconds; one renamed into the folder
    is complete at once when its last change is that long ago. Hidden files, links and other endings are left alone.
    after: "leave" keeps files where they are and remembers them in `journal`; "move" puts them into `done/` or
    `failed/`, the latter with the reason in a text file beside. parallel: pictures in the station's queue at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        journal: Path,
        name: str = "watch",
        category: str | None = None,
        product: str | None = None,
        after: Literal["leave", "move"] = "leave",
        settle: float = SETTLE,
        parallel: int = 4,
    ):
        self.name = name
        self.folder = Path(folder)
        self._category = category
        self._product = product
        self._move = after == "move"
        self._settle = settle
        self._parallel = parallel
        self._journal = Journal(Path(journal))
        self._first_seen: dict[Identity, float] = {}
        self._before: set[Identity] | None = None  # there when the run began: perhaps decided on before a crash
        self._attempts = Attempts()
        self._moving = threading.Lock()
        self._unreadable: set[str] = set()  # subfolders that were told of

    @property
    def failing(self) -> bool:
        """Whether what was tried last could not be inspected and is tried again."""
        return self._attempts.failing

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        """Look and inspect until `stop` is set. OSError while the folder cannot be read."""
        await asyncio.to_thread(self._journal.load)
        self._before = None
        while not stop.is_set():
            start = time.monotonic()
            ready = await asyncio.to_thread(self._ready)
            took = time.monotonic() - start
            await self._work_through(ready, station, stop)
            await stopped_within(stop, max(POLL, 5 * took))

    async def _work_through(self, files: list[Identity], station: Station, stop: asyncio.Event) -> None:
        left = iter(files)

        async def worker() -> None:
            for file in left:
                if stop.is_set():
                    return
                await self._inspect(file, station, stop)

        workers = [worker() for _ in range(min(self._parallel, len(files)))]
        for result in await asyncio.gather(*workers, return_exceptions=True):  # no worker is left running behind
            if isinstance(result, BaseException):
                raise result

    async def _inspect(self, file: Identity, station: Station, stop: asyncio.Event) -> None:
        try:
            data, image = await asyncio.to_thread(self._read, file, station.options.max_pixels)
        except FileNotFoundError:
            return
        except (InputError, OSError) as error:
            if time.monotonic() - self._first_seen.get(file, 0.0) >= PATIENCE:
                await asyncio.to_thread(self._finish, file, str(error))
            return
        if image is None:  # written again meanwhile: the next look sees the new state
            return
        source = await asyncio.to_thread(self._source, file, data)
        if self._before and file in self._before and await station.recorded(source):
            await asyncio.to_thread(self._finish, file, None)  # a kill came between the decision and this
            return
        while not stop.is_set():
            try:
                await station.inspect(
                    image,
                    self._category or file.folder or None,
                    product=self._product,
                    source=source,
                    deadline_s=DEADLINE,
                    picture=data,
                    alone=file in self._attempts,
                )
            except Overloaded as error:
                await stopped_within(stop, error.retry_after_s)
            except Expired:
                continue  # the station is far behind
            except InspectionFailed as error:
                if self._attempts.failed(file, error):
                    await asyncio.to_thread(self._finish, file, str(error))
                else:
                    await stopped_within(stop, self._attempts.pause)  # a later look brings it again, after the others
                return
            except EdgeAdError as error:
                await asyncio.to_thread(self._finish, file, str(error))
                return
            else:
                self._attempts.decided()
                await asyncio.to_thread(self._finish, file, None)
                return

    def _files(self) -> Iterator[Identity]:
        """Every picture, complete or not."""
        folders = [""]
        if self._category is None:
            with os.scandir(self.folder) as entries:
                folders += [
                    f"{entry.name}/"
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                    and not entry.name.startswith(".")
                    and entry.name not in (DONE, FAILED)
                ]
        for prefix in folders:
            try:
                yield from self._files_in(prefix)
                self._unreadable.discard(prefix)
            except OSError as error:
                if not prefix:
                    raise
                if prefix not in self._unreadable and not isinstance(error, FileNotFoundError):  # deleted meanwhile
                    self._unreadable.add(prefix)
                    log("cannot be read", level="error", source=self.name, folder=prefix, reason=error.strerror)

    def _files_in(self, prefix: str) -> Iterator[Identity]:
        with os.scandir(self.folder / prefix) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
                    continue
                try:
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield Identity(prefix + entry.name, status.st_size, status.st_mtime_ns)
                except FileNotFoundError:
                    continue

    def _ready(self) -> list[Identity]:
        """Pictures that are complete and not yet through, oldest first."""
        now, clock = time.monotonic(), time.time()
        everything = set(self._files())
        self._journal.keep(everything)
        present = {file for file in everything if file not in self._journal}
        self._first_seen = {file: self._first_seen.get(file, now) for file in present}
        self._attempts.keep(present)
        if everything:  # else it may be a share that is not mounted yet
            self._before = present if self._before is None else self._before & present
        ready = [
            file
            for file, first in self._first_seen.items()
            if file.size > 0 and (now - first >= self._settle or clock - file.changed_ns / 1e9 >= self._settle)
        ]
        return sorted(ready, key=lambda file: (file.changed_ns, file.relative))

    def _read(self, file: Identity, max_pixels: int) -> tuple[bytes, NDArray[np.uint8] | None]:
        """A picture's bytes and pixels; None for the pixels if the file has changed since it was listed."""
        path = self.folder / file.relative
        if file.size > MAX_BYTES:
            raise InputError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; save it smaller")
        data = path.read_bytes()
        status = path.stat()
        if (len(data), status.st_mtime_ns) != (file.size, file.changed_ns):
            return data, None
        return data, decode(data, max_pixels, str(path))

    def _finish(self, file: Identity, reason: str | None) -> None:
        """The file is through: move it, or remember it. reason: why there is no decision."""
        if reason is not None:
            log("no decision", level="error", source=self.name, file=file.relative, reason=reason)
        if self._move:
            try:
                with self._moving:  # or two of one name would find the same one free
                    target = _free(self.folder / (DONE if reason is None else FAILED) / file.relative, file.changed_ns)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(self.folder / file.relative, target)
                if reason is not None:
                    write_text(target.with_name(target.name + ".txt"), reason + "\n")
                return
            except FileNotFoundError:
                return
            except OSError as error:
                log("cannot be moved", level="warning", source=self.name, file=file.relative, reason=error.strerror)
        self._journal.add(file)

    def _source(self, file: Identity, data: bytes) -> str:
        """What the record says of where the picture came from: unique to this state of the file, by a hash of the
        watched folder and the content.
        """
        changed = datetime.fromtimestamp(file.changed_ns // 1_000_000_000, timezone.utc)
        stamp = f"{changed:%Y-%m-%dT%H:%M:%S}.{file.changed_ns % 1_000_000_000:09d}Z"
        relative = file.relative.encode("utf-8", "replace").decode()
        digest = hashlib.sha256(os.fsencode(self.folder.resolve()) + b"\0")
        digest.update(data)
        return f"{self.name}: {relative} @ {stamp} {digest.hexdigest()[:16]}"


def _free(path: Path, changed_ns: int) -> Path:
    """`path`; where that is taken, with the time of the file's last change in its name, and then `-2` and so on."""
    candidate, stem, number = path, f"{path.stem}-{changed_ns}", 1
    while candidate.exists():
        candidate = path.with_name(f"{stem}{path.suffix}" if number == 1 else f"{stem}-{number}{path.suffix}")
        number += 1
    return candidate
