"""What dies, and what must be left: workers, stations, and stations told to stop."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.serve.core.conftest import Live, png_bytes, until


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def in_hands(live: Live, what: str = "count") -> float:
    """Batches that the worker was given so far; "sum": the images in them."""
    lines = live.call("GET", "/metrics")[2].decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"edge_ad_batch_images_{what}"))


def test_a_dead_worker_costs_its_batch_and_a_stopped_station_answers_all(
    calibrated: Path, start: Callable[..., Live]
) -> None:
    live = start(calibrated).ready()
    assert live.inspect(png_bytes(1))[0] == 200
    first, before = live.worker, in_hands(live)
    os.kill(first, signal.SIGSTOP)  # it has work in its hands when it dies, for certain
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(live.inspect, png_bytes(seed)) for seed in range(10, 16)]
        until(lambda: in_hands(live) == before + 1)
        until(lambda: live.json("/v1/status")["queue"]["length"] >= 4)
        os.kill(first, signal.SIGKILL)
        answers = [one.result() for one in asked]
    dead = [answer for status, answer in answers if status == 500]
    assert 1 <= len(dead) <= 2, answers
    assert {answer["error"]["code"] for answer in dead} == {"worker_died"}
    decided = [answer["record_id"] for status, answer in answers if status == 200]
    assert len(decided) == 6 - len(dead)
    recorded = [record["record_id"] for record in live.json("/v1/records")["records"]]
    assert len(recorded) == 1 + len(decided)
    assert set(decided) <= set(recorded)
    assert live.worker != first
    assert live.json("/v1/status")["worker"] == {"up": True, "restarts": 1}

    before = in_hands(live, "sum")
    os.kill(live.worker, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(live.inspect, png_bytes(seed)) for seed in range(20, 24)]
        until(lambda: in_hands(live, "sum") - before + live.json("/v1/status")["queue"]["length"] == 4)
        live.process.send_signal(signal.SIGTERM)
        live.wait_for("draining")
        os.kill(live.worker, signal.SIGCONT)
        answers = [one.result() for one in asked]
    assert [status for status, _ in answers] == [200] * 4
    assert live.process.wait(60) == 0
    assert not is_running(live.worker)


def test_a_killed_station_has_every_answered_decision(calibrated: Path, start: Callable[..., Live]) -> None:
    live = start(calibrated, "--queue", "16").ready()
    answered: list[dict] = []
    lock = threading.Lock()

    def keep_asking(seed: int) -> None:
        while True:
            seed += 100
            try:
                status, answer = live.inspect(png_bytes(seed))
            except (OSError, ValueError):  # the station was killed with this one in its hands
                return
            except Exception:  # http.client's own errors, for the same reason
                return
            assert status == 200
            with lock:
                answered.append(answer)

    threads = [threading.Thread(target=keep_asking, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(answered) >= 12)
    live.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    until(lambda: not is_running(live.worker), 20)  # it does not outlive its station, nor hold the card

    database = sqlite3.connect(live.records / "records.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    orphan = live.records / "pictures" / "00" / ("0" * 64 + ".png")  # as a kill between picture and record leaves it
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    half = live.records / "pictures" / "00" / f".{'1' * 32}"
    half.write_bytes(b"y")

    again = start(calibrated, records=live.records).ready()
    assert not orphan.exists()
    assert not half.exists()
    for answer in answered:
        record = again.json(f"/v1/records/{answer['record_id']}")
        assert record == {key: value for key, value in answer.items() if key != "inline"}
        for link in record["pictures"].values():
            status, _, body = again.call("GET", link)
            assert status == 200
            assert hashlib.sha256(body).hexdigest() in link
    everything = again.json("/v1/records?limit=500")["records"]
    pictures = [record["pictures"]["image"] for record in everything]
    assert len(pictures) == len(set(pictures))  # each image was another: none was inspected twice
    assert len(everything) - len(answered) <= 4  # at most one a client: committed, but killed before the answer
    assert again.json("/v1/status")["counts"]["total"] == len(everything)

    other = start(calibrated, records=live.records)  # a second station on the same records
    assert other.process.wait(60) == 1
    assert "another station is using these records" in other.log.read_text()


def test_an_unready_station_answers_so_and_a_wrong_bundle_ends_it(
    tiny_bundle: Path, calibrated: Path, start: Callable[..., Live], tmp_path: Path
) -> None:
    live = start(calibrated)
    assert live.call("GET", "/v2/health/live")[0] == 200
    if not live.lines("ready"):
        status, headers, _ = live.call("POST", "/v1/inspect?category=ring", png_bytes(), {"Content-Type": "image/png"})
        assert (status, "retry-after" in headers) == (503, True)
    refused = start(tiny_bundle, records=tmp_path / "other")
    assert refused.process.wait(120) == 1
    assert "--allow-uncalibrated" in refused.log.read_text().splitlines()[-1]
    started = time.monotonic()
    assert live.stop() == 0  # also in the midst of its loading
    assert time.monotonic() - started < 30
