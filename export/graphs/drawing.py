"""The drawing graph: one solver step of both branches of a generator, guidance and arithmetic included."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, dtype_of, example_noise
from edge_ad.training.dual.model import DualModel


class DrawingGraph(nn.Module):
    """`next = a·x + b·ε + c·history`, `history' = p·x + q·ε`, with ε = Σ_c weight_c · ε_c over the prompts c.

    Guidance of scale s is prompts (empty, asked) with weights (1 - s, s); none is the prompt alone with weight 1. Both
    stay in fp32, as does the solver's arithmetic, whatever the network computes in.

    Args:
        model: its branches fused (`edge_ad.training.dual.fuse.fuse_branches`).
    """

    def __init__(self, model: DualModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        latents: Tensor,
        history: Tensor,
        prompts: Tensor,
        weights: Tensor,
        timestep: Tensor,
        coeffs: Tensor,
        background: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """latents, history: float B,2,4,h,w, picture and part. prompts: float 2,C,L,D, those of each branch.

        weights: float C. timestep: float 1. coeffs: float 5. background: float B,4,h,w, noised to the same timestep, of
        a model with background compensation. Returns next latents and history, float32 B,2,4,h,w.
        """
        dtype, rows, copies = dtype_of(self.model.unet), latents.shape[0], prompts.shape[1]
        branches = latents.transpose(0, 1)[:, None].expand(-1, copies, -1, -1, -1, -1)
        text = prompts[:, :, None].expand(-1, -1, rows, -1, -1)
        behind = None
        if background is not None:
            behind = background[None].expand(copies, -1, -1, -1, -1).flatten(0, 1).to(dtype)
        predicted = self.model(
            branches.flatten(0, 2).to(dtype),
            timestep.expand(copies * rows),
            text.flatten(0, 2).to(dtype),
            behind,
        ).float()
        each = predicted.unflatten(0, (2, copies, rows)) * weights[None, :, None, None, None, None]
        epsilon = each.sum(1).transpose(0, 1)
        a, b, c, p, q = coeffs.unbind(0)
        return a * latents + b * epsilon + c * history, p * latents + q * epsilon


def drawing_case(
    model: DualModel, channels: int, size: int, prompt_shape: tuple[int, int], rng: np.random.Generator
) -> GraphCase:
    """The drawing graph with example inputs: 3 pairs, guided."""
    inputs = {
        "latents": example_noise(rng, 3, 2, channels, size, size),
        "history": example_noise(rng, 3, 2, channels, size, size),
        "prompts": example_noise(rng, 2, 2, *prompt_shape),
        "weights": torch.tensor([-1.5, 2.5]),
        "timestep": torch.tensor([399.0]),
        "coeffs": torch.tensor([0.9, -0.3, -0.25, 1.2, -0.5]),
    }
    axes = {"latents": {0: "B"}, "history": {0: "B"}, "prompts": {1: "C"}, "weights": {0: "C"}}
    if model.shape.background:
        inputs["background"] = example_noise(rng, 3, channels, size, size)
        axes["background"] = {0: "B"}
    return GraphCase("drawing", DrawingGraph(model), inputs, axes, ("next", "next_history"))
