"""The compose graph: results of one scale put together in latent space, so that a scale is decoded once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.export.graphs.case import GraphCase, example_mask, example_noise


class ComposeGraph(nn.Module):
    """Picture k = Σ_b assignment[k, b] · mask_b · result_b."""

    def forward(self, results: Tensor, masks: Tensor, assignment: Tensor) -> Tensor:
        """results: float B,4,h,w. masks: float B,1,h,w, 1 = taken. assignment: float K,B. Returns float K,4,h,w."""
        parts = (masks * results).flatten(1)
        return torch.matmul(assignment, parts).unflatten(1, results.shape[1:])


def compose_case(channels: int, size: int, rng: np.random.Generator) -> GraphCase:
    """The compose graph with example inputs: 4 results, 2 pictures."""
    return GraphCase(
        "compose",
        ComposeGraph(),
        {
            "results": example_noise(rng, 4, channels, size, size),
            "masks": example_mask(rng, 4, size),
            "assignment": torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]]),
        },
        {"results": {0: "B"}, "masks": {0: "B"}, "assignment": {0: "K", 1: "B"}},
        ("composed",),
    )
