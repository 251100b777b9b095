"""A station in this process: sources, sinks, listeners, drift, a worker that hangs, and what expired images leave."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.bundle import Calibration, Monitor
from edge_ad.bundle_files import read_manifest, write_manifest
from edge_ad.errors import InputError
from edge_ad.runtime.serve.access import Access
from edge_ad.runtime.serve.app import build_app
from edge_ad.runtime.serve.decision import Decision, Expired, InspectionFailed, Overloaded, WorkerDied
from edge_ad.runtime.serve.decoding import NotAnImage, TooManyPixels
from edge_ad.runtime.serve.kserve import read_request
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.station import Station
from edge_ad.runtime.serve.tables import Query
from tests.serve.core.conftest import png_bytes
from tests.serve.core.test_access import call


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
        self.told: list[bool] = []

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        self.starts += 1
        self.told.append(station.status()["sources"][self.name]["failing"])
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
    monkeypatch.setattr("edge_ad.runtime.serve.intake._PAUSES", (0.05, 0.05))
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
            assert belt.told == [False, True]
            assert station.status()["sources"] == {"belt": {"running": True, "failing": False}}
            assert shelf.got == belt.decisions
            assert await station.recorded("belt:1") == belt.decisions[1]
            assert await station.recorded("belt:2") is None
            # the monitor needs two pictures, and then says that the light has changed
            assert [one.drift for one in belt.decisions] == [False, True]
            assert station.status()["drift"] == {"ring": True}
            assert "camera or the light" in station.status()["drift_details"]["ring"]["line"]["message"]
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


def test_drift_is_of_a_product_and_goes_with_it(watched: Path, calibrated: Path, tmp_path: Path) -> None:
    shutil.copytree(calibrated, tmp_path / "plain")
    shutil.copytree(watched, tmp_path / "calm")
    manifest = read_manifest(tmp_path / "calm")
    for about in manifest.categories["ring"].calibrations.values():
        assert about["fp32"].monitor is not None
        about["fp32"].monitor = about["fp32"].monitor.model_copy(update={"limit": 1e9})
    write_manifest(tmp_path / "calm", manifest)
    options = StationOptions(tmp_path / "records", provider="cpu", threads=1, max_batch=1, bundle_folders=(tmp_path,))
    image = np.zeros((70, 90, 3), np.uint8)

    async def story() -> None:
        station = Station(options, {"line": watched, "calm": tmp_path / "calm"})
        await station.start()
        try:
            events = station.subscribe()
            for product in ("line", "calm") * 3:
                await station.inspect(image, "ring", product=product, deadline_s=60)
            station._changed("enough")
            reasons: list[str] = []
            while "enough" not in reasons:
                event = await anext(events)
                reasons += [] if isinstance(event, Decision) else [event.reason]
            assert reasons.count("drift") == 1
            assert station.status()["drift"] == {"ring": True}
            assert 'edge_ad_drift{category="ring",product="line"} 1.0' in station.metrics.text().decode()
            await station.load_product("line", "plain")  # it has no monitor
            assert station.status()["drift"] == {"ring": False}
            assert 'edge_ad_drift{category="ring",product="line"}' not in station.metrics.text().decode()
            await station.remove_product("calm")
            assert station.status()["drift"] == {}
            assert station.ready
            await station.remove_product("line")
            assert not station.ready
            with pytest.raises(Overloaded, match="no product"):  # a folder's pictures wait for one
                await station.inspect(image, "ring")
        finally:
            await station.close()

    asyncio.run(story())


def test_what_cannot_be_decided_or_recorded_fails_alone(watched: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(watched, blind)
    manifest = read_manifest(blind)
    prompt = np.load(blind / manifest.categories["weave"].prompt)
    np.save(blind / manifest.categories["weave"].prompt, np.full_like(prompt, np.nan))
    write_manifest(blind, manifest)
    options = StationOptions(tmp_path / "records", provider="cpu", threads=1, max_batch=2, max_delay=1.0)

    async def story() -> None:
        station = Station(options, {"line": blind})
        await station.start()
        try:
            asked = (
                station.inspect_file(png_bytes(i), name, deadline_s=60) for i, name in enumerate(("ring", "weave"))
            )
            good, none = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(good, Decision)
            assert isinstance(none, InspectionFailed)
            assert "score is nan" in str(none)

            before = set(station.pictures.all())
            database = sqlite3.connect(options.records / "records.sqlite")
            database.execute("CREATE TRIGGER t BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, 'disk full'); END")
            with pytest.raises(InspectionFailed, match="cannot be recorded: disk full"):
                await station.inspect_file(png_bytes(3), "ring", deadline_s=60)
            while set(station.pictures.all()) != before:
                await asyncio.sleep(0.05)
            database.execute("DROP TRIGGER t")
            database.close()
            await station.inspect_file(png_bytes(3), "ring", deadline_s=60)
        finally:
            await station.close()

    asyncio.run(story())


def test_several_images_have_room_together_or_none_has(calibrated: Path, tmp_path: Path) -> None:
    options = StationOptions(tmp_path, provider="cpu", threads=1, queue=4, max_batch=2, deadline=60)
    files = [png_bytes(seed) for seed in range(8)]

    async def story() -> None:
        station = Station(options, {"line": calibrated})
        try:
            await station.start()
            others = [asyncio.create_task(station.inspect_file(file, "ring")) for file in files[:2]]
            await asyncio.sleep(0)
            for _ in range(3):  # a client that tries again
                with pytest.raises(Overloaded, match="no room for 3 images"):
                    await station.inspect_all(files[2:5], ["ring"] * 3)
                with pytest.raises(InputError, match="8 images are more than the queue of 4"):
                    await station.inspect_all(files, ["ring"] * 8)
            both = await station.inspect_all([files[2], np.zeros((9, 8, 3), np.uint8)], ["ring", "weave"])
            assert [one.category for one in both] == ["ring", "weave"]
            assert {one.record_id for one in await asyncio.gather(*others)} | {one.record_id for one in both} == {
                one.record_id for one in await station.records.find(Query())
            }
            before = set(station.pictures.all())
            with pytest.raises(InputError, match="damaged"):
                await station.inspect_all([files[5], files[6][:-200], files[7]], ["ring"] * 3)
            while station.status()["queue"]["length"] or set(station.pictures.all()) != before:
                await asyncio.sleep(0.02)
            assert station.status()["counts"]["total"] == 4
            assert 'edge_ad_refused_total{reason="Overloaded"} 9.0' in station.metrics.text().decode()
        finally:
            await station.close()

    asyncio.run(story())


def test_a_kserve_request_is_read_in_a_thread(calibrated: Path, tmp_path: Path, monkeypatch) -> None:
    """The numbers of a large picture in JSON take a second, and the station goes on meanwhile."""
    options = StationOptions(tmp_path, provider="cpu", threads=1, deadline=60)
    image = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 9, 3], "data": [7] * 216}
    category = {"name": "category", "datatype": "BYTES", "shape": [1], "data": ["ring"]}
    body = json.dumps({"inputs": [image, category]}).encode()
    threads: list[threading.Thread] = []

    def watched_read(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return read_request(*arguments)

    monkeypatch.setattr("edge_ad.runtime.serve.kserve.read_request", watched_read)

    async def story() -> None:
        station = Station(options, {"line": calibrated})
        app = build_app(station, Access(None), max_upload=1 << 20)
        try:
            await station.start()
            status, _, _ = await call(app, "POST", "/v2/models/line/infer", {"host": "localhost"}, body)
            assert (status, threading.main_thread() in threads, len(threads)) == (200, False, 1)
        finally:
            await station.close()

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
