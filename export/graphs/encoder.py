"""The encoder graph: pixels and a mask to scaled latents of the masked picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, dtype_of, example_image, example_mask


class EncoderGraph(nn.Module):
    """E((1 - m)·x), scaled as the denoiser expects. For AutoencoderKL the posterior's mean, so nothing is random."""

    def __init__(self, vae: Any):
        super().__init__()
        self.vae = vae
        self.scaling = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """image: uint8 N,H,W,3. mask: float N,1,H,W, 1 = hidden. Returns float32 N,4,h,w."""
        x = image.float().permute(0, 3, 1, 2) / 127.5 - 1
        encoded = self.vae.encode(((1 - mask) * x).to(dtype_of(self.vae)))
        latents: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return (latents.float() - self.shift) * self.scaling


def encoder_case(vae: Any, image_size: int, rng: np.random.Generator) -> GraphCase:
    """The encoder graph with example inputs."""
    return GraphCase(
        "encoder",
        EncoderGraph(vae),
        {"image": example_image(rng, 2, image_size), "mask": example_mask(rng, 2, image_size)},
        {"image": {0: "N"}, "mask": {0: "N"}},
        ("latents",),
    )
