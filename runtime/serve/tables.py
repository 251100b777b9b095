"""The station's records as SQLite holds them: tables, how they are opened, and decisions to and from rows."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import InputError
from edge_ad.runtime.serve.decision import Decision, RegionBox, parse_time, utc_text

SCHEMA = 3
DATABASE = "records.sqlite"
#: The pictures of a decision, in the order of `kinds`.
KINDS = ("image", "map", "inpainted")
#: Rows that one transaction of retention removes: a decision waits for no more than that.
CHUNK = 500
#: No station was there before: an earlier time is that of a clock that had not been set (2020-01-01).
_FIRST_TIME = 1_577_836_800.0

_TABLES = """
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    record_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    product TEXT NOT NULL,
    category TEXT NOT NULL,
    verdict TEXT NOT NULL,
    score REAL NOT NULL,
    threshold REAL,
    normalised REAL,
    drift INTEGER,
    defect TEXT,
    defect_probability REAL,
    bundle_sha256 TEXT NOT NULL,
    plan TEXT NOT NULL,
    source TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    regions TEXT NOT NULL,
    times TEXT NOT NULL,
    stage TEXT,
    operator_verdict TEXT,
    operator_time REAL,
    note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX by_time ON decisions (time);
CREATE INDEX by_category ON decisions (category, seq);
CREATE INDEX by_source ON decisions (source, seq);
CREATE TABLE pictures (
    seq INTEGER NOT NULL REFERENCES decisions (seq) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (seq, kind)
) WITHOUT ROWID;
CREATE INDEX by_sha256 ON pictures (sha256, bytes);
CREATE TABLE sinks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""

#: What only makes a search quicker belongs to no schema: made on opening where it is missing. Both serve the history,
#: which looks for few rows among all.
_INDICES = """
CREATE INDEX IF NOT EXISTS by_verdict ON decisions (verdict, seq);
CREATE INDEX IF NOT EXISTS by_correction ON decisions (seq) WHERE operator_verdict != verdict;
"""

#: Schema -> what makes it the next. 1 knew no kinds of defects, 2 not what had decided.
_UPGRADES = {
    1: "ALTER TABLE decisions ADD COLUMN defect TEXT; ALTER TABLE decisions ADD COLUMN defect_probability REAL;",
    2: "ALTER TABLE decisions ADD COLUMN stage TEXT; DROP INDEX by_sha256; "
    "CREATE INDEX by_sha256 ON pictures (sha256, bytes);",
}

