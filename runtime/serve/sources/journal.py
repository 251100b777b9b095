"""What a watched folder has been through, kept in a file across restarts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from edge_ad.files import write_text

#: Files are forgotten when they have not been there for so long, seconds, and looked after so often.
FORGET, LOOK = 3600.0, 60.0
#: So many lines of forgotten files may be in a journal, beside as many as it has others.
SLACK = 1000


class Identity(NamedTuple):
    """One state of a file: its path inside the folder, size in bytes, time of last change in ns since the epoch.

    A camera that writes the same name again makes another one.
    """

    relative: str
    size: int
    changed_ns: int

    @property
    def folder(self) -> str:
        """Of the path, the part before the name."""
        return self.relative.rpartition("/")[0]


class Journal:
    """A set of identities, one JSON line each; a line torn by a power cut is left out when it is read."""

    def __init__(self, path: Path):
        self._path = path
        self._known: set[Identity] = set()
        self._missing: dict[Identity, float] = {}  # since when
        self._lines = 0
        self._looked = float("-inf")

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._known

    def load(self) -> None:
        """Read the file."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        lines = text.splitlines()
        self._known = {identity for line in lines if (identity := _parse(line)) is not None}
        self._lines = len(lines)
        if text and not text.endswith("\n"):  # what is added next would run into this line
            self._write()

    def add(self, identity: Identity) -> None:
        """Remember one file; it is on the disk when this returns. OSError if it cannot be written."""
        self._known.add(identity)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(identity))
            file.flush()
            os.fsync(file.fileno())
        self._lines += 1

    def keep(self, present: Collection[Identity]) -> None:
        """Forget files that have long not been among `present`: all that are there, to be told at every look.

        Where nothing at all is in a folder none of it is forgotten: it may be a share that is not mounted.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        folders = {identity.folder for identity in present}
        missing = (identity for identity in self._known.difference(present) if identity.folder in folders)
        self._missing = {identity: self._missing.get(identity, now) for identity in missing}
        self._known.difference_update([one for one, since in self._missing.items() if now - since >= FORGET])
        if self._lines > 2 * len(self._known) + SLACK:
            self._write()

    def _write(self) -> None:
        write_text(self._path, "".join(_line(identity) for identity in sorted(self._known)))
        self._lines = len(self._known)


def _line(identity: Identity) -> str:
    return json.dumps(identity) + "\n"  # ASCII: names that are not UTF-8 keep their surrogates


def _parse(line: str) -> Identity | None:
    try:
        relative, size, changed_ns = json.loads(line)
    except (ValueError, TypeError):
        return None
    return Identity(str(relative), size, changed_ns) if isinstance(size, int) and isinstance(changed_ns, int) else None
