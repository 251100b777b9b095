"""The shots of a run, and cached augmented views of them: encoded once, to keep the autoencoder out of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.images import read_image, resize_image, write_image
from edge_ad.progress import Step
from edge_ad.training.augment import augment
from edge_ad.training.base import Base, encode_mean, encode_prompts
from edge_ad.training.features import FeatureNet
from edge_ad.training.finetune import Views
from edge_ad.training.foreground import foregrounds
from edge_ad.training.foreground_files import read_foreground
from edge_ad.training.foreground_rembg import rembg_foregrounds
from edge_ad.training.prompts import CategoryInfo

Method = Literal["auto", "texture", "object", "rembg"]


@dataclass
class Shots:
    """The good shots of one category: uint8 S,S,3 each, their foregrounds m_f (bool S,S), and what is known of it."""

    info: CategoryInfo
    images: list[npt.NDArray[np.uint8]]
    foregrounds: list[npt.NDArray[np.bool_]]
    texture: bool


def read_shots(
    paths: list[Path],
    info: CategoryInfo,
    size: int,
    net: FeatureNet,
    *,
    method: Method = "auto",
    masks: list[Path] | None = None,
) -> Shots:
    """Read, resize and segment the shots of one category.

    Args:
        paths: the shots.
        info: what is known of the category; its `kind` decides where `method` is "auto".
        size: side in px that they are resized to.
        net: the features that tell product from background.
        method: how the foreground is found: "auto", "texture", "object" or "rembg". A category known as a texture
            is all foreground for "rembg" too.
        masks: the user's foreground masks, one a shot; they go before `method`.

    Raises:
        InputError: names a picture or mask that cannot be read or used.
    """
    originals = [read_image(path) for path in paths]
    images = [resize_image(image, size) for image in originals]
    if masks is not None:
        found = [read_foreground(path, (image.shape[0], image.shape[1]), size) for path, image in zip(masks, originals)]
        return Shots(info, images, found, all(mask.all() for mask in found))
    if method == "rembg" and info.kind != "texture":
        return Shots(info, images, rembg_foregrounds(images), False)
    found, texture = foregrounds(images, net, info.kind if method in ("auto", "rembg") else method)
    return Shots(info, images, found, texture)


def write_shots(folder: Path, shots: Shots) -> list[str]:
    """Write the shots as PNG into `folder`; their names."""
    names = []
    for index, image in enumerate(shots.images):
        names.append(f"{index:03}.png")
        write_image(folder / names[-1], image)
    return names


def view_count(shots: Shots, asked: int) -> int:
    """How many views `make_views` makes of a category: those asked for, but at least one for each shot."""
    return max(asked, len(shots.images))


def make_views(
    base: Base, categories: list[Shots], per_category: int, *, seed: int, tick: Step
) -> tuple[Views, npt.NDArray[np.uint8]]:
    """Augmented views of every category, encoded.

    Args:
        base: encodes pictures and prompts.
        categories: shots by category.
        per_category: views of each; the unaugmented shots are the first of them, and no shot is left out.
        seed: of the augmentation.
        tick: progress, called with the number of views done.

    Returns:
        The views for the denoiser, and the pictures uint8 V,S,S,3 for the decoder.
    """
    pictures, latents, masks, owners = [], [], [], []
    device = next(base.vae.parameters()).device
    side = base.latent_size
    together = min(8, max(1, 8 * 256**2 // base.image_size**2))  # what an encoder takes at once on a small card
    for number, shots in enumerate(categories):
        batch: list[npt.NDArray[np.uint8]] = []
        count = view_count(shots, per_category)
        for view in range(count):
            rng = np.random.default_rng([seed, number, view, 8])
            chosen = view % len(shots.images)
            image, foreground = shots.images[chosen], shots.foregrounds[chosen]
            if view >= len(shots.images):
                image, foreground = augment(image, foreground, shots.info, rng)
            batch.append(image)
            masks.append(_down(foreground, side))
            owners.append(number)
            if len(batch) == together or view + 1 == count:
                pictures.append(np.stack(batch))
                latents.append(_encode(base.vae, pictures[-1], device))
                tick(len(batch))
                batch = []
    return (
        Views(
            latents=torch.cat(latents),
            foreground=np.stack(masks),
            category=np.array(owners, np.int64),
            prompts=[encode_prompts(base, list(shots.info.prompts)).cpu() for shots in categories],
            blank=blank_latents(base),
        ),
        np.concatenate(pictures),
    )


def blank_latents(base: Base) -> Tensor:
    """Scaled latents of a mid-grey picture, what a wholly hidden picture encodes to: 1,4,h,w on the CPU."""
    device = next(base.vae.parameters()).device
    with torch.no_grad():
        return encode_mean(base.vae, torch.zeros(1, 3, base.image_size, base.image_size, device=device)).cpu()


def _encode(vae: Any, images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
    with torch.no_grad():
        return encode_mean(vae, x.contiguous(memory_format=torch.channels_last)).float().cpu()


def _down(mask: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """bool S,S → bool side,side: a cell is foreground when at least half of it is."""
    cell = len(mask) // side
    down: npt.NDArray[np.bool_] = mask[: side * cell, : side * cell].reshape(side, cell, side, cell).mean((1, 3)) >= 0.5
    return down
