"""Bounds on what comes before a request can be judged: uvicorn has none of its own with httptools."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's line and headers.
HEAD_BYTES = 1 << 16
#: Seconds from a connection's, or a head's, first moment until the head is complete.
HEAD_SECONDS = 20.0
#: Seconds for what is left of a body once its request has been answered: `BodyLimit` no longer looks then.
REST_SECONDS = 60.0
_PIECE = 1 << 14


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up when a head is too long or too slow.

    Between two requests uvicorn's own time holds, as long as nothing comes. Bytes count from the last whole head or
    piece of a body on, so that trailers and the like are bounded too.
    """

    _unread = 0
    _in_body = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its first head is due."""
        super().connection_made(transport)
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass it on in pieces, and hang up where too much of it tells nothing."""
        for start in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            piece = data[start : start + _PIECE]
            if not self._in_body:
                self._expect(HEAD_SECONDS)
            self._unread += len(piece)
            super().data_received(piece)
            if self._unread > HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins, perhaps in the same piece as the body before it ends."""
        self._expect(HEAD_SECONDS)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_timer()
        self._unread = 0
        self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; its size and time are `BodyLimit`'s."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body has ended."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out; a client that is still sending may go on for a while, so that it comes to read it."""
        super().on_response_complete()
        if self._in_body:
            self._expect(REST_SECONDS)

    def _expect(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect(HEAD_SECONDS)  # an answer is on its way, which a head behind it must not cut off
        else:
            self.transport.close()
