"""The station's records as a data set folder in the layout of MVTec AD, for `calibrate`, `train` and `evaluate`."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_ad.dataset import GOOD
from edge_ad.errors import InputError, OptionError
from edge_ad.files import atomic_folder
from edge_ad.runtime.serve.pictures import PictureStore
from edge_ad.runtime.serve.tables import DATABASE, Query, condition, connect, select

#: The folder of bad parts: the station knows no kinds of defects.
BAD = "bad"
_CHUNK = 500


@dataclass
class Exported:
    """How many pictures were written as good and bad; undecided ones, removed ones and repeated ones are left out."""

    good: int = 0
    bad: int = 0
    undecided: int = 0
    removed: int = 0
    repeated: int = 0


def export_dataset(
    folder: Path,
    out: Path,
    query: Query,
    *,
    judged_only: bool = False,
    test_share: float = 0.2,
) -> Exported:
    """Write recorded images to `out`, a folder that must not exist: whole or not at all. The station may be running.

    A part is what an operator said of it, else what was decided. Good parts go to `<category>/train/good`, and the
    share `test_share` of them, chosen by their content, to `test/good`; bad ones to `test/bad`. Files are named by
    record; `records.jsonl` holds the decisions.

    query: which records; its limit is not used. judged_only: only what an operator has judged.

    Raises InputError when `folder` has no records or none fit, OptionError when `out` exists.
    """
    if not (folder / DATABASE).is_file():
        raise InputError(f"{folder}: has no {DATABASE}; give the --records folder of a station")
    if out.exists():
        raise OptionError(f"--out {out}: exists already; give a new folder")
    connection = connect(folder / DATABASE, read_only=True)
    store = PictureStore(folder / "pictures")
    counts = Exported()
    where, values = condition(query)
    written: set[tuple[str, str]] = set()
    with atomic_folder(out) as target, open(target / "records.jsonl", "w", encoding="utf-8") as lines:
        last = 0
        while rows := select(
            connection, f"{where} {'AND' if where else 'WHERE'} seq > ? ORDER BY seq LIMIT ?", [*values, last, _CHUNK]
        ):
            last = rows[-1][0]
            for _, decision in rows:
                verdict = decision.operator_verdict or (None if judged_only else decision.verdict)
                if verdict not in ("good", "bad"):
                    counts.undecided += 1
                    continue
                digest = decision.pictures.get("image", "").rpartition("/")[2].removesuffix(".png")
                picture = store.find(digest)
                if picture is None:
                    counts.removed += 1
                    continue
                if (decision.category, digest) in written:
                    counts.repeated += 1
                    continue
                written.add((decision.category, digest))
                place = target / decision.category / _part(verdict, digest, test_share)
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, place / f"{decision.record_id}.png")
                lines.write(decision.model_dump_json() + "\n")
                setattr(counts, verdict, getattr(counts, verdict) + 1)
        connection.close()
        if not written:
            raise InputError(f"{folder}: no record with a picture and a verdict fits; loosen the filters")
    return counts


def _part(verdict: str, digest: str, test_share: float) -> Path:
    if verdict == "bad":
        return Path("test") / BAD
    # by content, so that a later export puts the same picture on the same side
    chance = int(hashlib.sha256(f"part {digest}".encode()).hexdigest()[:8], 16) / 2**32
    return Path("test" if chance < test_share else "train") / GOOD
