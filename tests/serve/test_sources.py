"""Sources against a real station: a watched folder, a camera (video file and network stream), a trigger by MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import io
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.runtime.serve.broker import parse_broker
from edge_ad.runtime.serve.config import build_sources, read_config
from edge_ad.runtime.serve.decision import Decision, InspectionFailed, WorkerDied
from edge_ad.runtime.serve.sources.attempts import Attempts
from edge_ad.runtime.serve.sources.camera import Camera, CameraSource, address_with
from edge_ad.runtime.serve.sources.folder import FolderSource
from edge_ad.runtime.serve.sources.journal import Identity, Journal
from edge_ad.runtime.serve.sources.trigger import MqttTrigger, TriggeredCamera, parse_trigger

SECONDS = 60.0  # long, for a busy machine; a test that passes does not wait


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


@contextmanager
def lines() -> Iterator[list[str]]:
    """The events that the station logs meanwhile."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("edge_ad.serve")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield told
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class Running:
    """A station on an event loop of its own thread."""

    def __init__(self, bundle: Path, folder: Path):
        pytest.importorskip("fastapi", reason="needs the serve extra")
        from edge_ad.runtime.serve.options import StationOptions
        from edge_ad.runtime.serve.station import Station

        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        options = StationOptions(folder, provider="cpu", threads=1, allow_uncalibrated=True, deadline=SECONDS)

        async def start() -> Station:
            station = Station(options, {"tiny": bundle})
            await station.start()
            return station

        self.station = self.do(start())

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(2 * SECONDS)

    def records(self, source: str) -> list[Decision]:
        from edge_ad.runtime.serve.tables import Query

        return [one for one in self.do(self.station.records.find(Query(limit=500))) if one.source.startswith(source)]

    @contextmanager
    def source(self, source) -> Iterator[None]:
        async def start():
            stop = asyncio.Event()
            return stop, asyncio.create_task(source.run(self.station, stop))

        stop, task = self.do(start())
        try:
            yield
        finally:
            self.loop.call_soon_threadsafe(stop.set)
            self.do(asyncio.wait_for(asyncio.shield(task), SECONDS))

    def close(self) -> None:
        self.do(self.station.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory, tiny_bundle) -> Iterator[Running]:
    one = Running(tiny_bundle, tmp_path_factory.mktemp("records"))
    yield one
    one.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "ring").mkdir(parents=True)
    return folder


def watch(inbox: Path, name: str, **options) -> FolderSource:
    options = {"journal": inbox.parent / "state" / "journal.jsonl", "settle": 0.15, **options}
    return FolderSource(inbox, name=name, **options)


# watched folder


def test_a_picture_is_inspected_once_also_across_restarts(running, inbox, tiny_picture) -> None:
    (inbox / "ring" / "a.png").write_bytes(png(tiny_picture))
    with running.source(watch(inbox, "once")):
        until(lambda: running.records("once: ring/a.png"))
        (inbox / "ring" / "b.png").write_bytes(png(tiny_picture))
        until(lambda: running.records("once: ring/b.png"))
    with running.source(watch(inbox, "once")):  # the journal remembers
        (inbox / "ring" / "c.png").write_bytes(png(tiny_picture))
        until(lambda: running.records("once: ring/c.png"))
    (inbox.parent / "state" / "journal.jsonl").unlink()  # as if killed before it was written: the records remember
    with running.source(watch(inbox, "once")):
        (inbox / "ring" / "d.png").write_bytes(png(tiny_picture))
        until(lambda: running.records("once: ring/d.png"))
    found = running.records("once")
    assert sorted(one.source[6:16] for one in found) == [f"ring/{name}.png" for name in "abcd"]
    assert {one.category for one in found} == {"ring"}
    assert (inbox / "ring" / "a.png").exists()


