"""A station in this process: sources, sinks, listeners, drift, a worker that hangs, and what expired images leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle import Calibration, Monitor
from edge_ad.bundle_files import read_manifest, write_manifest
from edge_ad.errors import InputError
from edge_ad.runtime.serve.decision import Decision, Expired, Overloaded, WorkerDied
from edge_ad.runtime.serve.decoding import NotAnImage, TooManyPixels
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.station import Station
from tests.serve.core.conftest import png_bytes


@pytest.fixture(scope="module")
def watched(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose rings have a drift monitor that any picture alarms, after two of them, and large regions only."""
    from edge_ad.runtime import Detector

    folder = tmp_path_factory.mktemp("watched") / "bundle"
    shutil.copytree(calibrated, folder)
    grey = np.full((64, 64, 3), 128, np.uint8)
    pooled = Detector.load(folder, provider="cpu", threads=1).inspect(grey, "ring").pooled
    assert pooled is not None
    array = np.stack([pooled + 9, np.ones_like(pooled), np.ones_like(pooled)])
    np.save(folder / "monitor.npy", array.astype(np.float32))
    manifest = read_manifest(folder)
    monitor = Monitor(file="monitor.npy", window=2, clip=3, limit=1.0, rate=0.01, horizon=9, images=9)
    about = Calibration(rule="estimate", created="now", target=0.1, min_area=2000, monitor=monitor)
    manifest.categories["ring"].calibrations = {plan: {"fp32": about} for plan in manifest.plans}
    write_manifest(folder, manifest)
    return folder


class Belt:
    """A source that brings two pictures and then waits for the end; its first start fails."""

    name = "belt"

    def __init__(self) -> None:
        self.starts = 0
        self.decisions: list[Decision] = []

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        self.starts += 1
        if self.starts == 1:
            raise OSError("the camera is not there")
        for i in range(2):
            image = np.full((70, 90, 3), 40 * i, np.uint8)
            self.decisions.append(await station.inspect(image, "ring", source=f"belt:{i}"))
        await stop.wait()


class Shelf:
    """A sink that keeps what it gets."""

    name = "shelf"

    def __init__(self) -> None:
        self.got: list[Decision] = []
        self.closed = False

    async def publish(self, decision: Decision) -> None:
        self.got.append(decision)

    async def close(self) -> None:
        self.closed = True


def test_the_life_of_a_station(watched: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.station._SOURCE_PAUSES", (0.05, 0.05))
    belt, shelf = Belt(), Shelf()
    options = StationOptions(
        tmp_path, provider="cpu", threads=1, max_batch=2, worker_timeout=3.0, max_pixels=10_000, deadline=60
    )
    image = np.zeros((70, 90, 3), np.uint8)

    async def story() -> None:
        station = Station(options, {"line": watched}, [belt], [shelf])
        events = station.subscribe()
        with pytest.raises(Overloaded):
            await station.inspect(image, "ring")
        await station.start()
        try:
            while len(shelf.got) < 2:
                await asyncio.sleep(0.05)
            assert belt.starts == 2
            assert shelf.got == belt.decisions
            assert await station.recorded("belt:1") == belt.decisions[1]
            assert await station.recorded("belt:2") is None
            # the monitor needs two pictures, and then says that the light has changed
            assert [one.drift for one in belt.decisions] == [False, True]
            assert station.status()["drift"] == {"ring": True}
            assert "camera or the light" in station.status()["drift_details"]["ring"]["message"]
            for one in belt.decisions:  # a region that counts covers a third of the picture
                assert all(region.area >= 2000 for region in one.regions)
            told: list[Decision] = []
            reasons: list[str] = []
            while len(told) < 2:
                event = await anext(events)
                told.append(event) if isinstance(event, Decision) else reasons.append(event.reason)
            assert told == belt.decisions
            assert reasons[:2] == ["products", "ready"]
            assert "drift" in reasons

            with pytest.raises(TooManyPixels):
                await station.inspect_file(png_bytes(1, 101, 100), "ring")
            with pytest.raises(NotAnImage):
                await station.inspect_file(b"GIF89a", "ring")
            with pytest.raises(InputError):
                await station.inspect(np.zeros((2, 2), np.uint8), "ring")

            before = set(station.pictures.all())
            worker = station._supervisor.pid
            assert worker is not None
            os.kill(worker, signal.SIGSTOP)
            hangs = asyncio.create_task(station.inspect_file(png_bytes(2), "ring"))
            await asyncio.sleep(0.5)
            with pytest.raises(Expired):
                await station.inspect_file(png_bytes(3), "ring", deadline_s=0.5)
            with pytest.raises(WorkerDied):
                await hangs
            after = await station.inspect_file(png_bytes(4), "ring")  # by the worker that was started instead
            assert after.verdict in ("good", "bad")
            assert station.status()["worker"] == {"up": True, "restarts": 1}
            kept = {link.rpartition("/")[2][:64] for link in after.pictures.values()}
            while set(station.pictures.all()) != before | kept:  # what got no decision leaves no picture
                await asyncio.sleep(0.05)
        finally:
            await station.close()
        assert shelf.got[-1] == after
        assert shelf.closed
        with pytest.raises(Overloaded, match="stopping"):
            await station.inspect(image, "ring")

    asyncio.run(story())


def test_two_sinks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two sinks have one name"):
        Station(StationOptions(tmp_path), {}, sinks=[Shelf(), Shelf()])


def test_a_slow_bundle_is_not_taken_for_a_hung_worker(calibrated: Path, tmp_path: Path) -> None:
    options = StationOptions(tmp_path, provider="cpu", threads=1, max_batch=1, worker_timeout=1e-3, deadline=60)

    async def story() -> None:
        station = Station(options, {"line": calibrated})
        try:
            await station.start()
            await station.inspect_file(png_bytes(1), "ring")  # takes longer than a millisecond
            assert station.status()["worker"] == {"up": True, "restarts": 0}
        finally:
            await station.close()

    asyncio.run(story())
