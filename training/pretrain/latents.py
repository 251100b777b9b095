"""Latents of the training pictures, computed once: the autoencoder stays out of the denoiser's training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edge_ad.files import atomic_path
from edge_ad.training.base import encode_mean


def dihedral(image: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """One of the eight turns and mirrors of a square: `turn` quarter turns, and a mirror from 4 on; H,W,…"""
    turned = np.rot90(image, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


def make_latents(
    vae: Any, pictures: npt.NDArray[np.uint8], path: Path, *, views: int, seed: int, log: Callable[[str], None] = print
) -> npt.NDArray[np.float16]:
    """Scaled latents of `views` random views (turned, mirrored) of every picture: float16 views·count,4,h,w, cached.

    Row `view * count + index` belongs to picture `index`.
    """
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False))
    count, size = len(pictures), pictures.shape[1] // 8
    found = np.zeros((views * count, 4, size, size), np.float16)
    vae = vae.to(memory_format=torch.channels_last)
    step = 32
    for view in range(views):
        for start in range(0, count, step):
            rng = np.random.default_rng([seed, view, start, 4])
            batch = [dihedral(image, int(rng.integers(8))) for image in pictures[start : start + step]]
            x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                z = encode_mean(vae, x.contiguous(memory_format=torch.channels_last))
            found[view * count + start :][: len(batch)] = z.float().numpy()
        log(f"latents: view {view + 1} of {views}")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, found, allow_pickle=False)
    return found
