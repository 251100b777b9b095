"""The station's records: every decision in SQLite, written before it is answered.

WAL mode with `synchronous=FULL`: a committed decision survives the end of the process at any moment, and a power cut as
far as the disk keeps what it acknowledged. All writes run on one thread; decisions that arrive while a commit runs go
into the next one together.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edge_ad.runtime.serve import tables
from edge_ad.runtime.serve.decision import Decision, InspectionFailed, utc_text
from edge_ad.runtime.serve.tables import DATABASE, Kept, Query, condition, connect, insert, select

T = TypeVar("T")

#: Picture files that are removed at once: a decision waits for no more than that.
_STEP = 100


def new_record_id(now: float) -> str:
    """An identifier that sorts by its time: a version 7 UUID (RFC 9562), of `now` in seconds since the epoch."""
    value = int(now * 1000) << 80 | uuid.uuid4().int & ((1 << 80) - 1)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


class Records:
    """The decisions in a folder, which one process at a time writes. Make one with `await Records.open(folder)`."""

    def __init__(self, path: Path):
        self.path = path
        self._writer = ThreadPoolExecutor(1, "records")
        self._write: sqlite3.Connection
        self._history = _Reader(path, "records-read")
        self._line = _Reader(path, "records-line")  # sinks and sources do not wait for somebody's long search
        self._waiting: list[tuple[Decision, Sequence[Kept], asyncio.Future[int]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._cursors: dict[str, int] = {}

    @classmethod
    async def open(cls, folder: Path) -> Records:
        """Open or create the records in a folder. Raises InputError for a file that is none or of a newer schema."""
        folder.mkdir(parents=True, exist_ok=True)
        records = cls(folder / DATABASE)
        records._write = await records._on_writer(lambda: connect(records.path))
        await records._history.open()
        await records._line.open()
        return records

    async def close(self) -> None:
        """Write what waits, and close."""
        while self._flushing is not None and not self._flushing.done():
            await self._flushing
        await self._on_writer(self._store_cursors)
        await self._history.close()
        await self._line.close()
        await self._on_writer(lambda: self._write.close())
        self._writer.shutdown()

    async def add(self, decision: Decision, kept: Sequence[Kept]) -> int:
        """Commit a decision and return its number; it is on disk when this returns."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((decision, kept, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="records flush")
        return await asyncio.shield(done)

    async def get(self, record_id: str) -> Decision | None:
        """One decision by its record id."""
        found = await self._history.select("WHERE record_id = ?", [record_id])
        return found[0][1] if found else None

    async def of_source(self, source: str) -> Decision | None:
        """The newest decision on an image of exactly this source."""
        found = await self._line.select("WHERE source = ? ORDER BY seq DESC LIMIT 1", [source])
        return found[0][1] if found else None

    async def find(self, query: Query) -> list[Decision]:
        """Decisions, newest first."""
        where, values = condition(query)
        found = await self._history.select(f"{where} ORDER BY seq DESC LIMIT ?", [*values, query.limit])
        return [decision for _, decision in found]

    async def after(self, seq: int, limit: int) -> list[tuple[int, Decision]]:
        """Decisions with a number above `seq`, oldest first, with their numbers."""
        return await self._line.select("WHERE seq > ? ORDER BY seq LIMIT ?", [seq, limit])

    async def last_seq(self) -> int:
        """The highest number given so far; 0 for none."""

        def ask(read: sqlite3.Connection) -> int:
            row = read.execute("SELECT seq FROM sqlite_sequence WHERE name = 'decisions'").fetchone()
            return int(row[0]) if row else 0

        return await self._line.ask(ask)

    async def trend(self, category: str, limit: int) -> list[dict[str, Any]]:
        """The newest scores of a category, oldest first: record_id, time, score, threshold, normalised, verdict."""

        def ask(read: sqlite3.Connection) -> list[dict[str, Any]]:
            names = ("record_id", "time", "score", "threshold", "normalised", "verdict")
            rows = read.execute(
                f"SELECT {', '.join(names)} FROM decisions WHERE category = ? ORDER BY seq DESC LIMIT ?",
                (category, limit),
            ).fetchall()
            return [{**dict(zip(names, row)), "time": utc_text(row[1])} for row in reversed(rows)]

        return await self._history.ask(ask)

    async def counts(self, since: float) -> dict[tuple[str, str], int]:
        """How many decisions a category and verdict from a time on, seconds since the epoch."""

        def ask(read: sqlite3.Connection) -> dict[tuple[str, str], int]:
            rows = read.execute(
                "SELECT category, verdict, COUNT(*) FROM decisions WHERE time >= ? GROUP BY category, verdict", (since,)
            )
            return {(category, verdict): count for category, verdict, count in rows}

        return await self._history.ask(ask)

    async def judge(self, record_id: str, verdict: str, note: str) -> Decision | None:
        """Set an operator's verdict ("good" or "bad") and note; None when there is no such record."""

        def change() -> None:
            with self._write:
                self._write.execute(
                    "UPDATE decisions SET operator_verdict = ?, operator_time = ?, note = ? WHERE record_id = ?",
                    (verdict, time.time(), note, record_id),
                )

        await self._on_writer(change)
        return await self.get(record_id)

    async def cursor(self, sink: str) -> int:
        """How far a sink has come: the number of the last decision it took. A new sink starts at the newest."""
        if sink not in self._cursors:

            def ask(read: sqlite3.Connection) -> int | None:
                row = read.execute("SELECT seq FROM sinks WHERE name = ?", (sink,)).fetchone()
                return None if row is None else int(row[0])

            stored = await self._line.ask(ask)
            self._cursors[sink] = await self.last_seq() if stored is None else stored
            await self._on_writer(self._store_cursors)
        return self._cursors[sink]

    def advance(self, sink: str, seq: int) -> None:
        """A sink took a decision. Kept with the next commit: after a crash a sink may get its last decisions again."""
        self._cursors[sink] = seq

    async def save_cursors(self) -> None:
        """Write how far the sinks have come."""
        await self._on_writer(self._store_cursors)

    async def latest(self) -> float | None:
        """When the newest decision was made, in seconds since the epoch; None without one."""

        def ask(read: sqlite3.Connection) -> float | None:
            row = read.execute("SELECT time FROM decisions ORDER BY seq DESC LIMIT 1").fetchone()
            return None if row is None else float(row[0])

        return await self._line.ask(ask)

    async def expire(self, older_than: float | None, max_bytes: int | None) -> AsyncIterator[list[str]]:
        """Forget decisions before a time, then pictures of the oldest until the rest is within `max_bytes`.

        Which decisions are before it: `tables.last_expired`. Pictures of decisions that an operator has judged go last:
        they are what is learnt from. It goes in steps, with decisions written between them; each yields the SHA-256 of
        pictures that no decision has any more, whose files may go: see `remove_unknown`.
        """
        if older_than is not None:
            until = older_than
            last = await self._history.ask(lambda read: tables.last_expired(read, until, time.time()))
            while True:
                count, gone = await self._on_writer(lambda: tables.remove_decisions(self._write, until, last))
                if not count:
                    break
                yield gone
        if max_bytes is not None:
            excess = await self._history.ask(tables.picture_bytes) - max_bytes
            for judged in (False, True):
                while excess > 0:
                    size, gone = await self._on_writer(
                        partial(tables.remove_pictures, self._write, excess, judged=judged)
                    )
                    if not size:
                        break
                    excess -= size
                    yield gone

    async def remove_unknown(self, digests: Sequence[str], remove: Callable[[Sequence[str]], int]) -> int:
        """Have `remove` take away those of some pictures that no decision has; the sum of what it returns.

        `remove` runs on the writer's thread: a decision that takes up such a picture is either written before, or holds
        it still. It goes in steps, with decisions written between them.
        """
        removed = 0
        for start in range(0, len(digests), _STEP):
            some = digests[start : start + _STEP]
            removed += await self._on_writer(partial(self._remove_unknown, some, remove))
        return removed

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._commit(batch)
            except Exception:  # a full disk, or one that cannot be written: it must not take the others with it
                for one in batch:
                    try:
                        await self._commit([one])
                    except Exception as error:
                        if not one[2].done():
                            one[2].set_exception(InspectionFailed(f"the decision cannot be recorded: {error}"))

    async def _commit(self, batch: Sequence[tuple[Decision, Sequence[Kept], asyncio.Future[int]]]) -> None:
        numbers = await self._on_writer(partial(self._insert, [(decision, kept) for decision, kept, _ in batch]))
        for (_, _, done), number in zip(batch, numbers):
            if not done.done():
                done.set_result(number)

    def _insert(self, batch: Sequence[tuple[Decision, Sequence[Kept]]]) -> list[int]:
        with self._write:
            return [insert(self._write, decision, kept) for decision, kept in batch]

    def _remove_unknown(self, digests: Sequence[str], remove: Callable[[Sequence[str]], int]) -> int:
        return remove(tables.unknown(self._write, digests))

    def _store_cursors(self) -> None:
        with self._write:
            self._write.executemany("INSERT OR REPLACE INTO sinks VALUES (?, ?)", list(self._cursors.items()))

    async def _on_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)


class _Reader:
    """A connection that only reads, on a thread of its own."""

    def __init__(self, path: Path, name: str):
        self._path = path
        self._thread = ThreadPoolExecutor(1, name)
        self._connection: sqlite3.Connection

    async def open(self) -> None:
        self._connection = await self._run(lambda: connect(self._path, read_only=True))

    async def close(self) -> None:
        await self._run(lambda: self._connection.close())
        self._thread.shutdown()

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run(lambda: work(self._connection))

    async def select(self, rest: str, values: Sequence[Any]) -> list[tuple[int, Decision]]:
        return await self.ask(lambda read: select(read, rest, values))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
