"""What a client may send before its request is judged: raw sockets against the station's server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the serve extra")

import uvicorn

from edge_ad.runtime.serve.access import Access
from edge_ad.runtime.serve.app import build_app
from edge_ad.runtime.serve.connection import HEAD_BYTES, BoundedHttp
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.station import Station
from tests.serve.core.conftest import Live

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; /slow late, /early before the body is there."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await asyncio.sleep(0.8 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"%8d" % size})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """An application on the station's server; its port."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedHttp, log_config=None, lifespan="off", ws="none", timeout_keep_alive=5)
    )
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """The body of the next answer of `echo`."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200"), head
        return (await self.reader.readexactly(8)).strip()

    async def closed(self) -> bytes:
        """Wait until the server hangs up; what it said before."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


LONG = b"a" * (3 * HEAD_BYTES)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + LONG,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * HEAD_BYTES,
        b"GET /" + LONG,
        b"\r\n" * HEAD_BYTES,
        GET.replace(b"/ ", b"/slow ") + b"GET /" + LONG,  # behind another
    ],
)
def test_a_head_that_does_not_end_is_cut_off(data: bytes) -> None:
    async def story() -> None:
        async with served(echo) as port, client(port) as one:
            one.send(data)
            assert await one.closed() == b""

    asyncio.run(story())


def test_a_trailer_that_does_not_end_is_cut_off() -> None:
    async def story() -> None:
        async with served(echo) as port, client(port) as one:
            one.send(CHUNKED + b"3\r\nabc\r\n0\r\nX: " + LONG)
            assert await one.closed() == b""

    asyncio.run(story())


def test_what_is_within_the_bounds_passes() -> None:
    async def story() -> None:
        async with served(echo) as port, client(port) as one:
            one.send(GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * (HEAD_BYTES - 1000) + b"\r\n\r\n"))
            assert await one.answer() == b"0"
            body = bytes(5 << 20)
            for _ in range(2):
                one.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                assert await one.answer() == b"%d" % len(body)
            one.send(CHUNKED + b"1000\r\n%s\r\n" % bytes(0x1000) * 100 + b"0\r\n\r\n" + GET)
            assert await one.answer() == b"%d" % (100 * 0x1000)
            assert await one.answer() == b"0"

    asyncio.run(story())


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.connection.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("edge_ad.runtime.serve.connection.REST_SECONDS", 0.3)

    async def silent(port: int, data: bytes = b"") -> bytes:
        async with client(port) as one:
            one.send(data)
            return await one.closed()

    async def dripping(port: int, data: bytes, drop: bytes) -> bytes:
        async with client(port) as one:
            one.send(data)
            task = asyncio.create_task(one.closed())
            while not task.done():
                await asyncio.sleep(0.05)
                one.send(drop)
            return await task

    async def story() -> None:
        async with served(echo) as port:
            begun = asyncio.get_running_loop().time()
            assert await silent(port) == b""
            assert await silent(port, GET[:20]) == b""
            assert await dripping(port, b"GET / HTTP/1.1\r\n", b"X: 1\r\n") == b""
            assert await dripping(port, b"", b"\r\n") == b""
            async with client(port) as one:
                one.send(GET)
                assert await one.answer() == b"0"
                one.send(b"\r\n")  # which ends uvicorn's own time
                assert await one.closed() == b""
            early = CHUNKED.replace(b"/ ", b"/early ")
            assert (await dripping(port, early, b"1\r\na\r\n")).endswith(b" 0")  # answered, and still sending
            assert asyncio.get_running_loop().time() - begun < 5

    asyncio.run(story())


def test_slow_answers_slow_bodies_and_pauses_are_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.connection.HEAD_SECONDS", 0.3)
    slow = GET.replace(b"/ ", b"/slow ")

    async def story() -> None:
        async with served(echo) as port, client(port) as one:
            one.send(slow)
            assert await one.answer() == b"0"
            await asyncio.sleep(0.8)  # between two requests uvicorn's own time holds
            one.send(CHUNKED)
            for _ in range(8):
                await asyncio.sleep(0.1)
                one.send(b"1\r\na\r\n")
            one.send(b"0\r\n\r\n")
            assert await one.answer() == b"8"
            one.send(slow + GET[:20])  # half a head behind an answer that is not there yet
            assert await one.answer() == b"0"
            one.send(GET[20:])
            assert await one.answer() == b"0"

    asyncio.run(story())


def test_too_many_open_requests_are_told_so_in_full(tmp_path: Path) -> None:
    station = Station(StationOptions(tmp_path, queue=1), {})
    events = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def story() -> None:
        async with served(build_app(station, Access(None), max_upload=1 << 20)) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]  # they ask for nothing
            open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4 * 1 + 64)]
            for reader, writer in open_ones:
                writer.write(events)
                assert b" 200 " in await asyncio.wait_for(reader.readline(), 10)
            async with client(port) as one:
                one.send(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                head, _, body = (await one.closed()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503")
                assert b"retry-after: 1" in head
                assert b"content-security-policy: " in head
                assert json.loads(body)["error"]["code"] == "overloaded"
            open_ones[0][1].close()
            await asyncio.sleep(0.3)
            async with client(port) as one:
                one.send(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await one.closed()).startswith(b"HTTP/1.1 200")
            for _, writer in idle + open_ones:
                writer.close()

    asyncio.run(story())


def test_the_station_bounds_heads(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as one:
        try:
            one.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX: " + LONG)
            said = one.recv(100)
        except (ConnectionResetError, BrokenPipeError):
            said = b""
    assert said == b""
    assert live.json("/v1/status")["ready"]
