"""The folder a training writes: whose it is, and whether an interrupted one may be taken up in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_ad.errors import InputError


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as JSON can hold it."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return found


def check_out(out: Path, key: str, finished: str, what: str) -> None:
    """Refuse a folder that is not new, empty, or begun with the same settings.

    Args:
        out: the folder.
        key: hash of the settings, which the begun one keeps in work/key.
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
        raise InputError(f"--out {out} is not empty and was not begun with these settings; name another folder")
