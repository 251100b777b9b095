"""Two LoRA branches on one frozen layer, chosen by the place of a row in the batch.

A batch is cut into equal slices; `Route.order` names the branch of each. So the global picture and the anomaly part go
through one call of the UNet. LoRA itself is Hu et al. 2021: W x + B A x, with B = 0 at the start and scale 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edge_ad.errors import OptionError

GLOBAL, PART = 0, 1
"""The branches: the whole picture (SD), and the anomaly part (SD*)."""


class Route:
    """Which branch each equal slice of a batch belongs to, shared by all layers of a model."""

    def __init__(self) -> None:
        self.order: tuple[int, ...] = (GLOBAL, PART)

    @contextmanager
    def of(self, *order: int) -> Iterator[None]:
        """Rows are laid out in this order inside the block."""
        before, self.order = self.order, order
        try:
            yield
        finally:
            self.order = before


class BranchLora(nn.Module):
    """A frozen linear layer or convolution with one LoRA a branch.

    Args:
        base: the layer; its weights are frozen here.
        rank: of the LoRA matrices.
        route: tells the branches of a batch's slices.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, route: Route) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.route = route
        self.down = nn.ModuleList(_down(base, rank) for _ in (GLOBAL, PART))
        self.up = nn.ModuleList(_up(base, rank) for _ in (GLOBAL, PART))
        for down, up in zip(self.down, self.up):
            nn.init.normal_(down.weight, std=1 / rank)
            nn.init.zeros_(up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Rows of each slice through the layer and their own branch's LoRA."""
        order = self.route.order
        if len(x) % len(order):
            raise ValueError(f"a batch of {len(x)} rows does not divide into {len(order)} equal slices")
        deltas = [self.up[branch](self.down[branch](rows)) for branch, rows in zip(order, x.chunk(len(order)))]
        out: Tensor = self.base(x) + torch.cat(deltas)
        return out


def _down(base: nn.Linear | nn.Conv2d, rank: int) -> nn.Module:
    if isinstance(base, nn.Linear):
        return nn.Linear(base.in_features, rank, bias=False)
    return nn.Conv2d(base.in_channels, rank, base.kernel_size, base.stride, base.padding, base.dilation, bias=False)


def _up(base: nn.Linear | nn.Conv2d, rank: int) -> nn.Module:
    if isinstance(base, nn.Linear):
        return nn.Linear(rank, base.out_features, bias=False)
    return nn.Conv2d(rank, base.out_channels, 1, bias=False)


def add_branches(module: nn.Module, rank: int, targets: tuple[str, ...], route: Route) -> int:
    """Give every linear layer and convolution whose name ends in one of `targets` its two LoRA branches, in place.

    Returns:
        How many layers were found.

    Raises:
        OptionError: a target that no layer is called.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    chosen = [(name, layer) for name, layer in layers if f".{name}".endswith(tuple(f".{target}" for target in targets))]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name, _ in chosen):
            raise OptionError(f"--targets: no linear layer or convolution is called {target!r}")
    for name, layer in chosen:
        module.set_submodule(name, BranchLora(layer, rank, route).to(layer.weight.device))
    return len(chosen)
