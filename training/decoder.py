"""Fine-tuning of the autoencoder's decoder: L_MSE + β L_LPIPS (eq. 9, 10); the encoder stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.progress import Step
from edge_ad.training.base import Base, decode
from edge_ad.training.checkpoint import Average, resume, save_checkpoint
from edge_ad.training.perceptual import PerceptualNet, best_available


@dataclass(frozen=True)
class DecoderTuning:
    """How the decoder is fine-tuned.

    Attributes:
        steps: optimiser steps; 0 leaves the base's decoder as it is.
        batch: crops a step.
        crop: side of a crop in px, a multiple of 8.
        learning_rate: Adam's peak, falling linearly to a tenth.
        beta: weight of LPIPS (eq. 9).
        average: decay of the moving average of the weights that is kept.
        save_every: steps between checkpoints.
    """

    steps: int = 150
    batch: int = 8
    crop: int = 128
    learning_rate: float = 3e-4
    beta: float = 0.1
    average: float = 0.98
    save_every: int = 100


def decoder_loss(x: Tensor, y: Tensor, perceptual: PerceptualNet, beta: float) -> Tensor:
    """L_D = L_MSE + β L_LPIPS (eq. 9, 10), the mean over the batch. x, y: N,3,H,W in [-1, 1]."""
    return torch.nn.functional.mse_loss(y.float(), x.float()) + beta * perceptual(x, y).float().mean()


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
) -> dict[str, float]:
    """Fine-tune `base.vae.decoder` in place on cached views and return the last mean loss.

    Args:
        base: its decoder is trained.
        pictures: uint8 V,S,S,3, the views.
        latents: V,4,S/8,S/8, their scaled latents.
        tuning: how.
        checkpoint: safetensors file to resume from and save to.
        seed: of batches and crops.
        tick: progress, called once a step.
        key: names data and settings; a checkpoint of another key is not resumed.
    """
    vae: Any = base.vae
    device = next(vae.parameters()).device
    perceptual = PerceptualNet(best_available()).to(device)
    vae.to(memory_format=torch.channels_last)
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True).train()
    trained = list(vae.decoder.parameters())
    optimiser = torch.optim.Adam(trained, lr=tuning.learning_rate)
    average = Average(vae, tuning.average)
    start = resume(checkpoint, vae, average, optimiser, key)
    if start:
        tick(start, "resumed")
    side = min(tuning.crop, pictures.shape[1]) // 8
    recent: list[float] = []
    for step in range(start, tuning.steps):
        rng = np.random.default_rng([seed, step, 7])
        x, z = [], []
        for row in rng.integers(0, len(pictures), tuning.batch):
            top, left = (int(value) for value in rng.integers(0, latents.shape[-1] - side + 1, 2))
            z.append(latents[row, :, top : top + side, left : left + side])
            x.append(pictures[row, 8 * top : 8 * (top + side), 8 * left : 8 * (left + side)])
        target = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
        for entry in optimiser.param_groups:
            entry["lr"] = tuning.learning_rate * (1 - 0.9 * step / tuning.steps)
        with torch.autocast(device.type, torch.bfloat16):
            y = decode(vae, torch.stack(z).to(device).contiguous(memory_format=torch.channels_last))
            loss = decoder_loss(target, y, perceptual, tuning.beta)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        average.update(vae, step)
        recent = [*recent[-49:], loss.item()]
        tick(1, f"loss {np.mean(recent):.4f}")
        if (step + 1) % tuning.save_every == 0 or step + 1 == tuning.steps:
            save_checkpoint(checkpoint, vae, average, optimiser, step + 1, key)
    average.copy_to(vae)
    vae.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    return {"decoder": float(np.mean(recent))} if recent else {}
