"""Pairs that no generator has drawn: defects pasted into good pictures, as CutPaste and DRAEM do it.

What `heads train` makes of them is what generated pairs are to be better than. Beside the pairs,
`synthesis/<category>-<kind>/paste.json` says what they were made from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.calibration.paste import pasted
from edge_ad.dataset import load_dataset
from edge_ad.errors import InputError, OptionError
from edge_ad.files import sha256_file, write_json
from edge_ad.images import read_image, resize_image, write_image
from edge_ad.progress import progress


def write_pasted(
    data: Path, category: str, kind: str, out: Path, count: int, *, size: int = 256, seed: int = 0
) -> None:
    """Write pairs in the layout of MVTec AD; what an interrupted call has written is taken up.

    Args:
        data: data set with good training pictures.
        category: the product.
        kind: of `edge_ad.calibration.paste.PASTES`: "cut_paste", "noise_texture" or "scratch"; the pairs' defect.
        out: data set to write, or to add to.
        count: pairs; they take the good pictures in turn.
        size: side in px.
        seed: number n is drawn from (seed, n) alone.

    Raises:
        InputError: the data cannot be read, `out` is a file, or it holds pictures that were not made so.
        OptionError: `out` is `data`.
    """
    good = load_dataset(data, [category])[category].train_good
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.resolve() == data.resolve():
        raise OptionError(f"--out {out} is DATA, where pasted pairs would count as real ones; name another folder")
    pictures, masks = (out / category / part / kind for part in ("test", "ground_truth"))
    made_from = {"seed": seed, "size": size, "good": {path.name: sha256_file(path) for path in good}}
    _take_up(out / "synthesis" / f"{category}-{kind}" / "paste.json", made_from, pictures)
    with progress(f"pasting {kind}", count) as tick:
        for number in range(count):
            if not (pictures / f"{number:05}.png").is_file():
                picture = resize_image(read_image(good[number % len(good)]), size)
                made, mask = pasted(picture, kind, int(np.random.default_rng([seed, number, 31]).integers(2**31)))
                write_image(masks / f"{number:05}_mask.png", mask)
                write_image(pictures / f"{number:05}.png", made)
            tick()


def _take_up(note: Path, made_from: dict[str, Any], pictures: Path) -> None:
    """Note what pairs are made from. InputError where there are pictures, and no note says they were made from that."""
    try:
        found = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
    except ValueError as error:
        raise InputError(f"{note} is damaged ({error}); remove it and {pictures}, and paste anew") from error
    if found == made_from:
        return
    if pictures.is_dir() and any(pictures.iterdir()):
        how = f"and no {note.name} says they were pasted" if found is None else "of another --seed, --size or DATA"
        raise InputError(f"--out: {pictures} holds pictures already, {how}; name another folder")
    write_json(note, made_from)
