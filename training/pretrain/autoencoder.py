"""Nano's autoencoder: MSE + β LPIPS (eq. 9 and 10 on crops), noise on the latents for a smooth space."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.training.checkpoint import Average, resume, save_checkpoint
from edge_ad.training.perceptual import PerceptualNet, best_available


@dataclass(frozen=True)
class AutoencoderSettings:
    """How the autoencoder is trained.

    Attributes:
        steps: optimiser steps.
        batch: crops a step.
        crop: side of a crop in px; the network is convolutional, so crops are enough.
        learning_rate: peak of a one-cycle cosine, Adam.
        lpips: β, weight of LPIPS beside MSE.
        latent_noise: deviation of the Gaussian noise added to latents before decoding.
        latent_penalty: weight of mean z², which keeps latents near unit size against that noise.
        average: decay of the moving average of the weights that is kept.
    """

    steps: int = 2400
    batch: int = 16
    crop: int = 96
    learning_rate: float = 1.5e-3
    lpips: float = 0.1
    latent_noise: float = 0.08
    latent_penalty: float = 1e-3
    average: float = 0.998


def one_cycle(step: int, steps: int, warmup: int = 100) -> float:
    """Linear warm-up, then a cosine down to 2 %: the factor on the learning rate at `step`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(1.0, progress))))


def random_crops(pictures: npt.NDArray[np.uint8], batch: int, crop: int, rng: np.random.Generator) -> Tensor:
    """B,3,crop,crop in [-1, 1]: random crops, turned and mirrored at random (dihedral)."""
    parts = []
    for index in rng.integers(0, len(pictures), batch):
        top, left = rng.integers(0, pictures.shape[1] - crop + 1, 2)
        part = np.rot90(pictures[index, top : top + crop, left : left + crop], int(rng.integers(4)))
        parts.append(part[:, ::-1] if rng.random() < 0.5 else part)
    x = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def train_autoencoder(
    vae: Any,
    pictures: npt.NDArray[np.uint8],
    folder: Path,
    settings: AutoencoderSettings,
    *,
    seed: int,
    log: Callable[[str], None] = print,
) -> None:
    """Train `vae` (AutoencoderTiny) in place; resumes from `folder`/autoencoder.safetensors (saved every 250 steps).

    Ends with the averaged weights, and `scaling_factor` set so that scaled latents have unit deviation.
    """
    perceptual = PerceptualNet(best_available()).to(memory_format=torch.channels_last)
    vae.to(memory_format=torch.channels_last).train().requires_grad_(True)
    average = Average(vae, settings.average)
    optimiser = torch.optim.Adam(vae.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    saved = folder / "autoencoder.safetensors"
    start = resume(saved, vae, average, optimiser)
    began = time.monotonic()
    sums = torch.zeros(3)
    for step in range(start, settings.steps):
        rng = np.random.default_rng([seed, step, 2])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        x = random_crops(pictures, settings.batch, settings.crop, rng)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(step, settings.steps)
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encoder(x).float()
            noisy = z + settings.latent_noise * torch.randn(z.shape, generator=generator)
            y = vae.decoder(noisy)
            distance = perceptual(x, y).float().mean()
        error = torch.nn.functional.mse_loss(y.float(), x)
        loss = error + settings.lpips * distance + settings.latent_penalty * (z**2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        average.update(vae, step)
        sums += torch.stack([error.detach(), distance.detach(), z.detach().std()])
        if (step + 1) % 50 == 0:
            mse, lpips, spread = (sums / 50).tolist()
            sums.zero_()
            speed = (time.monotonic() - began) / (step + 1 - start)
            psnr = 10 * np.log10(4.0 / mse)
            log(
                f"autoencoder: step {step + 1} of {settings.steps}, PSNR {psnr:.2f} dB, LPIPS {lpips:.4f}, "
                f"latent deviation {spread:.3f}, {speed:.2f} s a step"
            )
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            save_checkpoint(saved, vae, average, optimiser, step + 1)
    average.copy_to(vae)
    vae.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    vae.register_to_config(scaling_factor=round(1.0 / latent_deviation(vae, pictures, seed), 5))


@torch.no_grad()
def latent_deviation(vae: Any, pictures: npt.NDArray[np.uint8], seed: int) -> float:
    """Standard deviation of the unscaled latents over 64 pictures."""
    rng = np.random.default_rng([seed, 3])
    chosen = np.sort(rng.choice(len(pictures), min(64, len(pictures)), replace=False))
    x = torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1
    return float(torch.cat([vae.encoder(part) for part in x.split(8)]).std())
