"""The worker's supervisor with real workers: what it tries again, what it gives up, and what dead workers leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_ad.bundle_files import pack
from edge_ad.runtime.serve.decision import InspectionFailed
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.products import Product
from edge_ad.runtime.serve.station import Station
from edge_ad.runtime.serve.supervisor import Supervisor
from tests.serve.core.conftest import png_bytes


async def until(check: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.02)


def test_a_product_outlives_passing_failures_and_workers_leave_nothing(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.supervisor._PAUSES", (0.05, 0.2))
    temporary, away = tmp_path / "temporary", tmp_path / "away"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    bundle, sound = tmp_path / "bundle.tar", tmp_path / "sound.tar"
    pack(calibrated, sound)
    shutil.copy(sound, bundle)
    lost: list[Product] = []
    supervisor = Supervisor(
        StationOptions(tmp_path, provider="cpu", threads=1, max_batch=1), lambda: None, lambda one, _: lost.append(one)
    )

    def kill() -> None:
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)

    async def story() -> None:
        await supervisor.start()
        product = await supervisor.load("line", bundle)
        assert len(list(temporary.glob("*/edge-ad-bundle-*"))) == 1  # what the tar was unpacked to

        bundle.unlink()
        bundle.symlink_to("/proc/self/mem")  # the worker fails at it, though it may be sound: an error of the disk
        kill()
        await until(lambda: supervisor.restarts == 3)
        assert not supervisor.is_up
        bundle.unlink()
        shutil.copy(sound, bundle)
        await until(lambda: supervisor.is_up)

        for spoil in (bundle.unlink, lambda: os.truncate(bundle, 1 << 43)):  # a share that is away, a disk with no room
            before = supervisor.restarts
            spoil()
            kill()
            await until(lambda: supervisor.restarts == before + 3)  # noqa: B023
            shutil.copy(sound, bundle)
            await until(lambda: supervisor.is_up)
        assert lost == []

        (left,) = temporary.iterdir()
        for number in range(5000):  # so that it is not gone in a moment
            (left / str(number)).touch()
        with monkeypatch.context() as hurry:
            hurry.setattr("edge_ad.runtime.serve.supervisor._PAUSES", (0.0, 0.0))
            kill()
            await until(lambda: set(temporary.iterdir()) != {left})
        assert not left.exists()  # there need not be room for two
        await until(lambda: supervisor.is_up)

        before = supervisor.restarts
        kill()
        temporary.rename(away)  # now no worker can be started
        await until(lambda: supervisor.restarts > before + 2)
        shutil.rmtree(away)
        temporary.mkdir()
        await until(lambda: supervisor.is_up)
        assert supervisor._products == [product]
        assert lost == []

        bundle.write_bytes(b"no tar")
        before = supervisor.pid
        kill()
        await until(lambda: supervisor.pid != before)
        supervisor.unload(product)  # taken out while it is loaded, which then fails
        await until(lambda: supervisor.is_up)

        shutil.copy(sound, bundle)
        product = await supervisor.load("line", bundle)
        bundle.write_bytes(b"no tar")
        kill()
        await until(lambda: product in lost)
        await until(lambda: supervisor.is_up)
        shutil.copy(sound, bundle)
        await supervisor.load("line", bundle)
        assert len(list(temporary.glob("*/edge-ad-bundle-*"))) == 1
        await supervisor.stop()
        assert list(temporary.iterdir()) == []

    asyncio.run(story())


def test_a_worker_that_fails_every_batch_is_replaced(calibrated: Path, tmp_path: Path) -> None:
    options = StationOptions(tmp_path, provider="cpu", threads=1, max_batch=1, deadline=60)

    async def story() -> None:
        station = Station(options, {"line": calibrated})
        try:
            await station.start()
            await station.inspect_file(png_bytes(1), "ring")
            supervisor = station._supervisor
            worker, product = await supervisor.worker(), station.products["line"]
            for _ in range(2):  # two in a row are not three
                await worker.unload(product.slot)  # as after an error that sticks to a process: it fails whatever comes
                for _ in range(2):
                    with pytest.raises(InspectionFailed):
                        await station.inspect_file(png_bytes(2), "ring")
                await supervisor._load(worker, product.slot, product.path)
                await station.inspect_file(png_bytes(2), "ring")
            assert supervisor.restarts == 0
            await worker.unload(product.slot)
            for _ in range(3):
                with pytest.raises(InspectionFailed):
                    await station.inspect_file(png_bytes(3), "ring")
            await until(lambda: supervisor.restarts == 1 and supervisor.is_up)
            await station.inspect_file(png_bytes(3), "ring")
        finally:
            await station.close()

    asyncio.run(story())
