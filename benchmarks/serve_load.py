"""Load on a station, from a process of its own: open loop at shares of its capacity, malformed uploads, and memory.

    python benchmarks/serve_load.py BUNDLE [--seconds 60] [--malformed 10000] [--soak 0] [--size 256] [--json FILE]

Starts `edge-ad serve` on BUNDLE, finds its capacity with a closed loop, then sends images at 50, 90 and 200 % of it at
random (Poisson) times whether or not earlier ones are answered. A latency runs from the moment the image was due. Every
image is another, so that the records show which was lost (answered, not recorded) or doubled (recorded twice).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from edge_ad.processor import this_processor
from edge_ad.runtime.serve.pictures import png
from edge_ad.runtime.serve.usage import resident_bytes

#: Content types of malformed forms; one in three is right.
FORMS = ("multipart/form-data; boundary=x", "multipart/form-data", "a/b")


def drawn(size: int) -> bytes:
    """A picture with smooth shades and a little noise, about as large a PNG as a photograph."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    image = 120 + 60 * np.sin(9 * x)[..., None] * np.cos(7 * y)[..., None] + rng.normal(0, 6, (size, size, 3))
    return png(np.clip(image, 0, 255).astype(np.uint8))


def numbered(data: bytes, number: int) -> bytes:
    """The same picture as another file: a text chunk before the end of a PNG."""
    body = b"tEXt" + b"n\0" + str(number).encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-12] + chunk + data[-12:]


class Client:
    """A pool of kept-alive connections that speak just enough HTTP."""

    def __init__(self, port: int):
        self.port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "image/png") -> tuple[int, bytes]:
        """Status and body of one request."""
        while self._free:
            connection = self._free.pop()
            if not connection[0].at_eof():  # the station may have closed what lay idle
                break
        else:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = connection
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        try:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            answer = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._free.append(connection)
        return int(lines[0].split()[1]), answer


