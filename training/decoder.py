"""Fine-tuning of the autoencoder's decoder: L_MSE + β L_LPIPS (eq. 9, 10); the encoder stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_ad.progress import Step
from edge_ad.training.base import Base, decode
from edge_ad.training.fit import Loop, fit
from edge_ad.training.machine import make_accelerator
from edge_ad.training.perceptual import PerceptualNet, best_available


@dataclass(frozen=True)
class DecoderTuning:
    """How the decoder is fine-tuned.

    Attributes:
        steps: optimiser steps; 0 leaves the base's decoder as it is.
        epochs: where above 0, `train` makes so many passes over the shots instead of `steps`.
        batch: crops a step, over all processes and accumulated parts.
        crop: side of a crop in px, a multiple of 8; a whole picture is taken where it is not larger.
        learning_rate: Adam's peak, falling linearly to a tenth.
        beta: weight of LPIPS (eq. 9).
        average: decay of the moving average of the weights that is kept.
        clip: largest norm of the gradient; 0 does not clip.
        checkpointing: compute activations again in the backward pass instead of keeping them, for small cards.
        save_every: steps between checkpoints.
    """

    steps: int = 150
    epochs: int = 0
    batch: int = 8
    crop: int = 128
    learning_rate: float = 3e-4
    beta: float = 0.1
    average: float = 0.98
    clip: float = 1.0
    checkpointing: bool = False
    save_every: int = 100


def decoder_loss(x: Tensor, y: Tensor, perceptual: PerceptualNet, beta: float) -> Tensor:
    """L_D = L_MSE + β L_LPIPS (eq. 9, 10), the mean over the batch. x, y: N,3,H,W in [-1, 1]."""
    return torch.nn.functional.mse_loss(y.float(), x.float()) + beta * perceptual(x, y).float().mean()


class _Decode(nn.Module):
    """The decoder as one module to call: with several processes gradients are exchanged by its forward pass."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """Scaled latents N,4,h,w → pictures N,3,8h,8w."""
        return decode(self.vae, latents)


def tune_decoder(
    base: Base,
    pictures: npt.NDArray[np.uint8],
    latents: Tensor,
    tuning: DecoderTuning,
    checkpoint: Path,
    *,
    seed: int,
    tick: Step,
    key: str = "",
    accelerator: Any = None,
) -> dict[str, float]:
    """Fine-tune `base.vae.decoder` in place on cached views and return the last mean loss as "decoder".

    Args:
        base: its decoder is trained.
        pictures: uint8 V,S,S,3, the views.
        latents: V,4,S/8,S/8, their scaled latents.
        tuning: how.
        checkpoint: safetensors file to resume from and save to.
        seed: of batches and crops.
        tick: progress, called once a step.
        key: names data and settings; a checkpoint of another key is not resumed.
        accelerator: from `make_accelerator`; None makes one for the autoencoder's device.
    """
    if not tuning.steps:
        return {}
    vae: Any = base.vae
    device = next(vae.parameters()).device
    perceptual = PerceptualNet(best_available()).to(device)
    vae.to(memory_format=torch.channels_last)
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True).train()
    if tuning.checkpointing:
        vae.enable_gradient_checkpointing()
    side = min(tuning.crop, pictures.shape[1]) // 8

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([seed, step, 7])
        x, z = [], []
        for row in rng.integers(0, len(pictures), tuning.batch):
            top, left = (int(value) for value in rng.integers(0, latents.shape[-1] - side + 1, 2))
            z.append(latents[row, :, top : top + side, left : left + side])
            x.append(pictures[row, 8 * top : 8 * (top + side), 8 * left : 8 * (left + side)])
        return torch.from_numpy(np.stack(x)), torch.stack(z)

    def loss(network: Any, x: Tensor, z: Tensor) -> Tensor:
        y = network(z.contiguous(memory_format=torch.channels_last))
        return decoder_loss(x.permute(0, 3, 1, 2).float() / 127.5 - 1, y, perceptual, tuning.beta)

    last = fit(
        accelerator or make_accelerator(device.type),
        _Decode(vae),
        batch,
        loss,
        Loop(tuning.steps, tuning.average, tuning.clip, tuning.save_every),
        lambda step: tuning.learning_rate * (1 - 0.9 * step / tuning.steps),
        checkpoint,
        tick=tick,
        key=key,
    )
    if tuning.checkpointing:
        vae.disable_gradient_checkpointing()
    vae.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    return {} if last is None else {"decoder": last}