def test_a_file_is_complete_before_it_is_read(running, inbox, tiny_picture) -> None:
    data = png(tiny_picture)
    slow = inbox / "ring" / "slow.png"
    with running.source(watch(inbox, "slow", after="move")):
        with open(slow, "wb") as file:
            part = -(-len(data) // 4)
            for start in range(0, len(data), part):
                file.write(data[start : start + part])
                file.flush()
                time.sleep(0.4)  # longer than it takes to settle: what is there cannot be decoded yet
                assert not running.records("slow") or start + part >= len(data)
        until(lambda: running.records("slow"))
        whole = inbox / "whole.tmp"
        whole.write_bytes(data)
        os.rename(whole, inbox / "ring" / "renamed.png")
        until(lambda: len(running.records("slow")) == 2)
    assert sorted(path.name for path in (inbox / "done" / "ring").iterdir()) == ["renamed.png", "slow.png"]
    assert not (inbox / "failed").exists()


def test_moved_files_and_failures_with_their_reason(running, inbox, tiny_picture, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.sources.folder.PATIENCE", 0.3)
    (inbox / "done" / "ring").mkdir(parents=True)
    (inbox / "done" / "ring" / "a.png").write_bytes(b"of yesterday")
    (inbox / "ring" / "a.png").write_bytes(png(tiny_picture))
    (inbox / "ring" / "text.png").write_bytes(b"no picture at all")
    (inbox / "ring" / ".hidden.png").write_bytes(png(tiny_picture))
    (inbox / "ring" / "notes.txt").write_bytes(b"left alone")
    (inbox / "ring" / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n")
    (inbox / "gadget").mkdir()
    (inbox / "gadget" / "b.png").write_bytes(png(tiny_picture))
    second = f"a-{(inbox / 'ring' / 'a.png').stat().st_mtime_ns}.png"
    with running.source(watch(inbox, "moved", after="move")):
        until(lambda: len(list(inbox.rglob("failed/*/*.txt"))) == 3 and (inbox / "done" / "ring" / second).exists())
    assert (inbox / "done" / "ring" / "a.png").read_bytes() == b"of yesterday"
    for name in ("text.png", "script.png"):  # Pillow would hand the second to another program
        assert f"{name}: not an image of a known kind" in (inbox / "failed" / "ring" / f"{name}.txt").read_text()
    assert "gadget" in (inbox / "failed" / "gadget" / "b.png.txt").read_text()
    assert sorted(path.name for path in (inbox / "ring").iterdir()) == [".hidden.png", "notes.txt"]
    assert len(running.records("moved")) == 1


def test_a_name_written_again_is_another_picture(running, inbox, tiny_picture) -> None:
    path = inbox / "latest.png"
    with running.source(watch(inbox, "again", category="weave")):
        path.write_bytes(png(tiny_picture))
        until(lambda: len(running.records("again")) == 1)
        path.write_bytes(png(tiny_picture[::-1]))
        until(lambda: len(running.records("again")) == 2)
    assert {one.category for one in running.records("again")} == {"weave"}


def test_a_new_picture_that_looks_like_an_old_one_is_inspected(running, inbox, tiny_picture) -> None:
    path = inbox / "ring" / "part.png"
    first, second = png(tiny_picture), png(tiny_picture[::-1])
    path.write_bytes(first)
    stamp = path.stat().st_mtime_ns

    def again(data: bytes) -> None:
        path.with_suffix(".tmp").write_bytes(data)
        os.utime(path.with_suffix(".tmp"), ns=(stamp, stamp))
        os.rename(path.with_suffix(".tmp"), path)

    def moved(folder: Path) -> int:
        return len(list((folder / "done").rglob("*.png")))

    with running.source(watch(inbox, "alike", after="move")):
        until(lambda: moved(inbox) == 1)
        again(second)  # other bytes
        until(lambda: moved(inbox) == 2)
        again(first)  # even the same: the first has been through
        until(lambda: moved(inbox) == 3)
    assert len(running.records("alike")) == 3
    other = inbox.parent / "other"
    os.rename(inbox, other)
    path = other / "ring" / "part.png"
    again(first)
    with running.source(watch(other, "alike", after="move")):  # another folder, of the same name
        until(lambda: moved(other) == 4)
    assert len(running.records("alike")) == 4


def test_a_station_that_cannot_decide_condemns_no_picture(running, inbox, tiny_picture) -> None:
    pictures = running.station.pictures.folder
    for name in "abc":
        (inbox / "ring" / f"{name}.png").write_bytes(png(tiny_picture))
    os.rename(pictures, pictures.with_name("away"))
    pictures.write_bytes(b"")  # what a full disk does: nothing can be kept
    try:
        source = watch(inbox, "full", after="move")
        with running.source(source):
            time.sleep(1.5)
            assert source.failing
            pictures.unlink()
            os.rename(pictures.with_name("away"), pictures)
            until(lambda: len(list(inbox.rglob("done/ring/*.png"))) == 3)
            assert not source.failing
    finally:
        if pictures.is_file():
            pictures.unlink()
            os.rename(pictures.with_name("away"), pictures)
    assert not (inbox / "failed").exists()


def test_a_subfolder_that_cannot_be_read_stops_no_other(running, tmp_path: Path, tiny_picture) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    here = os.open(inbox, os.O_RDONLY)
    while len(str(inbox)) < 3850:  # so deep that a long name below cannot be opened by its path
        os.mkdir("d" * 100, dir_fd=here)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, inbox = deeper, inbox / ("d" * 100)
    os.mkdir("x" * 250, dir_fd=here)
    os.close(here)
    (inbox / "ring").mkdir()
    (inbox / "ring" / "a.png").write_bytes(png(tiny_picture))
    with lines() as told, running.source(watch(inbox, "deep", journal=tmp_path / "journal")):
        until(lambda: running.records("deep: ring/a.png"))
        (inbox / "ring" / "b.png").write_bytes(png(tiny_picture))
        until(lambda: running.records("deep: ring/b.png"))
    assert told.count("cannot be read") == 1


def test_whose_fault_a_failed_inspection_is() -> None:
    attempts = Attempts()
    full = InspectionFailed("no space left")
    assert not attempts.failing
    assert not any(attempts.failed("sound", full) for _ in range(9))  # nothing else was decided: the station's
    assert attempts.pause == 10
    assert attempts.failing
    attempts.decided()
    assert not attempts.failing
    assert attempts.pause < 1
    assert "sound" in attempts
    assert "other" not in attempts
    assert not attempts.failed("sound", full)
    attempts.decided()
    assert attempts.failed("sound", full)
    assert [attempts.failed("poison", WorkerDied("killed")) for _ in range(3)] == [False, False, True]
    assert attempts.failing
    attempts.keep({"sound"})
    assert "poison" not in attempts
    attempts.keep(set())
    assert not attempts.failing  # nothing waits any more


names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20)
identities = st.builds(Identity, names, st.integers(0, 2**40), st.integers(0, 2**62))


@given(st.lists(identities, max_size=8, unique=True), st.integers(0, 60))
@example([Identity("0", 0, 0)], 1)
@settings(max_examples=60, deadline=None)
def test_the_journal_survives_a_torn_end(tmp_path_factory, written: list[Identity], torn: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "seen.jsonl"
    journal = Journal(path)
    for identity in written:
        journal.add(identity)
    lines = path.read_bytes().splitlines(keepends=True) if written else []
    data = b"".join(lines)[: sum(map(len, lines)) - torn] if torn else b"".join(lines)
    path.write_bytes(data)
    whole = [identity for i, identity in enumerate(written) if sum(map(len, lines[: i + 1])) <= len(data) + 1]
    again = Journal(path)
    again.load()
    for identity in written:
        assert (identity in again) == (identity in whole)
    again.add(Identity("new", 1, 2))  # the torn line does not swallow the next one
    last = Journal(path)
    last.load()
    assert Identity("new", 1, 2) in last


def test_the_journal_forgets_what_is_long_gone_and_nothing_of_an_empty_folder(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "seen.jsonl"
    first = Journal(path)
    old, new, other = Identity("ring/a", 1, 1), Identity("ring/b", 1, 1), Identity("weave/a", 1, 1)
    for identity in (old, new, other):
        first.add(identity)
    journal = Journal(path)
    journal.load()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr("edge_ad.runtime.serve.sources.journal.SLACK", 10)

    def look(*present: Identity) -> list[bool]:
        nonlocal now
        now += 61
        journal.keep(present)
        return [identity in journal for identity in (old, new, other)]

    assert [look() for _ in range(70)][-1] == [True] * 3  # a share that is not mounted
    assert [look(new) for _ in range(30)][-1] == [True] * 3
    assert look(old, new) == [True] * 3
    assert [look(new) for _ in range(50)][-1] == [True] * 3  # it was there in between
    assert [look(new) for _ in range(20)][-1] == [False, True, True]  # nothing is in weave, as on a share of its own
    for number in range(30):  # names that come and go: the file does not grow with them
        journal.add(Identity(f"ring/{number}", 1, 1))
    for _ in range(62):
        look(new)
    assert len(path.read_text().splitlines()) == 2
    again = Journal(path)
    again.load()
    assert [identity in again for identity in (old, new, other)] == [False, True, True]


# camera


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A second of video, red on the left, blue on the right."""
    cv2 = pytest.importorskip("cv2", reason="needs the camera extra")
    path = tmp_path_factory.mktemp("video") / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (96, 64))
    assert writer.isOpened()
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:, :48] = (0, 0, 220)  # OpenCV: blue, green, red
    frame[:, 48:] = (220, 0, 0)
    for _ in range(20):
        writer.write(frame)
    writer.release()
    return path


@contextmanager
def taking(camera: Camera) -> Iterator[Camera]:
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


def test_a_video_file_plays_over_and_over_in_rgb(video: Path) -> None:
    with taking(Camera("file", str(video))) as camera:
        start = time.monotonic()
        while time.monotonic() - start < 2.5:  # longer than the file
            picture = asyncio.run(camera.picture(SECONDS))
    assert picture.shape == (64, 96, 3)
    assert picture.dtype == np.uint8
    assert picture[32, 10, 0] > 180 > picture[32, 10, 2] + 100
    assert picture[32, 90, 2] > 180 > picture[32, 90, 0] + 100


class Stream:
    """A network camera: MJPEG over HTTP, each frame as bright as the number of frames since the start, times 5."""

    def __init__(self, port: int = 0):
        outer = self
        self.stopping = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not outer.stopping.wait(0.05):
                        out = io.BytesIO()
                        Image.new("RGB", (64, 48), (outer.brightness(),) * 3).save(out, "JPEG")
                        self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + out.getvalue() + b"\r\n")
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                pass

        self.started = time.monotonic()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def brightness(self) -> int:
        return min(255, int(10 * (time.monotonic() - self.started)))

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def _gone(camera: Camera) -> bool:
    try:
        asyncio.run(camera.picture(0.5))
    except InputError as error:
        assert str(error).startswith("camera net: no picture")  # noqa: PT017 (frames in flight may still come)
        return True
    return False


def test_a_picture_is_of_now_and_the_camera_is_connected_again() -> None:
    pytest.importorskip("cv2", reason="needs the camera extra")
    stream = Stream()
    with taking(Camera("net", f"http://127.0.0.1:{stream.port}/live.mjpg", pause=0.2)) as camera:
        asyncio.run(camera.picture(SECONDS))
        time.sleep(2)  # nobody asks: the frames of these seconds must not be what comes next
        asked = stream.brightness()
        assert (
            asyncio.run(camera.picture(SECONDS)).mean() >= asked - 8
        )  # 0.8 s for a busy machine; buffered, it would be 20 darker
        stream.stop()
        until(lambda: _gone(camera))
        until(lambda: camera.lost)
        began = time.monotonic()
        with pytest.raises(InputError, match="net: no picture, it is lost"):
            asyncio.run(camera.picture(SECONDS))
        assert time.monotonic() - began < 5
        again = Stream(stream.port)
        until(lambda: not camera.lost)
        assert asyncio.run(camera.picture(SECONDS)).shape == (48, 64, 3)
        again.stop()


def test_many_who_wait_for_a_picture_hold_up_nobody(video: Path) -> None:
    async def story() -> None:
        camera = Camera("line", str(video))
        asked = [asyncio.create_task(camera.picture(SECONDS)) for _ in range(64)]
        given_up = asyncio.create_task(camera.picture(SECONDS))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.to_thread(time.sleep, 0)  # nor any thread of those that everything shares
        assert time.monotonic() - began < 5
        given_up.cancel()
        with pytest.raises(InputError, match=r"no picture within 0\.1 s"):
            await camera.picture(0.1)
        with taking(camera):
            assert {picture.shape for picture in await asyncio.gather(*asked)} == {(64, 96, 3)}
        assert not camera._askers

    asyncio.run(story())


def test_a_camera_without_room_is_told_of_once_a_while(video: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    from edge_ad.runtime.serve.options import StationOptions
    from edge_ad.runtime.serve.station import Station

    async def story() -> None:
        station = Station(StationOptions(tmp_path, provider="cpu", threads=1), {})  # no product: no room
        await station.start()
        stop = asyncio.Event()
        source = CameraSource(Camera("busy", str(video)), category="ring", every=0.02)
        task = asyncio.create_task(source.run(station, stop))
        await asyncio.sleep(1.5)
        stop.set()
        await task
        await station.close()

    with lines() as told:
        asyncio.run(story())
    assert told.count("picture skipped") in (1, 2)


def test_a_camera_on_a_clock(running, video: Path) -> None:
    with running.source(CameraSource(Camera("clock", str(video)), category="ring", every=0.3)):
        until(lambda: len(running.records("clock")) >= 2)
    found = running.records("clock")
    assert {(one.category, one.width, one.height) for one in found} == {("ring", 96, 64)}


def test_a_camera_that_brings_nothing_is_told(running) -> None:
    pytest.importorskip("cv2", reason="needs the camera extra")
    stream = Stream()
    address = f"http://127.0.0.1:{stream.port}/live.mjpg"
    idle = CameraSource(Camera("idle", address, pause=0.2), category="ring")  # waits for triggers
    clocked = CameraSource(Camera("told", address, pause=0.2), category="ring", every=0.2)
    wrong = CameraSource(Camera("wrong", address, pause=0.2), category="bolt", every=0.2)
    with running.source(idle), running.source(clocked), running.source(wrong):
        until(lambda: len(running.records("told")) >= 1)
        until(lambda: wrong.failing)  # there is no such category
        assert not idle.failing
        stream.stop()
        until(lambda: idle.failing and clocked.failing)
        again = Stream(stream.port)
        until(lambda: not idle.failing and not clocked.failing)
        again.stop()


def test_a_password_goes_into_the_address_only() -> None:
    assert address_with("rtsp://op@cam:554/s1", "p@ss/word") == "rtsp://op:p%40ss%2Fword@cam:554/s1"
    assert address_with("rtsp://cam/s1", "secret") == "rtsp://cam/s1"
    assert address_with("video.avi", "secret") == "video.avi"


# trigger


def test_a_message_takes_a_picture_and_is_answered(running, broker, video: Path) -> None:
    camera = Camera("line-1", str(video))
    trigger = MqttTrigger(parse_broker(broker.url, "plant"), {"line-1": TriggeredCamera(camera, "weave")}, name="mqtt")
    source = CameraSource(camera, category=None)
    with broker.listen("plant/answer") as got, running.source(source), running.source(trigger):
        for _ in range(20):  # a trigger that comes before the station has subscribed is nobody's
            broker.send("plant/trigger", '{"camera": "line-1", "id": "part 7"}')
            with contextlib.suppress(AssertionError):
                until(lambda: got, 5)
                break
        broker.send("plant/trigger", '{"camera": "line-2", "id": "part 8"}')
        broker.send("plant/trigger", "no JSON")
        broker.send("plant/trigger", '{"camera": "line-1", "category": "gadget"}')
        until(lambda: sum(answer["error"] is not None for _, answer, _ in got) >= 3)
    first = got[0][1]
    assert first["id"] == "part 7"
    assert first["decision"]["category"] == "weave"
    assert first["decision"]["source"] == "line-1"
    errors = " ".join(answer["error"] for _, answer, _ in got if answer["error"])
    assert "line-2: not in the configuration; there are: line-1" in errors
    assert "send JSON such as" in errors
    assert "gadget" in errors


def test_an_image_by_message_is_inspected_once(running, broker, tiny_picture) -> None:
    def trigger() -> MqttTrigger:
        return MqttTrigger(parse_broker(broker.url, "plant"), {}, name="images")

    with broker.listen("plant/answer") as got:
        with running.source(trigger()):
            time.sleep(1.0)  # the subscription is under way
            broker.send("plant/inspect/ring/part-1", png(tiny_picture))
            until(lambda: len(got) == 1)
            for _ in range(2):  # the same picture of two parts
                broker.send("plant/inspect/ring", png(tiny_picture))
            until(lambda: len(got) == 3)
        # while the station is away the broker keeps what comes
        broker.send("plant/inspect/weave", png(tiny_picture))
        broker.send("plant/inspect/ring/part-3", b"no image")
        with running.source(trigger()):
            until(lambda: len(got) == 5)
    answers = [answer for _, answer, _ in got]
    assert answers[0]["id"] == "part-1"
    assert answers[0]["decision"]["category"] == "ring"
    by_id = {answer["id"]: answer for answer in answers[3:]}
    assert by_id[None]["decision"]["category"] == "weave"
    assert "image" in by_id["part-3"]["error"]
    assert len(running.records("images: ")) == 4


def test_retained_messages_are_not_inspected(running, broker, tiny_picture, video: Path) -> None:
    camera = Camera("line-1", str(video))
    trigger = MqttTrigger(parse_broker(broker.url, "plant"), {"line-1": TriggeredCamera(camera, "ring")}, name="kept")
    broker.send("plant/trigger", '{"camera": "line-1", "id": "old"}', retain=True)
    broker.send("plant/inspect/ring/old", png(tiny_picture), retain=True)
    with broker.listen("plant/answer") as got, taking(camera), lines() as told:
        for turn in range(3):
            with running.source(trigger):
                until(lambda: told.count("connected to broker") > turn)  # noqa: B023
                time.sleep(0.5)
                broker.send("plant/inspect/ring/new", png(tiny_picture))
                until(lambda: len(got) == turn + 2)  # noqa: B023
    answers = [(answer["id"], answer["error"] is None) for _, answer, _ in got]
    assert sorted(answers) == [("new", True)] * 3 + [("old", False)]
    assert "trigger ignored" in told
    assert len(running.records("kept")) == 3
    assert not running.records("line-1 ")


def test_images_that_the_broker_does_not_keep_are_few(running, broker, tiny_picture, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.sources.trigger.MAX_IN_HAND", 2)
    trigger = MqttTrigger(parse_broker(broker.url, "plant"), {}, name="flood")
    worker = running.station._supervisor.pid
    with broker.listen("plant/answer") as got, running.source(trigger):
        time.sleep(1.0)  # the subscription is under way
        os.kill(worker, signal.SIGSTOP)
        try:
            for number in range(5):
                broker.send(f"plant/inspect/ring/{number}", png(tiny_picture), qos=0)
            broker.send("plant/inspect/ring/kept", png(tiny_picture))
            until(lambda: len(got) == 3)
            assert len(trigger._in_hand) == 3
        finally:
            os.kill(worker, signal.SIGCONT)
        until(lambda: len(got) == 6)
    refused = [answer for _, answer, _ in got if answer["error"]]
    assert [answer["id"] for answer in refused] == ["2", "3", "4"]
    assert "publish with QoS 1" in refused[0]["error"]
    assert len(running.records("flood")) == 3


def test_a_broker_that_is_away_is_told(running, broker, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.sources.trigger.DEAF", 0.5)
    trigger = MqttTrigger(parse_broker(broker.url, "plant"), {}, name="away")
    broker.stop()
    assert not trigger.failing
    with lines() as told, running.source(trigger):
        until(lambda: trigger.failing)
        time.sleep(1.5)  # another attempt
        assert told.count("broker not reached") == 1
        broker.start()
        until(lambda: not trigger.failing)
        broker.stop()
        until(lambda: trigger.failing)
    assert not trigger.failing
    assert "broker lost" in told


def test_a_broker_that_refuses_the_subscription_is_told(running, monkeypatch) -> None:
    pytest.importorskip("paho.mqtt", reason="needs the mqtt extra")
    monkeypatch.setattr("edge_ad.runtime.serve.sources.trigger.DEAF", 0.5)

    def serve(listener: socket.socket) -> None:
        """As a broker whose access list allows the connection and no topic."""
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)  # CONNECT
            connection.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
            number = connection.recv(4096)[2:4]  # SUBSCRIBE
            connection.sendall(b"\x90\x04" + number + b"\x80\x80")  # SUBACK: failure, failure
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        trigger = MqttTrigger(parse_broker(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", "plant"), {}, name="denied")
        with lines() as told, running.source(trigger):
            until(lambda: trigger.failing)
            until(lambda: "broker refuses" in told)
            assert "connected to broker" in told
        thread.join()


def test_what_the_broker_brings_again_is_answered_from_the_records(running, broker, tiny_picture) -> None:
    data, messages = png(tiny_picture), []
    digest = hashlib.sha256(data).hexdigest()[:16]
    first = parse_broker(broker.url, "plant").client("in", persistent=True, manual_ack=True)
    subscribed = threading.Event()
    first.on_connect = lambda client, *_: client.subscribe("plant/inspect/#", 1)
    first.on_subscribe = lambda *_: subscribed.set()
    first.on_message = lambda _client, _data, message: messages.append(message)
    first.connect("127.0.0.1", broker.port)
    first.loop_start()
    assert subscribed.wait(SECONDS)
    for _ in range(2):
        broker.send("plant/inspect/ring/golden", data)
    until(lambda: len(messages) == 2)
    first.disconnect()  # it ends with two images in its hands, and one of them decided on
    first.loop_stop()
    source = f"brought: ring/golden {digest} {messages[0].mid}"
    decided = running.do(running.station.inspect_file(data, "ring", source=source))
    with broker.listen("plant/answer") as got:
        with running.source(MqttTrigger(parse_broker(broker.url, "plant"), {}, name="brought")):
            until(lambda: len(got) == 2)
        with running.source(MqttTrigger(parse_broker(broker.url, "plant"), {}, name="brought")):
            time.sleep(0.5)  # both are acknowledged
    ids = [answer["decision"]["record_id"] for _, answer, _ in got]
    assert len(ids) == len(set(ids)) == 2
    assert decided.record_id in ids
    assert [answer["id"] for _, answer, _ in got] == ["golden"] * 2
    assert sorted(ids) == sorted(one.record_id for one in running.records("brought: "))


def test_what_a_worker_died_with_is_inspected_again(running, broker, inbox, tiny_picture) -> None:
    def batches() -> float:
        lines = running.station.metrics.text().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("edge_ad_batch_images_count"))

    trigger = MqttTrigger(parse_broker(broker.url, "plant"), {}, name="died")
    with broker.listen("plant/answer") as got, running.source(trigger), running.source(watch(inbox, "dead")):
        time.sleep(1.0)  # the subscription is under way
        before, worker = batches(), running.station._supervisor.pid
        os.kill(worker, signal.SIGSTOP)
        running.loop.call_soon_threadsafe(setattr, running.station._batches, "max_delay", 1.0)  # one batch of both
        broker.send("plant/inspect/ring/part-1", png(tiny_picture))
        (inbox / "ring" / "a.png").write_bytes(png(tiny_picture))
        until(lambda: batches() > before)
        running.loop.call_soon_threadsafe(setattr, running.station._batches, "max_delay", 0.0)
        os.kill(worker, signal.SIGKILL)
        until(lambda: got and running.records("dead: "))
        assert batches() == before + 3  # the first, and then each by itself
    assert [answer["error"] for _, answer, _ in got] == [None]


@given(st.binary(max_size=60))
def test_any_message_is_a_trigger_or_refused(payload: bytes) -> None:
    with contextlib.suppress(InputError):  # anything else is a bug
        parse_trigger(payload)


# configuration


def test_configuration_of_every_source(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("paho.mqtt", reason="needs the mqtt extra")
    pytest.importorskip("cv2", reason="needs the camera extra")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "in").mkdir()
    (tmp_path / "line.avi").write_bytes(b"")
    (tmp_path / "camera.password").write_text("secret\n")
    (tmp_path / "camera.password").chmod(0o600)
    (tmp_path / "station.toml").write_text(
        '[[watch]]\nfolder = "in"\ncategory = "ring"\nafter = "move"\n'
        '[[camera]]\nname = "usb"\naddress = 0\nevery_seconds = 2\n'
        '[[camera]]\nname = "net"\naddress = "rtsp://op@192.0.2.7/s1"\npassword_file = "camera.password"\n'
        '[[camera]]\nname = "file"\naddress = "line.avi"\n'
        '[mqtt]\nurl = "mqtt://localhost"\ntopic = "plant"\ntrigger = true\n'
    )
    sources = build_sources(read_config(tmp_path / "station.toml"))
    assert [source.name for source in sources] == ["watch", "usb", "net", "file", "mqtt"]
    assert (tmp_path / "state").is_dir()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[watch]]\nfolder = 'nowhere'\n", "nowhere: no such folder"),
        ("[[watch]]\nfolder = '.'\nafter = 'eat'\n", "watch.0.after"),
        ("[[watch]]\nfolder = '.'\n[[watch]]\nfolder = 'in'\n", "its own name"),
        ("[[camera]]\nname = 'a'\naddress = 0\n", "give every_seconds"),
        ("[[camera]]\nname = 'a b'\naddress = 0\nevery_seconds = 1\n", "camera.0.name"),
        ("[[camera]]\nname = 'a'\naddress = 'rtsp://u:hunter2@x/'\nevery_seconds = 1\n", "password_file"),
        ("[[camera]]\nname = 'a'\naddress = 'no.avi'\nevery_seconds = 1\n", "no such video file"),
        ("[[camera]]\nname = 'a'\naddress = 0\nevery_seconds = -1\n", "camera.0.every_seconds"),
        ("state = '/proc/nowhere'\n[[watch]]\nfolder = '.'\n", "cannot be made"),
    ],
)
def test_a_bad_configuration_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "station.toml").write_text(text)
    with pytest.raises(EdgeAdError) as caught:
        build_sources(read_config(tmp_path / "station.toml"))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
