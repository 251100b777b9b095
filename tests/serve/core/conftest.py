"""A real station: `edge-ad serve` in a process of its own, on loopback, with the tiny bundle."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_ad.bundle_files import read_manifest, write_manifest

pytest.importorskip("fastapi", reason="needs the serve extra")


def png_bytes(seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    """A picture no other seed gives, as a PNG file."""
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(120, 40, (height, width, 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG")
    return out.getvalue()


def form(fields: dict[str, str], *images: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()
    ]
    for image in images:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="../../etc/x.png"\r\n\r\n'
        parts.append(head.encode() + image + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


class Live:
    """A running `edge-ad serve`."""

    def __init__(self, bundle: Path, records: Path, *options: str):
        self.records = records
        self.log = records.parent / f"{records.name}-{uuid.uuid4().hex[:6]}.log"
        command = [sys.executable, "-m", "edge_ad", "serve", f"line={bundle}", "--port", "0", "--records", str(records)]
        command += ["--provider", "cpu", "--threads", "1", "--max-batch", "2", *options]
        self.process = subprocess.Popen(
            command, stderr=self.log.open("w"), cwd="/", env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        self.port = int(self.wait_for("listening")["port"])

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event so far."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in found if line["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th log line of an event, once it is there."""
        return until(lambda: self.lines(event)[count - 1 : count], alive=self.process, log=self.log)[0]

    def ready(self) -> Live:
        """Wait until it is ready."""
        self.wait_for("ready")
        return self

    @property
    def worker(self) -> int:
        """The process id of its worker."""
        return int(self.lines("worker started")[-1]["pid"])

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The JSON of a GET."""
        status, _, body = self.call("GET", path)
        assert status == 200, body
        return json.loads(body)

    def put(self, method: str, path: str, value: Any) -> tuple[int, Any]:
        """Send JSON; status and JSON of the answer."""
        status, _, body = self.call(method, path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        return status, json.loads(body) if body else None

    def inspect(self, image: bytes, query: str = "category=ring") -> tuple[int, Any]:
        """Have one image inspected; status and JSON of the answer."""
        status, _, body = self.call("POST", f"/v1/inspect?{query}", image, {"Content-Type": "image/png"})
        return status, json.loads(body)

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(60)


def until(check: Callable[[], Any], seconds: float = 120, alive: Any = None, log: Path | None = None) -> Any:
    """Wait until `check` gives something true, and return it."""
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, "waited too long" + (f":\n{log.read_text()}" if log else "")
        if alive is not None:
            assert alive.poll() is None, log.read_text() if log else "ended"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def calibrated(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with thresholds: of random weights, but thresholds."""
    folder = tmp_path_factory.mktemp("calibrated") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    manifest = read_manifest(folder)
    for entry in manifest.categories.values():
        entry.thresholds = {plan: {"fp32": 0.5} for plan in manifest.plans}
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts stations, `start(bundle, *options, records=…)`, and kills what is left of them."""
    running: list[Live] = []

    def begin(bundle: Path, *options: str, records: Path | None = None) -> Live:
        running.append(Live(bundle, records or tmp_path / "records", *options))
        return running[-1]

    yield begin
    for live in running:
        live.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def live(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One station for all tests that leave it in order. Beside its own bundle a damaged one may be loaded."""
    folder = tmp_path_factory.mktemp("live")
    bundles = folder / "bundles"
    shutil.copytree(calibrated, bundles / "second")
    shutil.copytree(calibrated, bundles / "damaged")
    with open(bundles / "damaged" / "graphs" / "score.onnx", "r+b") as file:
        file.write(b"?")
    options = ("--bundles", str(bundles), "--queue", "8", "--max-upload-mb", "1", "--max-megapixels", "0.5")
    station = Live(calibrated, folder / "records", *options)
    station.ready()
    yield station
    assert station.stop() == 0, station.log.read_text()
