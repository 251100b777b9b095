"""Built engines by the hash of everything that goes into them: an unchanged graph is never built twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
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
    """A folder of engines. An entry is two regular files, `<key>.engine` and `<key>.json`; the latter comes last."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or user_cache() / "engines"

    def fetch(self, key: str, target: Path) -> float | None:
        """Copy an engine to `target` and return the seconds its build took; None where there is no sound entry.

        A damaged entry, or one that is no regular file, is removed.
        """
        engine, note = self._paths(key)
        try:
            if engine.is_symlink() or note.is_symlink() or not (engine.is_file() and note.is_file()):
                raise ValueError("no regular files")
            said = json.loads(note.read_text(encoding="utf-8"))
            seconds = float(said["seconds"])
            with atomic_path(target) as temporary:
                shutil.copyfile(engine, temporary)
                if sha256_file(temporary) != said["sha256"]:
                    raise ValueError("damaged")
            return seconds
        except (OSError, ValueError, KeyError, TypeError):
            for path in (note, engine):
                if path.is_symlink() or path.is_file():
                    path.unlink(missing_ok=True)
            return None

    def store(self, key: str, engine: Path, seconds: float) -> None:
        """Keep a copy of a built engine."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept, note = self._paths(key)
        with atomic_path(kept) as temporary:
            shutil.copyfile(engine, temporary)
        write_json(note, {"sha256": sha256_file(engine), "seconds": round(seconds, 3)})

    def size(self) -> tuple[int, int]:
        """(engines, bytes) kept."""
        engines = [path for path in self.folder.glob("*.engine") if path.is_file() and not path.is_symlink()]
        return len(engines), sum(path.stat().st_size for path in engines)

    def clear(self) -> int:
        """Remove every entry; returns how many engines there were."""
        count, _ = self.size()
        for path in (*self.folder.glob("*.json"), *self.folder.glob("*.engine")):
            path.unlink(missing_ok=True)
        return count

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.engine", self.folder / f"{key}.json"
