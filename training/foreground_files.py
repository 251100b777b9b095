"""Foreground masks that a user hands in: one file a shot, by the shot's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_ad.errors import InputError
from edge_ad.images import list_images, read_mask, resize_mask


def find_masks(folder: Path, category: str, shots: list[Path], *, alone: bool) -> list[Path]:
    """The mask file of every shot of a category.

    The mask of `shots/017.jpg` is `017.png` or `017_mask.png` (any image format) in `folder`/`category`, or in `folder`
    itself where only one category is trained.

    Args:
        folder: what the user named.
        category: its name.
        shots: its shots.
        alone: whether it is the only category.

    Returns:
        One path a shot, in order.

    Raises:
        InputError: no such folder, or a shot without a mask.
    """
    own = folder / category
    place = own if own.is_dir() or not alone else folder
    if not place.is_dir():
        raise InputError(f"--foreground {folder}: there is no folder {place}; put the masks of {category} there")
    known = {path.stem: path for path in list_images(place)}
    found = []
    for shot in shots:
        mask = known.get(f"{shot.stem}_mask") or known.get(shot.stem)
        if mask is None:
            raise InputError(
                f"--foreground {folder}: the shot {shot} has no mask; draw {place / (shot.stem + '.png')}, white where "
                "the product is, black elsewhere"
            )
        found.append(mask)
    return found


def read_foreground(path: Path, shape: tuple[int, int], size: int) -> npt.NDArray[np.bool_]:
    """m_f from a file: bool size,size, True where the product is.

    Args:
        path: the mask; a pixel is product where it is not zero (in JPEG files, above 127).
        shape: (H, W) of its shot, which it must have.
        size: side of the result in px.

    Raises:
        InputError: it cannot be read, has another size than its shot, or marks nothing.
    """
    mask = read_mask(path, shape)
    if not mask.any():
        raise InputError(f"{path}: the foreground mask is black everywhere; paint the product white")
    return resize_mask(mask, size)
