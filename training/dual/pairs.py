"""Image-mask pairs of one defect: the first third trains, and is cached as latents of augmented views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.dataset import Category, Sample
from edge_ad.errors import InputError
from edge_ad.images import Mask, Picture, read_image, read_mask, resize_image, resize_mask
from edge_ad.progress import Step
from edge_ad.training.augment import augment
from edge_ad.training.base import Base, encode_mean
from edge_ad.training.prompts import CategoryInfo


@dataclass(frozen=True)
class Pair:
    """A picture uint8 S,S,3 and its defect mask, bool S,S, True where defective."""

    name: str
    image: Picture
    mask: Mask


@dataclass
class PairViews:
    """Latents of augmented views, float32 V,4,h,w each: I, I_a = I × M_a and, for background compensation, I_b."""

    picture: Tensor
    part: Tensor
    background: Tensor | None = None


def defect_samples(category: Category, defect: str) -> list[Sample]:
    """The test pictures of one defect, by name.

    Raises:
        InputError: there is no such defect, or a picture of it has no mask.
    """
    kinds = sorted({sample.defect for sample in category.test if sample.is_bad})
    found = [sample for sample in category.test if sample.is_bad and sample.defect == defect]
    if not found:
        known = f"it has: {', '.join(kinds)}" if kinds else "it has no defect pictures in test/"
        raise InputError(f"category {category.name} has no defect {defect}; {known}")
    for sample in found:
        if sample.mask is None:
            raise InputError(f"{sample.path}: has no mask; put one into ground_truth/{defect}/")
    return found


def first_third(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The first third trains (at least one pair), the rest tests: the split of DualAnoDiff and AnomalyDiffusion."""
    count = max(1, len(samples) // 3)
    return samples[:count], samples[count:]


def read_pair(image: Path, mask: Path, size: int) -> Pair:
    """Read a pair and resize it to size × size. InputError names a file that cannot be read or an empty mask."""
    picture = read_image(image)
    found = resize_mask(read_mask(mask, picture.shape[:2]), size)
    if not found.any():
        raise InputError(
            f"{mask}: no pixel of the mask is set at {size} px; take the pair away, or use a larger --size"
        )
    return Pair(image.stem, resize_image(picture, size), found)


def anomaly_part(x: Tensor, mask: Tensor) -> Tensor:
    """I_a = I × M_a (and, with another mask, I_b) of pictures N,3,H,W in [-1, 1]: what is hidden is mid-grey."""
    return x * mask


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 N,H,W,3 → float32 N,3,H,W in [-1, 1]."""
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def view_of(pair: Pair, info: CategoryInfo, seed: list[int]) -> Pair:
    """One augmented view, picture and mask moved alike; the pair itself where the defect would leave the picture."""
    image, mask = augment(pair.image, pair.mask, info, np.random.default_rng(seed))
    return Pair(pair.name, image, mask) if mask.any() else pair


def make_pair_views(
    base: Base,
    pairs: list[Pair],
    foregrounds: list[Mask] | None,
    info: CategoryInfo,
    count: int,
    *,
    seed: int,
    tick: Step,
) -> PairViews:
    """Augmented views of the training pairs, encoded; the pairs as they are come first.

    Args:
        base: its autoencoder encodes.
        pairs: the training pairs.
        foregrounds: M_f of each pair, bool S,S; None without background compensation.
        info: which augmentations leave the product what it is.
        count: views; at least as many as pairs.
        seed: of the augmentation.
        tick: progress, called once a view.
    """
    found: list[list[Tensor]] = [[], [], []]
    for number in range(max(count, len(pairs))):
        row = number % len(pairs)
        pair, entropy = pairs[row], [seed, number, 11]
        plain = number < len(pairs)
        view = pair if plain else view_of(pair, info, entropy)
        x = to_tensor(view.image[None])
        kinds = [x, anomaly_part(x, torch.from_numpy(view.mask)[None, None])]
        if foregrounds is not None:
            # the same seed moves the foreground as it moved the mask
            front = foregrounds[row]
            if view is not pair:
                front = augment(pair.image, front, info, np.random.default_rng(entropy))[1]
            kinds.append(anomaly_part(x, ~torch.from_numpy(np.ascontiguousarray(front))[None, None]))
        for into, latents in zip(found, encode(base, torch.cat(kinds))):
            into.append(latents[None])
        tick()
    picture, part = torch.cat(found[0]), torch.cat(found[1])
    return PairViews(picture, part, torch.cat(found[2]) if foregrounds is not None else None)


def encode(base: Base, x: Tensor) -> Tensor:
    """Latents on the CPU of pictures N,3,H,W in [-1, 1], wherever the autoencoder is."""
    device = next(base.vae.parameters()).device
    with torch.no_grad():
        return encode_mean(base.vae, x.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
