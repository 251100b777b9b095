"""Built engines by the hash of everything that goes into them: an unchanged graph is never built twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from edge_ad.files import atomic_path, sha256_file, user_cache, write_json
from edge_ad.runtime.engines.build import BuildOptions
from edge_ad.runtime.engines.library import Capability
from edge_ad.runtime.engines.profiles import Profile

# what `build_engine` makes of the same inputs; a change of it must miss
_BUILDER = 1


def engine_key(
    files: Sequence[str],
    library: str,
    version: str,
    capability: Capability,
    precision: str,
    profiles: Sequence[Profile],
    options: BuildOptions,
) -> str:
    """The cache's name of an engine. files: SHA-256 of the graph's ONNX file and of its data, if it has any."""
    parts = {
        "builder": _BUILDER,
        "files": list(files),
        "library": library,
        "version": version,
        "capability": list(capability),
        "precision": precision,
        "profiles": [{axis: list(sizes) for axis, sizes in sorted(profile.items())} for profile in profiles],
        "options": asdict(options),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """A folder of engines. An entry is two regular files, `<key>.engine` and `<key>.json`; the latter comes last.

    folder: None where nothing is kept, for an account without a home. A folder that cannot be written keeps nothing.
    """

    def __init__(self, folder: Path | None = None):
        self.folder: Path | None = None
        with suppress(RuntimeError):
            self.folder = folder or user_cache() / "engines"

    def fetch(self, key: str, target: Path) -> float | None:
        """Copy an engine to `target` and return the seconds its build took; None where there is no sound entry.

        A damaged entry, or one that is no regular file, is removed. OSError where `target` cannot be written.
        """
        if self.folder is None:
            return None
        engine, note = self._paths(self.folder, key)
        try:
            if engine.is_symlink() or note.is_symlink() or not (engine.is_file() and note.is_file()):
                raise ValueError("no regular files")
            said = json.loads(note.read_text(encoding="utf-8"))
            seconds = float(said["seconds"])
            if sha256_file(engine) != said["sha256"]:
                raise ValueError("damaged")
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):
            with suppress(OSError):
                for path in (note, engine):
                    if path.is_symlink() or path.is_file():
                        path.unlink(missing_ok=True)
            return None
        with atomic_path(target) as temporary:
            shutil.copyfile(engine, temporary)
        return seconds

    def store(self, key: str, engine: Path, seconds: float) -> None:
        """Keep a copy of a built engine, where that is possible: the engine itself is what was asked for."""
        if self.folder is None:
            return
        kept, note = self._paths(self.folder, key)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with atomic_path(kept) as temporary:
                shutil.copyfile(engine, temporary)
            write_json(note, {"sha256": sha256_file(engine), "seconds": round(seconds, 3)})

    def size(self) -> tuple[int, int]:
        """(engines, bytes) kept."""
        if self.folder is None:
            return 0, 0
        engines = [path for path in self.folder.glob("*.engine") if path.is_file() and not path.is_symlink()]
        return len(engines), sum(path.stat().st_size for path in engines)

    def clear(self) -> int:
        """Remove every entry; returns how many engines there were."""
        if self.folder is None:
            return 0
        count, _ = self.size()
        for path in (*self.folder.glob("*.json"), *self.folder.glob("*.engine")):
            path.unlink(missing_ok=True)
        return count

    @staticmethod
    def _paths(folder: Path, key: str) -> tuple[Path, Path]:
        return folder / f"{key}.engine", folder / f"{key}.json"
