"""A folder that a script goes on in holds what one set of options gave: with others it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_ad.errors import OptionError
from edge_ad.files import write_json


def kept_json(file: Path, compute: Callable[[], Any]) -> Any:
    """What a JSON file holds, computed and written when it is not there."""
    if not file.is_file():
        write_json(file, compute())
    return json.loads(file.read_text(encoding="utf-8"))


def check_begun(work: Path, asked: dict[str, Any]) -> None:
    """OptionError where WORK was begun with other options, which it names; else they are noted in WORK/asked.json."""
    file = work / "asked.json"
    if file.is_file():
        begun = json.loads(file.read_text(encoding="utf-8"))
        if other := [f"{key} {begun.get(key)}, not {value}" for key, value in asked.items() if begun.get(key) != value]:
            raise OptionError(f"--out {work} was begun with {'; '.join(other)}: name another folder")
    write_json(file, asked)
