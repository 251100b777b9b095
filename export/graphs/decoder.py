"""The decoder graph: latents to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, dtype_of, example_noise


class DecoderGraph(nn.Module):
    """D(z) of scaled latents, clamped to the range of pictures."""

    def __init__(self, vae: Any):
        super().__init__()
        self.vae = vae
        self.scaling = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    def forward(self, latents: Tensor) -> Tensor:
        """latents: float K,4,h,w. Returns float32 K,3,H,W in [-1, 1]."""
        z = (latents / self.scaling + self.shift).to(dtype_of(self.vae))
        image: Tensor = self.vae.decode(z, return_dict=False)[0]
        return image.float().clamp(-1, 1)


def decoder_case(vae: Any, latent_channels: int, latent_size: int, rng: np.random.Generator) -> GraphCase:
    """The decoder graph with example inputs."""
    latents = example_noise(rng, 2, latent_channels, latent_size, latent_size)
    return GraphCase("decoder", DecoderGraph(vae), {"latents": latents}, {"latents": {0: "K"}}, ("image",))
