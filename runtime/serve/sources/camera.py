"""A camera through OpenCV: USB, RTSP, HTTP, or a video file to try things with."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.runtime.serve.decision import Overloaded
from edge_ad.runtime.serve.lines import Throttle, log
from edge_ad.runtime.serve.sources.waiting import stopped_within

if TYPE_CHECKING:
    from edge_ad.runtime.serve.station import Station

#: Pauses between attempts to connect, seconds: doubled from the first to the second.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: A camera that sends nothing for this long is connected again, milliseconds.
SILENCE_MS = 5000
#: How long a picture may be waited for, seconds.
FRAME_SECONDS = 2.0


class Camera:
    """Pictures of one camera, taken when asked for.

    A thread reads all the time: drivers and streams buffer, so that a camera read only now and then shows the past.
    It connects again when the camera goes away. A video file plays at its own rate, over and over.

    address: a device number, `rtsp://user@host/…`, `http://…`, or a video file. password: for the user in `address`.
    """

    def __init__(self, name: str, address: str | int, *, password: str | None = None, pause: float = FIRST_PAUSE):
        self.name = name
        self.lost = False  # no connection; set by the thread
        self._address = address
        self._password = password
        self._pause = pause
        self._lock = threading.Lock()
        self._askers: list[Future[NDArray[np.uint8]]] = []  # who waits: a frame is converted only for them
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read. ModuleNotFoundError without OpenCV."""
        # FFmpeg would print the address, password included
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
        import cv2

        self._stop.clear()
        self._thread = threading.Thread(target=self._read, args=(cv2,), name=f"camera {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; the camera is let go of within the time that one read takes."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    async def picture(self, seconds: float = FRAME_SECONDS) -> NDArray[np.uint8]:
        """The first frame that is complete after this call, uint8 H,W,3 RGB; no thread waits for it.

        InputError if none comes in `seconds`, or at once while the camera is lost.
        """
        if self.lost:
            raise InputError(f"camera {self.name}: no picture, it is lost; see whether it is connected")
        asker: Future[NDArray[np.uint8]] = Future()
        with self._lock:
            self._askers.append(asker)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asker), seconds)
        except asyncio.TimeoutError:
            raise InputError(
                f"camera {self.name}: no picture within {seconds:g} s; see whether it is connected"
            ) from None
        finally:
            with self._lock:
                self._askers.remove(asker)

    def _read(self, cv2: Any) -> None:
        failures = 0
        while not self._stop.is_set():
            frames = 0
            try:
                capture = self._open(cv2)
                try:
                    if capture.isOpened():
                        frames = self._grab(cv2, capture)
                finally:
                    capture.release()
            except Exception as error:  # OpenCV's own, on a driver's odd answers: the camera may be sound the next time
                log("camera failed", level="error", source=self.name, reason=type(error).__name__)
            if self._stop.is_set():
                return
            if frames and self._is_file():
                continue
            failures, self.lost = 1 if frames else failures + 1, True
            if failures == 1:
                log("camera lost", level="warning", source=self.name)
            self._stop.wait(min(LONGEST_PAUSE, self._pause * 2.0 ** min(failures - 1, 10)))

    def _open(self, cv2: Any) -> Any:
        if isinstance(self._address, int):
            return cv2.VideoCapture(self._address)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, SILENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, SILENCE_MS]
        return cv2.VideoCapture(address_with(self._address, self._password), cv2.CAP_FFMPEG, limits)

    def _grab(self, cv2: Any, capture: Any) -> int:
        """Read until the camera stops sending; the number of frames."""
        pace = 1.0 / (capture.get(cv2.CAP_PROP_FPS) or 25.0) if self._is_file() else 0.0
        frames = 0
        while not self._stop.is_set():
            with self._lock:  # before the grab: an asker of later must not get this frame
                askers = [asker for asker in self._askers if not asker.done()]
            if not capture.grab():
                break
            frames += 1
            if frames == 1:
                self.lost = False
                log("camera connected", source=self.name)
            if askers:
                good, frame = capture.retrieve()
                if good:
                    _hand(cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB), askers)
            if pace:
                self._stop.wait(pace)
        return frames

    def _is_file(self) -> bool:
        return isinstance(self._address, str) and "://" not in self._address


class CameraSource:
    """Keeps a camera running; with `every`, inspects a picture each so many seconds.

    One picture is in the station at a time: where that takes longer, pictures come as fast as they are decided. One for
    which there is no room is skipped. Without `every` the camera only takes
    pictures for a trigger.
    """

    def __init__(self, camera: Camera, *, category: str | None, product: str | None = None, every: float | None = None):
        self.name = camera.name
        self._camera = camera
        self._category = category
        self._product = product
        self._every = every
        self._complaint = ""  # why the last picture was not inspected
        self._skips = Throttle(1.0)

    @property
    def failing(self) -> bool:
        """Whether the camera is lost, or its last picture could not be inspected."""
        return self._camera.lost or bool(self._complaint)

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        """Run the camera until `stop` is set."""
        self._camera.start()
        try:
            if self._every is None:
                await stop.wait()
                return
            due = time.monotonic()
            while not await stopped_within(stop, due - time.monotonic()):
                due = max(due + self._every, time.monotonic())
                try:
                    image = await self._camera.picture()
                    await station.inspect(image, self._category, product=self._product, source=self.name)
                except Overloaded:
                    if self._skips():
                        log("picture skipped", level="warning", source=self.name, reason="the station is busy")
                except EdgeAdError as error:
                    if str(error) != self._complaint:  # once, not at every picture
                        log("no inspection", level="error", source=self.name, reason=str(error))
                    self._complaint = str(error)
                else:
                    self._complaint = ""
        finally:
            await asyncio.to_thread(self._camera.stop)


def _hand(frame: NDArray[np.uint8], askers: Sequence[Future[NDArray[np.uint8]]]) -> None:
    for asker in askers:
        if asker.set_running_or_notify_cancel():  # else it waits no longer
            asker.set_result(frame)


def address_with(address: str, password: str | None) -> str:
    """The address with the password put in after its user; unchanged without one or without a user."""
    if password is None or "://" not in address:
        return address
    parts = urlsplit(address)
    if parts.username is None:
        return address
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@{host}"))


def check_address(address: str) -> None:
    """Refuse an address that holds a password, or names a file that is not there. Raises InputError."""
    if "://" in address:
        if urlsplit(address).password is not None:
            raise InputError(
                f"the address of the camera {urlsplit(address).hostname} holds a password; use password_file"
            )
    elif not Path(address).is_file():
        raise InputError(f"{address}: no such video file; give a file, rtsp://…, or the number of a USB camera")
