"""A station told to stop while it cannot decide: it ends, and its sources keep what they brought."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from edge_ad.runtime.serve.decision import Overloaded, WorkerDied
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.sources.folder import FolderSource
from edge_ad.runtime.serve.station import Station
from tests.serve.core.conftest import png_bytes


@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL], ids=["hangs", "is down"])
@pytest.mark.parametrize("wait", [True, False])
def test_the_end_does_not_wait_for_a_worker_that_does_not_come(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, wait: bool
) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.station._DRAIN", (2.0, 0.5) if wait else (3600.0, 3600.0))
    monkeypatch.setattr("edge_ad.runtime.serve.supervisor._PAUSES", (3600.0, 3600.0))
    options = StationOptions(tmp_path / "records", provider="cpu", threads=1, max_batch=1)
    folder = tmp_path / "in"
    (folder / "ring").mkdir(parents=True)

    def station() -> Station:
        watch = FolderSource(folder, journal=tmp_path / "journal", after="move", settle=0.0)
        return Station(options, {"line": calibrated}, [watch])

    async def stopped() -> None:
        one = station()
        await one.start()
        pid = one._supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        (folder / "ring" / "a.png").write_bytes(png_bytes(1))
        asked = asyncio.create_task(one.inspect_file(png_bytes(2), "ring", deadline_s=3600))
        while len(one._open) < 2:
            await asyncio.sleep(0.02)
        os.kill(pid, sent)
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await one.close(wait=wait)
        assert time.monotonic() - began < 30
        with pytest.raises((Overloaded, WorkerDied)):  # the one that the worker died with
            await asked

    async def again() -> None:
        one = station()
        await one.start()
        while not list(folder.glob("done/ring/*.png")):
            await asyncio.sleep(0.02)
        await one.close()

    asyncio.run(stopped())
    assert (folder / "ring" / "a.png").exists()
    asyncio.run(again())
    assert not (folder / "failed").exists()
