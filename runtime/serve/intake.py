"""Runs a source, and starts it again when it fails, until the station stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.protocols import Source

if TYPE_CHECKING:
    from edge_ad.runtime.serve.station import Station

#: Seconds before a source that failed is started again; doubled each time, up to the second number.
_PAUSES = (1.0, 30.0)


class Intake:
    """One source's way into the station."""

    def __init__(self, source: Source):
        self.source = source
        self._restarting = False  # it waits for, or has just had, another start
        self._task: asyncio.Task[None] | None = None

    @property
    def failing(self) -> bool:
        """Whether nothing comes from it: it has failed lately, or says so itself."""
        return self._restarting or getattr(self.source, "failing", False)

    def start(self, station: Station, stop: asyncio.Event) -> None:
        """Bring images from now on, until `stop` is set."""
        self._task = asyncio.create_task(self._run(station, stop), name=self.source.name)

    def status(self) -> dict[str, bool]:
        """For `Station.status()`: whether it runs, as it does from the station's start on, and whether it fails."""
        return {"running": self._task is None or not self._task.done(), "failing": self.failing}

    async def close(self) -> None:
        """Break it off, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, station: Station, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pause = _PAUSES[0]
        while not stop.is_set():
            began = loop.time()
            sound = loop.call_later(pause, self._recovered)
            try:
                await self.source.run(station, stop)
                return
            except Exception as error:  # a source's failures are its own
                sound.cancel()
                if loop.time() - began > pause:
                    pause = _PAUSES[0]
                self._restarting = True
                log("source failed", level="error", source=self.source.name, reason=str(error), pause_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])

    def _recovered(self) -> None:
        self._restarting = False
