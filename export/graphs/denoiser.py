"""The denoiser graph: one solver step, network and arithmetic together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, dtype_of, example_mask, example_noise


class DenoiserGraph(nn.Module):
    """`next = a·x + b·ε + c·history`, `history' = p·x + q·ε`, ε from the UNet on z̃ = [z; m̃; z°] (eq. 11).

    The channels are in the order that Stable Diffusion's inpainting checkpoints were trained with: latents, mask,
    masked latents. Solver arithmetic stays in fp32 whatever the network computes in.
    """

    def __init__(self, unet: Any):
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: Tensor,
        masked_latents: Tensor,
        mask: Tensor,
        prompts: Tensor,
        prompt_index: Tensor,
        timestep: Tensor,
        history: Tensor,
        coeffs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """latents, masked_latents, history: float B,4,h,w. mask: float B,1,h,w. timestep: float B. coeffs: float B,5.

        prompts: float P,L,D, one a category in the batch, and prompt_index: int64 B, the row of each mask, so that a
        prompt is not copied once a mask. Returns next latents and history, float32 B,4,h,w.
        """
        dtype = dtype_of(self.unet)
        x = torch.cat([latents, mask, masked_latents], dim=1).to(dtype)
        prompt = prompts.to(dtype)[prompt_index]
        epsilon = self.unet(x, timestep, encoder_hidden_states=prompt, return_dict=False)[0].float()
        a, b, c, p, q = coeffs[:, :, None, None, None].unbind(1)
        return a * latents + b * epsilon + c * history, p * latents + q * epsilon


def denoiser_case(
    unet: Any, channels: int, size: int, prompt_shape: tuple[int, int], rng: np.random.Generator
) -> GraphCase:
    """The denoiser graph with example inputs: 2 prompts, 3 masks, one row a DDIM step, one multistep, one finished."""
    return GraphCase(
        "denoiser",
        DenoiserGraph(unet),
        {
            "latents": example_noise(rng, 3, channels, size, size),
            "masked_latents": example_noise(rng, 3, channels, size, size),
            "mask": example_mask(rng, 3, size),
            "prompts": example_noise(rng, 2, *prompt_shape),
            "prompt_index": torch.tensor([1, 0, 1]),
            "timestep": torch.tensor([399.0, 199.0, 0.0]),
            "history": example_noise(rng, 3, channels, size, size),
            "coeffs": torch.tensor([[1.1, -0.2, 0, 0, 0], [0.9, -0.3, -0.25, 1.2, -0.5], [1, 0, 0, 0, 0]]),
        },
        {
            "latents": {0: "B"},
            "masked_latents": {0: "B"},
            "mask": {0: "B"},
            "prompts": {0: "P"},
            "prompt_index": {0: "B"},
            "timestep": {0: "B"},
            "history": {0: "B"},
            "coeffs": {0: "B"},
        },
        ("next", "next_history"),
    )
