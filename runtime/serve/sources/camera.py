"""A camera through OpenCV: USB, RTSP, HTTP, or a video file to try things with."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.runtime.serve.decision import Overloaded
from edge_ad.runtime.serve.lines import log
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
        self._changed = threading.Condition()
        self._wanted = 0  # askers waiting: a frame is converted only for them
        self._frame: NDArray[np.uint8] | None = None
        self._number = 0
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

    def picture(self, seconds: float = FRAME_SECONDS) -> NDArray[np.uint8]:
        """The first frame that is complete after this call, uint8 H,W,3 RGB. InputError if none comes in `seconds`."""
        with self._changed:
            after = self._number
            self._wanted += 1
            try:
                if not self._changed.wait_for(lambda: self._number > after, seconds) or self._frame is None:
                    raise InputError(
                        f"camera {self.name}: no picture within {seconds:g} s; see whether it is connected"
                    )
                return self._frame
            finally:
                self._wanted -= 1

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
            wanted = self._wanted  # before the grab: an asker of later must not get this frame
            if not capture.grab():
                break
            frames += 1
            if frames == 1:
                self.lost = False
                log("camera connected", source=self.name)
            if wanted:
                good, frame = capture.retrieve()
                if good:
                    self._show(cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB))
            if pace:
                self._stop.wait(pace)
        return frames

    def _show(self, frame: NDArray[np.uint8]) -> None:
        with self._changed:
            self._frame = frame
            self._number += 1
            self._changed.notify_all()

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
                    image = await asyncio.to_thread(self._camera.picture)
                    await station.inspect(image, self._category, product=self._product, source=self.name)
                except Overloaded:
                    log("picture skipped", level="warning", source=self.name, reason="the station is busy")
                except EdgeAdError as error:
                    if str(error) != self._complaint:  # once, not at every picture
                        log("no inspection", level="error", source=self.name, reason=str(error))
                    self._complaint = str(error)
                else:
                    self._complaint = ""
        finally:
            await asyncio.to_thread(self._camera.stop)


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
