"""What lies under the noise at the first step of drawing: nothing, the training pairs' mean, or a picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge_ad.errors import InputError, OptionError
from edge_ad.images import Mask, Picture
from edge_ad.training.base import Base
from edge_ad.training.dual.generator import Generator
from edge_ad.training.dual.pairs import Pair, anomaly_part, encode, to_tensor
from edge_ad.training.dual.sample import Begin, Sampling


def make_start(generator: Generator, base: Base, sampling: Sampling) -> Begin | None:
    """What `draw` lays the noise of each pair over; None where it is nothing.

    - "mean": the mean colour, in latents, of the training pairs and of their parts. Stable Diffusion's noise schedule
      does not end in pure noise (√ᾱ_T = 0.068), so the UNet expects a trace of the picture there; without one, colours
      drift towards grey (Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed").
    - "good": one of the good pictures that the generator keeps, and an empty part.
    - "paste": one of them with the defect of a training pair pasted in, and its part; on a texture at any place, else
      at its own.

    Raises:
        OptionError: strength and start do not go together.
        InputError: the generator has no good pictures and is to start from one.
    """
    if sampling.start in ("noise", "mean") and sampling.strength < 1:
        raise OptionError(
            f"--strength {sampling.strength} keeps the outline of a picture: give --start good or paste with it"
        )
    if sampling.start == "noise":
        return None
    pairs, good = generator.pairs(), generator.good()
    if sampling.start == "mean":
        latents = torch.stack([pair_latents(base, pair.image, pair.mask) for pair in pairs])
        mean = latents.mean((0, 3, 4))[:, :, None, None].expand(latents.shape[1:])
        return lambda rng: mean
    if not good:
        raise InputError(f"{generator.folder} has no good pictures; --start {sampling.start} begins with one")
    empty = np.zeros(good[0].shape[:2], bool)
    if sampling.start == "good":
        fine = [pair_latents(base, picture, empty) for picture in good]
        return lambda rng: fine[int(rng.integers(len(fine)))]

    def begin(rng: np.random.Generator) -> Tensor:
        picture, pair = good[int(rng.integers(len(good)))], pairs[int(rng.integers(len(pairs)))]
        return pair_latents(base, *crop_paste(picture, pair, rng, anywhere=generator.texture))

    return begin


def pair_latents(base: Base, picture: Picture, mask: Mask) -> Tensor:
    """Latents 2,4,h,w of a picture uint8 S,S,3 and its part under the mask bool S,S."""
    x = to_tensor(picture[None])
    return encode(base, torch.cat([x, anomaly_part(x, torch.from_numpy(np.ascontiguousarray(mask))[None, None])]))


def crop_paste(picture: Picture, pair: Pair, rng: np.random.Generator, *, anywhere: bool) -> tuple[Picture, Mask]:
    """A good picture with a pair's defect in it (Lin et al., Crop-Paste, ICME 2021), and the defect's mask.

    Args:
        picture: uint8 S,S,3.
        pair: of the same size.
        rng: of the place.
        anywhere: at any place and quarter turn, or at its own.
    """
    image, mask = pair.image, pair.mask
    if anywhere:
        turns = int(rng.integers(4))
        shift = int(rng.integers(len(mask))), int(rng.integers(len(mask)))
        image = np.roll(np.rot90(image, turns), shift, axis=(0, 1))
        mask = np.roll(np.rot90(mask, turns), shift, axis=(0, 1))
    return np.where(mask[..., None], image, picture), mask
