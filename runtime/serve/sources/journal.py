"""What a watched folder has been through, kept in a file across restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edge_ad.files import write_text


class Identity(NamedTuple):
    """One state of a file: its path inside the folder, size in bytes, time of last change in ns since the epoch.

    A camera that writes the same name again makes another one.
    """

    relative: str
    size: int
    changed_ns: int


class Journal:
    """A set of identities, one JSON line each; a line torn by a power cut is left out when it is read."""

    def __init__(self, path: Path):
        self._path = path
        self._known: set[Identity] = set()

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._known

    def load(self, present: Iterable[Identity]) -> None:
        """Read the file, and write it again without files that are no longer `present`."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        lines = text.splitlines()
        found = {identity for line in lines if (identity := _parse(line)) is not None}
        self._known = found.intersection(present)
        # a last line that lost its end of line alone is sound, and what is added next would run into it
        if text and (len(self._known) < len(lines) or not text.endswith("\n")):
            write_text(self._path, "".join(_line(identity) for identity in sorted(self._known)))

    def add(self, identity: Identity) -> None:
        """Remember one file; it is on the disk when this returns. OSError if it cannot be written."""
        self._known.add(identity)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(identity))
            file.flush()
            os.fsync(file.fileno())


def _line(identity: Identity) -> str:
    return json.dumps(identity) + "\n"  # ASCII: names that are not UTF-8 keep their surrogates


def _parse(line: str) -> Identity | None:
    try:
        relative, size, changed_ns = json.loads(line)
    except (ValueError, TypeError):
        return None
    return Identity(str(relative), size, changed_ns) if isinstance(size, int) and isinstance(changed_ns, int) else None
