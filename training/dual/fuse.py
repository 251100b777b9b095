"""The branches' LoRA put into weights of their own: each layer twice instead of once with two adapters.

Two adapters cannot be fused into one layer, but each can be fused into a copy of it, W + B A, and every row of a batch
belongs to one branch: the sums are the same, but for rounding, and no adapter is left to compute. SAIM and background
compensation stay as they are. Such a model draws and does not train.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.training.dual.attention import DualAttention
from edge_ad.training.dual.lora import GLOBAL, PART, BranchLora, Route
from edge_ad.training.dual.model import DualModel


class FusedBranches(nn.Module):
    """One layer a branch.

    Args:
        branches: the layer of the global branch, and that of the anomaly part.
        route: tells the branches of a batch's slices.
    """

    def __init__(self, branches: list[nn.Module], route: Route) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.route = route

    def forward(self, x: Tensor) -> Tensor:
        """Rows of each slice through their branch's layer; the batch divides into as many slices as `route` names."""
        slices = x.unflatten(0, (len(self.route.order), -1)).unbind(0)
        return torch.cat([self.branches[branch](rows) for branch, rows in zip(self.route.order, slices)])


def fused_layer(layer: BranchLora, branch: int) -> nn.Module:
    """A plain linear layer or convolution with the weights W + B A of a branch."""
    fused = copy.deepcopy(layer.base)
    up, down = layer.up[branch].weight, layer.down[branch].weight
    with torch.no_grad():
        # of a convolution B is 1 × 1: it mixes the channels that A's kernel gives
        fused.weight.add_((up.flatten(1) @ down.flatten(1)).view_as(fused.weight))
    return fused


def fuse_branches(model: DualModel) -> None:
    """Fuse the LoRA of a model's UNet, in place, and give it diffusers' own attention. Its text encoder stays."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    unet: Any = model.unet
    for name, layer in list(unet.named_modules()):
        if isinstance(layer, BranchLora):
            fused = [fused_layer(layer, branch) for branch in (GLOBAL, PART)]
            unet.set_submodule(name, FusedBranches(fused, model.route))
        elif isinstance(layer, DualAttention):
            layer.inner = AttnProcessor2_0()
