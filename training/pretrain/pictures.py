"""The training pictures of nano on disk: drawn from seeds, plus crops of openly licensed photographs.

Kept as one uint8 .npy that is memory-mapped, so that 20,000 pictures need no memory; drawing resumes where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import InputError
from edge_ad.files import write_text

PHOTO_EVERY = 25
"""One picture in 25 is a crop of a photograph."""

Pictures = npt.NDArray[np.uint8]


def make_picture(seed: int, index: int, size: int) -> tuple[Pictures, str]:
    """Picture `index` of a set: uint8 size,size,3 and its caption; the same for the same arguments."""
    from edge_ad.training.pretrain.draw.families import draw
    from edge_ad.training.pretrain.photos import crop, photographs

    rng = np.random.default_rng([seed, index, 1])
    photos = photographs() if index % PHOTO_EVERY == 0 else []
    if photos:
        _, photo, caption = photos[int(rng.integers(len(photos)))]
        return crop(photo, size, rng), f"a photograph of {caption.removeprefix('a ')}"
    _, picture = draw(seed * 10_000_019 + index, None, size)
    return np.asarray(picture.image, np.uint8), picture.caption


def _block(task: tuple[int, int, int, int]) -> tuple[int, Pictures, list[str]]:
    seed, start, stop, size = task
    made = [make_picture(seed, index, size) for index in range(start, stop)]
    return start, np.stack([image for image, _ in made]), [caption for _, caption in made]


def make_pictures(
    folder: Path, count: int, *, seed: int, size: int = 256, workers: int = 2, log: Callable[[str], None] = print
) -> tuple[Pictures, list[str]]:
    """Draw `count` pictures into `folder` (pictures.npy, captions.json), or take up what is there.

    Args:
        folder: work folder.
        count: number of pictures.
        seed: of the set.
        size: side in px.
        workers: processes.
        log: receives progress lines.

    Returns:
        The pictures uint8 count,size,size,3 (memory-mapped, read-only) and their captions.

    Raises:
        InputError: captions.json is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, notes = folder / "pictures.npy", folder / "captions.json"
    key = {"seed": seed, "count": count, "size": size}
    done: dict[str, list[str]] = {}
    if path.is_file() and notes.is_file():
        try:
            saved = json.loads(notes.read_text(encoding="utf-8"))
            if saved["key"] == key:
                done = saved["blocks"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{notes} is damaged ({error}); remove it, and the pictures are drawn anew") from error
    pictures = np.lib.format.open_memmap(
        path, mode="r+" if done else "w+", dtype=np.uint8, shape=(count, size, size, 3)
    )
    step = 128
    tasks = [(seed, start, min(start + step, count), size) for start in range(0, count, step) if str(start) not in done]
    with ProcessPoolExecutor(workers) as pool:
        for number, (start, images, captions) in enumerate(pool.map(_block, tasks)):
            pictures[start : start + len(images)] = images
            done[str(start)] = captions
            if number % 8 == 7 or number + 1 == len(tasks):
                pictures.flush()
                write_text(notes, json.dumps({"key": key, "blocks": done}))
                log(f"pictures: {sum(map(len, done.values()))} of {count}")
    captions = [caption for start in sorted(done, key=int) for caption in done[start]]
    return np.load(path, mmap_mode="r", allow_pickle=False), captions
