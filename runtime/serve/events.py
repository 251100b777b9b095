"""Telling many listeners of every event, with no listener able to slow the station down."""

from __future__ import annotations

import asyncio
from weakref import WeakSet

from edge_ad.runtime.serve.decision import Event

#: A listener that is this many events behind loses the oldest; it can read the records instead.
BACKLOG = 256


class Listener:
    """An asynchronous iterator of events from when it was made until the hub is closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(BACKLOG)

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.get()
        if event is None:
            self.put(None)  # so that it stays ended
            raise StopAsyncIteration
        return event

    def put(self, event: Event | None) -> None:
        """Add an event, or None for the end."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)


class Hub:
    """Hands every event to every listener. For use on one event loop. A listener that is let go of is forgotten."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()
        self._closed = False

    def publish(self, event: Event) -> None:
        """Give an event to every listener, without waiting."""
        for listener in list(self._listeners):
            listener.put(event)

    def listen(self) -> Listener:
        """A new listener."""
        listener = Listener()
        if self._closed:
            listener.put(None)
        else:
            self._listeners.add(listener)
        return listener

    def close(self) -> None:
        """End every listener, after the events that wait."""
        self._closed = True
        for listener in list(self._listeners):
            listener.put(None)
