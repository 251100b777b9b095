"""Pairs that no generator has drawn: defects pasted into good pictures, as CutPaste and DRAEM do it.

What `heads train` makes of them is what generated pairs are to be better than.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_ad.calibration.paste import pasted
from edge_ad.dataset import load_dataset
from edge_ad.errors import InputError
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
        InputError: the data cannot be read, or `out` is a file.
    """
    good = load_dataset(data, [category])[category].train_good
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    with progress(f"pasting {kind}", count) as tick:
        for number in range(count):
            place = out / category / "test" / kind / f"{number:05}.png"
            if not place.is_file():
                picture = resize_image(read_image(good[number % len(good)]), size)
                made, mask = pasted(picture, kind, int(np.random.default_rng([seed, number, 31]).integers(2**31)))
                write_image(out / category / "ground_truth" / kind / f"{number:05}_mask.png", mask)
                write_image(place, made)
            tick()
