"""One process a folder: a lock that the operating system gives up when its holder dies, however it dies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from edge_ad.errors import InputError


def lock_folder(folder: Path) -> IO[bytes]:
    """Lock a folder until the returned file is closed. Raises InputError when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / "lock", "ab")  # noqa: SIM115  (held for as long as the station runs)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise InputError(
            f"{folder}: another station is using these records; stop it, or give another --records"
        ) from None
    return file
