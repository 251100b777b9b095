"""The two seams of the station: where images come from, and where decisions go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edge_ad.runtime.serve.decision import Decision
    from edge_ad.runtime.serve.station import Station


class Source(Protocol):
    """Brings images without HTTP: a folder, a camera, a trigger. `name` is used in logs and as `Decision.source`."""

    name: str

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        """Bring images to `station.inspect` until `stop` is set, then return.

        It starts when the station is ready. Overloaded is the sign to wait. A source that raises is logged, told as
        failing, and started again after a pause; one that goes on although nothing comes may say so itself, by an
        attribute `failing`. `Station.recorded(source)` tells whether an image was decided on before a crash.
        """


class Sink(Protocol):
    """Takes every decision elsewhere: MQTT, a webhook, a file."""

    name: str

    async def publish(self, decision: Decision) -> None:
        """Hand on one decision; it is called after the decision is recorded, for one decision at a time, in order.

        Its name is how the station remembers, across restarts, which decisions it has had: each comes at least once,
        after a crash perhaps twice (`record_id` tells). One that raises is logged and gets the same decision again
        after 1 s, then after longer; the others, and the line, go on meanwhile.
        """

    async def close(self) -> None:
        """Hand on what is left, within a few seconds, and let go of connections and files."""