#: What a decision is inserted with; an operator's verdict comes later.
COLUMNS = (
    "record_id", "time", "product", "category", "verdict", "score", "threshold", "normalised", "drift", "defect",
    "defect_probability", "bundle_sha256", "plan", "source", "width", "height", "regions", "times", "stage",
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A picture of a decision: its kind, SHA-256 and size in bytes."""

    kind: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Query:
    """Which records: the newest `limit` of those before a record, of a category, verdict and span of time.

    verdict: as decided, or "corrected" for those where an operator's verdict differs. since and until: seconds since
    the epoch, until not included.
    """

    limit: int = 50
    before: str | None = None
    category: str | None = None
    verdict: str | None = None
    since: float | None = None
    until: float | None = None


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database, created if it is missing and not `read_only`. Raises InputError."""
    try:
        if read_only:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
        else:
            connection = sqlite3.connect(path, timeout=30)
            os.chmod(path, 0o640)  # what a plant makes, and what it rejects, is not for everybody
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and not read_only:
            connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
        elif version in _UPGRADES and not read_only:
            steps = "".join(_UPGRADES[older] for older in range(version, SCHEMA))
            connection.executescript(f"BEGIN; {steps} PRAGMA user_version={SCHEMA}; COMMIT;")
        elif version in _UPGRADES:
            raise InputError(f"{path}: an earlier edge-ad wrote these records; start edge-ad serve with them once")
        elif version != SCHEMA:
            raise InputError(f"{path}: these records are of schema {version}, this edge-ad reads {SCHEMA}; upgrade it")
        if not read_only:
            connection.executescript(_INDICES)
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be opened as records ({error}); give another folder, or mend it") from error
    return connection


def insert(connection: sqlite3.Connection, decision: Decision, kept: Sequence[Kept]) -> int:
    """Insert a decision and what is kept of its pictures, in the caller's transaction; returns its number."""
    row = decision.model_dump(include=set(COLUMNS))
    row["time"] = parse_time(decision.time, "time")
    row["regions"] = json.dumps([region.model_dump() for region in decision.regions])
    row["times"] = json.dumps(decision.times)
    seq = connection.execute(
        f"INSERT INTO decisions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
        [row[name] for name in COLUMNS],
    ).lastrowid
    assert seq is not None  # an INSERT was executed
    connection.executemany(
        "INSERT INTO pictures VALUES (?, ?, ?, ?)", [(seq, one.kind, one.sha256, one.size) for one in kept]
    )
    return seq


def select(connection: sqlite3.Connection, rest: str, values: Sequence[Any]) -> list[tuple[int, Decision]]:
    """Decisions with their numbers; `rest` is the SQL after FROM decisions."""
    names = ("seq", *COLUMNS, "operator_verdict", "note")
    rows = connection.execute(f"SELECT {', '.join(names)} FROM decisions {rest}", values).fetchall()
    found = []
    for values_of_row in rows:
        row = dict(zip(names, values_of_row))
        seq = row.pop("seq")
        kept = connection.execute("SELECT kind, sha256 FROM pictures WHERE seq = ?", (seq,)).fetchall()
        row["time"] = utc_text(row["time"])
        row["regions"] = [RegionBox(**region) for region in json.loads(row["regions"])]
        row["times"] = json.loads(row["times"])
        row["drift"] = None if row["drift"] is None else bool(row["drift"])
        row["pictures"] = links(kept)
        found.append((seq, Decision(**row)))
    return found


def condition(query: Query) -> tuple[str, list[Any]]:
    """The SQL condition of a query, its limit left out, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    if query.before is not None:
        parts.append("seq < (SELECT seq FROM decisions WHERE record_id = ?)")
        values.append(query.before)
    if query.verdict == "corrected":
        parts.append("operator_verdict IS NOT NULL AND operator_verdict != verdict")
    elif query.verdict is not None:
        parts.append("verdict = ?")
        values.append(query.verdict)
    # corrections are few, whatever else is asked: a plus keeps SQLite from the indices of the other columns
    plus = "+" if query.verdict == "corrected" else ""
    for column, sign, value in (
        ("category", "=", query.category), ("time", ">=", query.since), ("time", "<", query.until)
    ):  # fmt: skip
        if value is not None:
            parts.append(f"{plus}{column} {sign} ?")
            values.append(value)
    return ("WHERE " + " AND ".join(parts) if parts else ""), values


def links(kept: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Web paths of pictures given as (kind, SHA-256), in the order of `KINDS`."""
    by_kind = dict(kept)
    return {kind: f"/v1/pictures/{by_kind[kind]}.png" for kind in KINDS if kind in by_kind}


def last_expired(connection: sqlite3.Connection, older_than: float, now: float) -> int:
    """The number up to which decisions from before a time may go; 0 for none.

    A clock can be wrong, so the order in which decisions were made counts too: what came after the first one dated
    between `older_than` and `now` is not old, whatever its time, and without such a one nothing is. A decision from
    before the clock was set goes with the next one that has a time.
    """
    sql = """
        SELECT MAX(seq) FROM decisions WHERE time >= ? AND time < ?
        AND seq < (SELECT MIN(seq) FROM decisions WHERE time BETWEEN ? AND ?)
    """
    return connection.execute(sql, (_FIRST_TIME, older_than, older_than, now)).fetchone()[0] or 0


def remove_decisions(connection: sqlite3.Connection, older_than: float, last: int) -> tuple[int, list[str]]:
    """Forget some of the decisions before a time and numbered up to `last`.

    Returns how many (0: none is left) and the SHA-256 of the pictures that no decision has any more.
    """
    some = f"(SELECT seq FROM decisions WHERE time < ? AND seq <= ? ORDER BY seq LIMIT {CHUNK})"
    with connection:
        rows = connection.execute(f"SELECT sha256 FROM pictures WHERE seq IN {some}", (older_than, last)).fetchall()
        count = connection.execute(f"DELETE FROM decisions WHERE seq IN {some}", (older_than, last)).rowcount
    return count, unknown(connection, {row[0] for row in rows})


def picture_bytes(connection: sqlite3.Connection) -> int:
    """The size of all pictures, each counted once."""
    total = "SELECT COALESCE(SUM(bytes), 0) FROM (SELECT MAX(bytes) AS bytes FROM pictures GROUP BY sha256)"
    size: int = connection.execute(total).fetchone()[0]
    return size


def remove_pictures(connection: sqlite3.Connection, excess: int, *, judged: bool) -> tuple[int, list[str]]:
    """Forget some of the oldest pictures, `excess` bytes at most but for the last; of judged decisions, or the others.

    Returns how many bytes (0: none is left) and the SHA-256 of the pictures that no decision has any more.
    """
    oldest = (  # in the order of the pictures' own key, so that nothing has to be sorted
        "SELECT seq, kind, sha256, bytes FROM pictures CROSS JOIN decisions USING (seq) "
        f"WHERE operator_verdict IS {'NOT NULL' if judged else 'NULL'} ORDER BY seq LIMIT {CHUNK}"
    )
    removed: list[tuple[int, str]] = []
    gone: set[str] = set()
    size = 0
    with connection:
        for seq, kind, digest, one in connection.execute(oldest).fetchall():
            if size >= excess:
                break
            removed.append((seq, kind))
            gone.add(digest)
            size += one
        connection.executemany("DELETE FROM pictures WHERE seq = ? AND kind = ?", removed)
    return size, unknown(connection, gone)


def unknown(connection: sqlite3.Connection, digests: Iterable[str]) -> list[str]:
    """Those of some pictures that no decision has."""
    sql = "SELECT 1 FROM pictures WHERE sha256 = ? LIMIT 1"
    return [digest for digest in digests if connection.execute(sql, (digest,)).fetchone() is None]