class Load:
    """Sends numbered pictures and keeps what came of them."""

    def __init__(self, client: Client, path: str, picture: bytes):
        self.client = client
        self.path = path
        self.picture = picture
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.answered: list[str] = []

    async def one(self, due: float) -> None:
        self.sent += 1
        status, body = await self.client.ask("POST", self.path, numbered(self.picture, time.monotonic_ns()))
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.perf_counter() - due)
            self.answered.append(json.loads(body)["record_id"])

    async def closed(self, clients: int, seconds: float) -> float:
        """Images a second with so many clients that each wait for their answer."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self.one(time.perf_counter())

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return len(self.answered) / (time.perf_counter() - started)

    async def open(self, rate: float, seconds: float, seed: int) -> float:
        """Images a second answered, of those that were due at random times at a mean rate."""
        rng = random.Random(seed)
        started = due = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        while (due := due + rng.expovariate(rate)) < started + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self.one(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return len(self.answered) / (time.perf_counter() - started)

    def row(self, name: str, rate: float) -> dict[str, object]:
        cut = statistics.quantiles(self.latencies, n=100, method="inclusive") if len(self.latencies) > 1 else [0.0] * 99
        other = {str(status): count for status, count in sorted(self.statuses.items()) if status != 200}
        return {
            "load": name, "sent": self.sent, "decided": len(self.answered), "images_s": round(rate, 2),
            "p50_ms": round(1e3 * cut[49]), "p95_ms": round(1e3 * cut[94]), "p99_ms": round(1e3 * cut[98]),
            "other": other,
        }  # fmt: skip


async def malformed(client: Client, path: str, picture: bytes, count: int) -> Counter[int]:
    """Pictures and forms with wrong bytes, cut off, or empty; what was answered."""
    rng = random.Random(1)
    head, tail = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n', b"\r\n--x--\r\n"
    answers: Counter[int] = Counter()

    async def sender(share: range) -> None:
        for i in share:
            file = numbered(picture, -i)  # what happens to stay whole is unlike any other
            data = bytearray(file if i % 2 else head + file + tail)
            for _ in range(rng.randint(1, 20)):
                data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
            if rng.random() < 0.7:
                data = data[: rng.randrange(len(data))]
            kind = "image/png" if i % 2 else rng.choice(FORMS)
            try:
                status, _ = await client.ask("POST", path, bytes(data), kind)
            except (OSError, asyncio.IncompleteReadError):
                status = 0  # the station hung up
            answers[status] += 1

    await asyncio.gather(*(sender(range(start, count, 8)) for start in range(8)))
    return answers


async def recorded(client: Client) -> list[dict[str, object]]:
    """All records of the station."""
    found: list[dict[str, object]] = []
    path = "/v1/records?limit=500"
    while True:
        page = json.loads((await client.ask("GET", path))[1])
        found += page["records"]
        if page["next"] is None:
            return found
        path = f"/v1/records?limit=500&before={page['next']}"


def memory(pid: int) -> float:
    """Resident memory of a process and its children, MiB (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return resident_bytes(pid) / 2**20 + sum(memory(int(child)) for child in children)


async def measure(process: subprocess.Popen[bytes], port: int, arguments: argparse.Namespace) -> dict[str, object]:
    client, picture = Client(port), drawn(arguments.size)
    while (await client.ask("GET", "/v2/health/ready"))[0] != 200:
        await asyncio.sleep(0.2)
    status = json.loads((await client.ask("GET", "/v1/status"))[1])
    category = next(iter(status["products"][0]["categories"]))
    path = f"/v1/inspect?category={category}"
    loads = [Load(client, path, picture)]
    await loads[0].closed(2, 3.0)  # caches and allocators settle
    loads.append(Load(client, path, picture))
    capacity = await loads[-1].closed(2 * arguments.max_batch, arguments.seconds / 2)
    rows = [loads[-1].row(f"closed, {2 * arguments.max_batch} clients", capacity)]
    for share in (0.5, 0.9, 2.0):
        load = Load(client, path, picture)
        loads.append(load)
        rows.append(
            load.row(f"{share:.0%} open", await load.open(share * capacity, arguments.seconds, int(100 * share)))
        )
        print(rows[-1], file=sys.stderr, flush=True)
    result: dict[str, object] = {"capacity_images_s": round(capacity, 2), "rows": rows}
    before = memory(process.pid)
    answers = await malformed(client, path, picture, arguments.malformed)
    result["malformed"] = {"sent": arguments.malformed, "answers": dict(sorted(answers.items()))}
    result["malformed_memory_mib"] = [round(before), round(memory(process.pid))]
    if arguments.soak:
        load = Load(client, path, picture)
        loads.append(load)
        samples: list[float] = []

        async def watch() -> None:
            while True:
                samples.append(round(memory(process.pid), 1))
                await asyncio.sleep(arguments.soak / 12)

        watching = asyncio.create_task(watch())
        rows.append(load.row("soak, 50% open", await load.open(0.5 * capacity, arguments.soak, 7)))
        watching.cancel()
        result["soak_memory_mib"] = samples
    records = await recorded(client)
    ids = [record["record_id"] for record in records]
    images = [record["pictures"]["image"] for record in records]  # type: ignore[index]
    answered = [record_id for load in loads for record_id in load.answered]
    result["lost"] = len(set(answered) - set(ids))
    result["doubled"] = len(images) - len(set(images)) + len(answered) - len(set(answered))
    result["unanswered_records"] = len(set(ids) - set(answered)) - answers[200]
    result["worker_restarts"] = json.loads((await client.ask("GET", "/v1/status"))[1])["worker"]["restarts"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each open loop")
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--soak", type=float, default=0.0, help="seconds at half of capacity, memory sampled")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures that are sent")
    parser.add_argument("--max-batch", type=int, default=4)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            sys.executable, "-m", "edge_ad", "serve", f"line={arguments.bundle.absolute()}", "--port", "0",
            "--records", f"{folder}/records", "--allow-uncalibrated", "--provider", arguments.provider,
            "--max-batch", str(arguments.max_batch), "--queue", str(arguments.queue),
            *(["--threads", str(arguments.threads)] if arguments.threads else []),
        ]  # fmt: skip
        with log.open("w") as stream:
            process = subprocess.Popen(command, stderr=stream, cwd="/")
        try:
            while "listening" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            port = json.loads(log.read_text().splitlines()[0])["port"]
            result = asyncio.run(measure(process, port, arguments))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    result |= {
        "exit_code": code,
        "machine": f"{this_processor()[0]}, {os.cpu_count()} cores",
        "bundle": arguments.bundle.name,
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
