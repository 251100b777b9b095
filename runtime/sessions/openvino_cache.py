"""Compiled OpenVINO models by the hash of what they were made from: loading one takes a tenth of compiling it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.files import atomic_path, sha256_file, user_cache

#: Larger models are not kept; and of all that is kept, the least recently used goes first above so many bytes.
MOST_MODEL, MOST_FOLDER = 1 << 29, 1 << 31


def load_or_compile(
    openvino: Any, core: Any, files: Sequence[Path], settings: Mapping[str, Any], digest: str | None
) -> tuple[Any, NDArray[np.uint8] | None]:
    """A compiled model of a graph for the CPU, from the cache where it is there; else it is put there.

    files: the graph's ONNX file, then that of its weights if they are not in it. digest: their SHA-256, joined by "-";
    None never caches, nor do files that are others by now. Returns the model, and the memory that holds its weights,
    which must live as long; None for one that was compiled. A cache that cannot be read or written changes nothing but
    time. RuntimeError as `compile_model`.
    """
    try:
        folder = user_cache() / "openvino"
    except RuntimeError:  # an account without a home
        digest = None
    if digest is None:
        return core.compile_model(str(files[0]), "CPU", settings), None
    about = {
        "graph": digest,
        "openvino": openvino.get_version(),
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "can": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "settings": dict(settings),
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    place = folder / f"{name}.blob"
    kept = _sound(place)
    if kept is not None:
        try:
            return core.import_model(openvino.Tensor(kept, shared_memory=True), "CPU", settings), kept
        except RuntimeError:
            _remove(place)
    model = core.compile_model(str(files[0]), "CPU", settings)
    if sum(file.stat().st_size for file in files) <= MOST_MODEL and _digest(files) == digest:
        _keep(model, place)
    return model, None


def _digest(files: Sequence[Path]) -> str:
    """What `digest` would be of the files as they are now."""
    return "-".join(sha256_file(file) for file in files)


def _sound(place: Path) -> NDArray[np.uint8] | None:
    """The mapped bytes of an entry, checked against its last 32, their SHA-256; None where there is no sound one."""
    try:
        content = np.memmap(place, np.uint8, "c")  # private: OpenVINO asks for memory that may be written
        os.utime(place)
    except (OSError, ValueError):
        return None
    body, digest = content[:-32], content[-32:].tobytes()
    if hashlib.sha256(body.data).digest() != digest:
        del content, body
        _remove(place)
        return None
    return body


def _keep(model: Any, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = model.export_model()
        body = content.getbuffer() if hasattr(content, "getbuffer") else memoryview(content)
        if body.nbytes > MOST_MODEL:
            return
        with atomic_path(place) as temporary, temporary.open("wb") as file:
            file.write(body)
            file.write(hashlib.sha256(body).digest())
        _make_room(place.parent)
    except (OSError, RuntimeError):  # no room, a folder of someone else, or a model that cannot be exported
        return


def _make_room(folder: Path) -> None:
    entries = sorted(
        ((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.blob")), reverse=True
    )
    total = 0
    for _, size, path in entries:
        total += size
        if total > MOST_FOLDER:
            _remove(path)


def _remove(place: Path) -> None:
    try:
        place.unlink(missing_ok=True)
    except OSError:  # still mapped by another process, on Windows
        return
