"""Bounds on what a request may send: its size, and the time it takes."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What is still read, and thrown away, of a body that is too large: a client that is in the middle of sending when the
#: connection is closed would see that, and not the answer. Bytes and seconds.
_DISCARDED = 16 << 20
_DISCARDING = 2.0


class BodyLimit:
    """ASGI middleware: the body may have `max_bytes` and must arrive within `seconds`.

    Whoever reads the body gets HTTPException 413 or 408; what is too large is thrown away,
    for a moment, so that the answer arrives.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float = 60.0):
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + self.seconds
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        seen, complete = 0, False

        async def bounded() -> Message:
            nonlocal seen, complete
            if complete:
                return await receive()  # from here on it only tells of the client's leaving
            if declared.isdigit() and int(declared) > self.max_bytes:
                await _discard(receive)
                raise self._too_large()
            try:
                message = await asyncio.wait_for(receive(), max(until - loop.time(), 0.001))
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {self.seconds:g} s") from None
            seen += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if seen > self.max_bytes:
                if not complete:
                    await _discard(receive)
                raise self._too_large()
            return message

        await self.app(scope, bounded, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"the request has more than {self.max_bytes:,} bytes", headers={"Connection": "close"}
        )


async def _discard(receive: Receive) -> None:
    """Read on and keep nothing, within `_DISCARDED` bytes and `_DISCARDING` seconds."""
    loop = asyncio.get_running_loop()
    until, left = loop.time() + _DISCARDING, _DISCARDED
    while left > 0:
        try:
            message = await asyncio.wait_for(receive(), max(until - loop.time(), 0.001))
        except asyncio.TimeoutError:
            return
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))
