"""The worker's supervisor with real workers: what it tries again, what it gives up, and what dead workers leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_ad.bundle_files import pack
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.products import Product
from edge_ad.runtime.serve.supervisor import Supervisor


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

        with tarfile.open(bundle, "w") as tar:  # the worker fails at it, though it may be sound: the disk says no
            tar.addfile(tarfile.TarInfo("x" * 300))
        kill()
        await until(lambda: supervisor.restarts == 3)
        assert not supervisor.is_up
        shutil.copy(sound, bundle)
        await until(lambda: supervisor.is_up)

        kill()
        temporary.rename(away)  # now no worker can be started
        await until(lambda: supervisor.restarts > 5)
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
