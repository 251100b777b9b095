"""Multi-scale masks (AnomalySD, section 4.2): k x k patches, and which of them share one inpainting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patch_index(size: int, k: int) -> NDArray[np.int64]:
    """Which of k equal strips each of `size` pixels lies in: int64 size, values 0..k-1.

    Where k does not divide `size`, strips differ by one pixel at most; each has one at least. ValueError if k > size.
    """
    if not 1 <= k <= size:
        raise ValueError(f"{size} pixels cannot be cut into {k} patches")
    return (np.arange(size, dtype=np.int64) * k) // size


def patches(size: int, k: int) -> NDArray[np.float32]:
    """The masks M^(k)_ij of scale k: float32 k*k,size,size, 1 = hidden, row by row; they cover every pixel once."""
    strips = np.equal.outer(np.arange(k), patch_index(size, k)).astype(np.float32)
    masks: NDArray[np.float32] = np.einsum("iy,jx->ijyx", strips, strips).reshape(k * k, size, size)
    return masks


def checkerboard(size: int, k: int) -> NDArray[np.float32]:
    """Scale k in at most four groups: float32 G,size,size, 1 = hidden; together they cover every pixel once.

    Patches whose (row % 2, column % 2) agree do not touch, not even at a corner, so each of them is inpainted from
    visible surroundings although they share one picture. G = 1 for k = 1, else 4.
    """
    strip = patch_index(size, k) % 2
    group = 2 * strip[:, None] + strip[None, :]
    masks: NDArray[np.float32] = np.equal.outer(np.arange(min(k * k, 4)), group).astype(np.float32)
    return masks


def upsample(mask: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Nearest-neighbour upsampling of float32 …,h,w to …,size,size, the Upsample(·) of eq. 15."""
    rows = (np.arange(size) * mask.shape[-2]) // size
    columns = (np.arange(size) * mask.shape[-1]) // size
    return np.ascontiguousarray(mask[..., rows[:, None], columns[None, :]])
