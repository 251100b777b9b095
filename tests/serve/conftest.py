"""A real MQTT broker on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """A mosquitto that can be stopped and started again, and keeps what it promised meanwhile."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = self.folder / "mosquitto.conf"
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nautosave_interval 1\nuser root\n"  # else it may not write here
        )
        self.process = subprocess.Popen([str(MOSQUITTO), "-c", str(settings)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < end
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    @contextmanager
    def listen(self, topic: str) -> Iterator[list[tuple[str, dict, bool]]]:
        """Another client: what it gets as (topic, JSON, retained)."""
        got: list[tuple[str, dict, bool]] = []
        ready = threading.Event()
        client = self._client(persistent=True)
        client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _client, _data, message: got.append(
            (message.topic, json.loads(message.payload), message.retain)
        )
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert ready.wait(20)
        try:
            yield got
        finally:
            client.disconnect()
            client.loop_stop()

    def send(self, topic: str, payload: bytes | str, qos: int = 1, retain: bool = False) -> None:
        """Publish one message from yet another client."""
        client = self._client()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        client.publish(topic, payload, qos, retain).wait_for_publish(20)
        client.disconnect()
        client.loop_stop()

    def _client(self, persistent: bool = False):
        from paho.mqtt.client import CallbackAPIVersion, Client

        name = f"test-{time.monotonic_ns()}"
        client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not persistent)
        client.reconnect_delay_set(1, 1)
        return client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    pytest.importorskip("paho.mqtt", reason="needs the mqtt extra")
    folder = tmp_path / "broker"
    folder.mkdir()
    one = Broker(folder)
    one.start()
    yield one
    one.stop()
