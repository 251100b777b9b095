"""The folder a training writes: whose it is, whether one begun may be taken up in it, what its record vouches for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PureWindowsPath
from typing import Any

from edge_ad.errors import BundleError, InputError
from edge_ad.files import sha256_file


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as JSON can hold it."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return found


def make_key(settings: Any, files: Iterable[str | Path], *rest: Any) -> str:
    """A hash of what decides a training: its settings, its files by name and content, and `rest`, plain data."""
    contents = [[str(path), sha256_file(Path(path))] for path in files]
    return hashlib.sha256(json.dumps([plain(settings), contents, *rest]).encode()).hexdigest()


def check_out(out: Path, key: str, finished: str, what: str) -> None:
    """Refuse a folder that is not new, empty, or begun with the same settings and files.

    Args:
        out: the folder.
        key: as `make_key`; the begun one keeps it in work/key.
        finished: the file that a finished training leaves.
        what: what it then holds, for the sentence.

    Raises:
        InputError: it is a file, holds a finished training, or something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if (out / finished).exists():
        raise InputError(f"--out {out} holds a finished {what}; name another folder, or remove it first")
    begun = out / "work" / "key"
    if any(out.iterdir()) and not (begun.is_file() and begun.read_text(encoding="utf-8") == key):
        raise InputError(
            f"--out {out} is not empty and was not begun with these options and files; name another folder"
        )


def file_hashes(folder: Path, record: str) -> dict[str, str]:
    """SHA-256 of a finished training's files by relative name (POSIX), but for its record, which will hold them.

    Checkpoints (work/) are no part of it, nor are hidden files, such as temporaries that a kill left behind.
    """
    names = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): sha256_file(path)
        for name, path in names.items()
        if name != Path(record) and name.parts[0] != "work" and not any(part.startswith(".") for part in name.parts)
    }


def folder_name(record: Path, what: str, name: str) -> str:
    """`name`, which a record says a category or defect has: it is made into a path. BundleError where it is no name."""
    if not name or name == ".." or PureWindowsPath(name).name != name:  # its separators are those of both worlds
        raise BundleError(f"{record}: the {what} {name!r} is no name of a folder; it is damaged or was tampered with")
    return name
