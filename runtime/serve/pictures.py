"""Pictures on disk, each under the SHA-256 of its bytes: the same picture is kept once, and a name cannot lie."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DIGEST = re.compile(r"[0-9a-f]{64}")
_PNG = b"\x89PNG\r\n\x1a\n"


def png(image: NDArray[np.uint8]) -> bytes:
    """uint8 H,W,3 as a PNG file; packed lightly, since a line waits for it."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def is_png(data: bytes) -> bool:
    """Whether these bytes start as a PNG file does."""
    return data.startswith(_PNG)


class PictureStore:
    """A folder of PNG files `ab/abcd….png`. Safe for several threads.

    A picture is *held* from `put` to `release`, and no held picture is removed: its decision may not be recorded yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep a PNG file and hold it; whole or not at all, and on disk when this returns. Returns its SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._held[digest] += 1
        try:
            target = self.path(digest)
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                temporary = target.parent / f".{uuid.uuid4().hex}"
                try:
                    with open(temporary, "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(temporary, target)
                finally:
                    temporary.unlink(missing_ok=True)
        except BaseException:
            self.release([digest])
            raise
        return digest

    def release(self, digests: Sequence[str]) -> None:
        """End the hold of pictures, once their decision is recorded or given up."""
        with self._lock:
            self._held.subtract(digests)
            self._held += Counter()  # drops what has come to zero

    def remove(self, digests: Sequence[str]) -> int:
        """Remove pictures, but for those that are held; how many went."""
        with self._lock:
            free = [digest for digest in digests if not self._held[digest]]
            for digest in free:
                self.path(digest).unlink(missing_ok=True)
        return len(free)

    def path(self, digest: str) -> Path:
        """Where a picture lies or would lie. ValueError for anything but a SHA-256 in lower-case hexadecimal."""
        if not DIGEST.fullmatch(digest):
            raise ValueError("not a SHA-256")
        return self.folder / digest[:2] / f"{digest}.png"

    def find(self, digest: str) -> Path | None:
        """The file of a picture; None when there is none of that name, or the name is no SHA-256."""
        if not DIGEST.fullmatch(digest):
            return None
        path = self.path(digest)
        return path if path.is_file() else None

    def all(self) -> Iterator[str]:
        """The digests of all pictures there are. Files left half-written by a crash are removed on the way."""
        for folder in sorted(self.folder.iterdir()):
            for file in sorted(folder.iterdir()) if folder.is_dir() else []:
                if DIGEST.fullmatch(file.stem) and file.suffix == ".png":
                    yield file.stem
                elif re.fullmatch(r"\.[0-9a-f]{32}", file.name):
                    file.unlink(missing_ok=True)
