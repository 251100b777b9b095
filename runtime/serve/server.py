"""Runs a station behind uvicorn: up at once, ready when warm, drained on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from edge_ad.errors import OptionError
from edge_ad.runtime.serve.access import Access, check_host
from edge_ad.runtime.serve.app import build_app
from edge_ad.runtime.serve.connection import BoundedHttp
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.station import Station


@dataclass(frozen=True)
class Network:
    """How a station is reached. max_upload: bytes of a request's body. drain: seconds for what is open at the end."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_upload: int = 64 << 20
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    drain: float = 60.0


class _Server(uvicorn.Server):
    """uvicorn, with the station told of a signal before the connections are closed, and no signal raised again."""

    def __init__(self, config: uvicorn.Config, station: Station):
        super().__init__(config)
        self._station = station
        self._running_on = asyncio.get_running_loop()
        self.interrupted = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the server runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; a second Ctrl-C does not wait for what is open."""
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)
        self._running_on.call_soon_threadsafe(self._station.drain)


async def run(station: Station, network: Network) -> int:
    """Serve until a signal comes; returns the exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises OptionError when the address cannot be used, and what `Station.start` raises.
    """
    check_host(network.host, network.token)
    bound = _bind(network)
    app = build_app(station, Access(network.token), max_upload=network.max_upload)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # paths and queries are the client's; /metrics counts the answers
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=BoundedHttp,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(network.drain),
        ssl_certfile=network.tls_certificate,
        ssl_keyfile=network.tls_key,
    )
    failure: Exception | None = None

    async def start() -> None:
        nonlocal failure
        try:
            await station.start()
        except Exception as error:  # raised again below, once the server has ended
            failure = error
            server.should_exit = True

    server = _Server(config, station)
    host, port = bound.getsockname()[:2]
    log("listening", host=host, port=port, tls=network.tls_certificate is not None)
    starting = asyncio.create_task(start(), name="start")
    try:
        await server.serve(sockets=[bound])
    finally:
        if not starting.done():
            starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await station.close(wait=not server.force_exit)
    if failure is not None:
        raise failure
    return 130 if server.interrupted else 0


def _bind(network: Network) -> socket.socket:
    """Take the address, before anything is loaded."""
    family = socket.AF_INET6 if ":" in network.host else socket.AF_INET
    bound = socket.socket(family)
    if sys.platform != "win32":  # there it would let two stations share a port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((network.host.strip("[]"), network.port))
        bound.listen(512)  # who connects from now on waits for the server rather than being refused
    except OSError as error:
        bound.close()
        raise OptionError(
            f"--host {network.host} --port {network.port}: {error.strerror or error}; choose another"
        ) from None
    return bound
