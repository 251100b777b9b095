"""What an exporter needs of one graph: the module, an example of every input, the free axes, and the outputs' names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GraphCase:
    """One graph ready to export. `axes` maps an input to {axis: name of the free size}.

    The example has at least 2 along every free axis, since the exporter would otherwise fix it. `tolerance` is the
    largest error against PyTorch that verification accepts.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]
    tolerance: float = 1e-3

    @property
    def rows(self) -> int:
        """Rows of the example's batch: the size of the first input whose first axis is free."""
        first = next(name for name, axes in self.axes.items() if 0 in axes)
        return int(self.inputs[first].shape[0])


def blocks(rng: np.random.Generator, *shape: int, block: int = 8) -> Tensor:
    """A smooth-free but compressible example picture: float32 …,H,W of random `block` x `block` squares in [0, 1].

    Values are multiples of 1/255. `block` must divide H and W.
    """
    small = rng.integers(0, 256, (*shape[:-2], shape[-2] // block, shape[-1] // block))
    return torch.from_numpy((np.kron(small, np.ones((block, block))) / 255).astype(np.float32))


def example_image(rng: np.random.Generator, count: int, size: int) -> Tensor:
    """uint8 N,H,W,3 of random squares."""
    return (blocks(rng, count, 3, size, size) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def example_mask(rng: np.random.Generator, count: int, size: int) -> Tensor:
    """float32 N,1,H,W of 0 and 1, in squares."""
    return (blocks(rng, count, 1, size, size, block=max(size // 8, 1)) > 0.5).float()


def example_noise(rng: np.random.Generator, *shape: int) -> Tensor:
    """Standard normal float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype a module's parameters are kept in."""
    return next(module.parameters()).dtype
