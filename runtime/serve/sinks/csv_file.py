"""Decisions as rows of a CSV file, each on the disk before the next; full files are set aside."""

from __future__ import annotations

import asyncio
import csv
import glob
import io
import os
from pathlib import Path

from edge_ad.runtime.serve.decision import Decision

COLUMNS = (
    "time", "record_id", "product", "category", "verdict", "score", "threshold", "normalised", "regions", "seconds",
    "drift", "defect", "defect_probability", "stage", "source", "bundle_sha256",
)  # fmt: skip
HEADER = ",".join(COLUMNS) + "\r\n"
#: How much of a file's end is read for the rows that it holds already, bytes.
TAIL = 1 << 16


def row(decision: Decision) -> str:
    """One decision as a CSV line (RFC 4180, CR LF, UTF-8); empty where there is no value.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    values = {
        **decision.model_dump(include=set(COLUMNS)),
        "regions": len(decision.regions),
        "seconds": decision.times.get("total"),
    }
    out = io.StringIO()
    csv.writer(out).writerow([_cell(values[column]) for column in COLUMNS])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9g}"
    # a line break inside a cell would make a torn last row look whole
    text = " ".join(str(value).splitlines())
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


class CsvSink:
    """Appends to `path` and syncs each row. A file beyond `max_bytes` becomes `name.001.csv` (free number); of those
    the newest `keep` stay. A row torn by a power cut is cut off, and a file with other columns is set aside."""

    def __init__(self, path: Path, *, name: str = "csv", max_bytes: int = 16 << 20, keep: int = 20):
        self.name = name
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._keep = keep
        self._written: set[str] | None = None  # record ids at the file's end; None until it has been looked at

    async def publish(self, decision: Decision) -> None:
        """Append one row; it is on the disk when this returns. OSError if it cannot be written."""
        await asyncio.to_thread(self._append, decision)

    async def close(self) -> None:
        """Nothing is held open."""

    def _append(self, decision: Decision) -> None:
        try:
            if self._written is None or not self.path.exists():
                self._written = self._mend()
            if decision.record_id in self._written:  # a crash came between the row and the station's note of it
                return
            if self.path.stat().st_size >= self._max_bytes:  # before the row: where it fails the row is not there yet
                self._set_aside()
                self._written = self._mend()
            self._write(row(decision))
        except OSError:
            self._written = None  # part of the row may be there: look again before the next attempt
            raise

    def _write(self, text: str) -> None:
        with open(self.path, "ab") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _mend(self) -> set[str]:
        """Make the file end in a whole row under the right header; the record ids of its last rows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            with open(self.path, "r+b") as file:
                if file.read(len(HEADER)) == HEADER.encode():
                    end = file.seek(0, os.SEEK_END)
                    start = file.seek(max(0, end - TAIL))
                    tail = file.read()
                    whole = tail.rfind(b"\n") + 1
                    file.truncate(start + whole)
                    rows = csv.reader(io.StringIO(tail[:whole].decode("utf-8", "replace"), newline=""))
                    return {cells[1] for cells in rows if len(cells) == len(COLUMNS)}
            if self.path.stat().st_size:
                self._set_aside()
        self._write(HEADER)
        return set()

    def _set_aside(self) -> None:
        """Rename the file to the next free number, and remove the oldest of those beyond `keep`."""
        aside = {}
        for path in self.path.parent.glob(f"{glob.escape(self.path.stem)}.*{self.path.suffix}"):
            number = path.name[len(self.path.stem) + 1 : len(path.name) - len(self.path.suffix)]
            if number.isdecimal():
                aside[int(number)] = path
        os.rename(self.path, self.path.with_name(f"{self.path.stem}.{max(aside, default=0) + 1:03d}{self.path.suffix}"))
        for old in sorted(aside)[: max(0, len(aside) + 1 - self._keep)]:
            aside[old].unlink(missing_ok=True)
        self._written = None
