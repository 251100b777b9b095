"""Hands recorded decisions to a sink, in order and at least once, also across restarts: the records are the queue."""

from __future__ import annotations

import asyncio

from edge_ad.runtime.serve.decision import Decision
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.protocols import Sink
from edge_ad.runtime.serve.records import Records

#: Seconds before a decision is given again to a sink that failed; doubled each time, up to the second number.
_PAUSES = (1.0, 60.0)
_CHUNK = 100


class Outbox:
    """One sink's way through the records."""

    def __init__(self, sink: Sink, records: Records):
        self.sink = sink
        self.failures = 0
        self.failing = False
        self.position = 0
        self._records = records
        self._news = asyncio.Event()
        self._idle = asyncio.Event()

    def wake(self) -> None:
        """There are new decisions."""
        self._idle.clear()
        self._news.set()

    async def begin(self) -> None:
        """Find where the sink had come to; before any new decision."""
        self.position = await self._records.cursor(self.sink.name)
        self._news.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while rows := await self._records.after(self.position, _CHUNK):
                for seq, decision in rows:
                    pause = _PAUSES[0]
                    while not await self._publish(decision):
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _PAUSES[1])
                    self.position = seq
                    self._records.advance(self.sink.name, seq)
            if not self._news.is_set():
                self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Wait until everything is handed on, but no longer than this."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            log("sink is behind", level="warning", sink=self.sink.name, position=self.position)

    async def _publish(self, decision: Decision) -> bool:
        try:
            await self.sink.publish(decision)
        except Exception as error:  # a sink's failures are its own: the line goes on
            self.failures += 1
            self.failing = True
            log("sink failed", level="error", sink=self.sink.name, reason=str(error), failures=self.failures)
            return False
        self.failing = False
        return True
