"""The forward diffusion and the loss of the inpainting denoiser: eq. 1, 7 and 8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edge_ad.runtime.schedule import alphas_cumprod


class Diffusion:
    """ᾱ of a scheduler configuration as a tensor, and what is computed with it.

    Args:
        config: a diffusers scheduler configuration ("scaled_linear" betas, 1000 timesteps for Stable Diffusion).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.alphas_cumprod = torch.from_numpy(alphas_cumprod(config)).float()

    def add_noise(self, z: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t = z √ᾱ_t + ε √(1 - ᾱ_t) (eq. 7). z, noise: B,4,h,w; timesteps: int64 B in 0..T-1."""
        alpha = self.alphas_cumprod.to(z.device)[timesteps].to(z.dtype)[:, None, None, None]
        return z * alpha.sqrt() + noise * (1 - alpha).sqrt()


def unet_input(noised: Tensor, mask: Tensor, masked: Tensor) -> Tensor:
    """z̃_t in the channel order of SD's inpainting checkpoints: noised latents 4, mask 1, masked latents 4.

    The paper writes [z_t; z°; m̃]; the order only names the input weights, and the checkpoint's must be kept.
    """
    return torch.cat([noised, mask, masked], dim=1)


def blend(latents: Tensor, blank: Tensor, mask: Tensor) -> Tensor:
    """z° blended in latent space, (1 - m̃)·z + m̃·z_blank, z_blank being the encoding of a mid-grey picture.

    Where the autoencoder is local this is the encoding of the masked picture but for a rim of some latents.
    """
    return latents + mask * (blank - latents)
