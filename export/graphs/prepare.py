"""The prepare graph: noised latents (eq. 7, at T̃ = λT of eq. 11) and the latents of what stays visible."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, example_mask, example_noise


class PrepareGraph(nn.Module):
    """Everything the denoiser is given, from the latents of images and what is visible of them.

    One graph for both ways of masking: with `visible` the image's latents and `blank` those of a hidden picture,
    masked latents are blended in latent space; with both the latents of the masked picture, they pass unchanged.
    """

    def forward(
        self,
        latents: Tensor,
        visible: Tensor,
        blank: Tensor,
        mask: Tensor,
        noise: Tensor,
        image_index: Tensor,
        visible_index: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """latents, noise: float N,4,h,w. visible, blank: float V,4,h,w. mask: float B,1,h,w, 1 = hidden.

        image_index, visible_index: int64 B, rows of the former. start: float B,2 = (sqrt(ᾱ), sqrt(1 - ᾱ)).
        Returns noised latents and masked latents, float B,4,h,w each.
        """
        signal, sigma = start[:, :, None, None, None].unbind(1)
        noisy = signal * latents[image_index] + sigma * noise[image_index]
        masked = (1 - mask) * visible[visible_index] + mask * blank[visible_index]
        return noisy, masked


def prepare_case(channels: int, size: int, rng: np.random.Generator) -> GraphCase:
    """The prepare graph with example inputs: 2 images, 3 visible pictures, 4 masks."""
    return GraphCase(
        "prepare",
        PrepareGraph(),
        {
            "latents": example_noise(rng, 2, channels, size, size),
            "visible": example_noise(rng, 3, channels, size, size),
            "blank": example_noise(rng, 3, channels, size, size),
            "mask": example_mask(rng, 4, size),
            "noise": example_noise(rng, 2, channels, size, size),
            "image_index": torch.tensor([0, 1, 1, 0]),
            "visible_index": torch.tensor([2, 0, 1, 1]),
            "start": torch.tensor([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0], [0.28, 0.96]]),
        },
        {
            "latents": {0: "N"},
            "visible": {0: "V"},
            "blank": {0: "V"},
            "mask": {0: "B"},
            "noise": {0: "N"},
            "image_index": {0: "B"},
            "visible_index": {0: "B"},
            "start": {0: "B"},
        },
        ("noisy", "masked_latents"),
    )
