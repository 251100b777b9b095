"""Nano's denoiser and text encoder: text-conditioned inpainting (eq. 8) with mixed masks, on cached latents."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.training.attention import use_plain_attention, use_training_attention
from edge_ad.training.base import Base
from edge_ad.training.checkpoint import Average, resume, save_checkpoint
from edge_ad.training.diffusion import Diffusion, blend, unet_input
from edge_ad.training.masks import mixed
from edge_ad.training.pretrain.autoencoder import one_cycle
from edge_ad.training.views import blank_latents


@dataclass(frozen=True)
class DenoiserSettings:
    """How the denoiser is pretrained.

    Attributes:
        steps: optimiser steps.
        batch: pictures a step.
        learning_rate: peak of a one-cycle cosine, AdamW.
        empty_prompt: share of pictures with the empty prompt.
        low_noise: share of timesteps drawn from the lower 60 %, where inspection (λ ≤ 0.6) works; the rest from all.
        average: decay of the moving average of the weights that is kept.
    """

    steps: int = 4900
    batch: int = 32
    learning_rate: float = 8e-4
    empty_prompt: float = 0.1
    low_noise: float = 0.6
    average: float = 0.999


def _batch(
    latents: npt.NDArray[np.float16],
    tokens: Tensor,
    settings: DenoiserSettings,
    rng: np.random.Generator,
    empty: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = rng.integers(0, len(latents), settings.batch)
    z = torch.from_numpy(latents[rows].astype(np.float32))
    text = tokens[torch.from_numpy(rows % len(tokens))].clone()
    text[torch.from_numpy(rng.random(settings.batch) < settings.empty_prompt)] = empty
    mask = torch.from_numpy(np.stack([mixed(rng, z.shape[-1]) for _ in rows]))[:, None]
    top = np.where(rng.random(settings.batch) < settings.low_noise, 600, 1000)
    timesteps = torch.from_numpy((rng.random(settings.batch) * top).astype(np.int64))
    return z, text, mask, timesteps


def train_denoiser(
    base: Base,
    latents: npt.NDArray[np.float16],
    captions: list[str],
    folder: Path,
    settings: DenoiserSettings,
    *,
    seed: int,
    log: Callable[[str], None] = print,
) -> None:
    """Train `base.unet` and `base.text_encoder` together, in place; ends with the averaged weights.

    Resumes from `folder`/denoiser.safetensors, where it saves every 250 steps.

    Args:
        base: nano with random weights and a trained autoencoder.
        latents: float16 views·count,4,h,w, scaled.
        captions: one a picture; row r of `latents` belongs to caption r % count.
        folder: work folder.
        settings: steps, batch and rates.
        seed: of batches, masks and noise.
        log: receives progress lines.
    """
    unet, text_encoder = base.unet, base.text_encoder
    unet.to(memory_format=torch.channels_last).train().requires_grad_(True)
    text_encoder.train().requires_grad_(True)
    use_training_attention(unet)
    length = base.tokenizer.model_max_length
    encode = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
    tokens = base.tokenizer(captions, **encode).input_ids
    empty = base.tokenizer([""], **encode).input_ids[0]
    blank = blank_latents(base)
    diffusion = Diffusion(base.scheduler_config)
    modules = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    decayed = [value for value in modules.parameters() if value.ndim > 1]
    plain = [value for value in modules.parameters() if value.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )
    average = Average(modules, settings.average)
    saved = folder / "denoiser.safetensors"
    start = resume(saved, modules, average, optimiser)
    began, total = time.monotonic(), 0.0
    for step in range(start, settings.steps):
        rng = np.random.default_rng([seed, step, 5])
        z, text, mask, timesteps = _batch(latents, tokens, settings, rng, empty)
        noise = torch.from_numpy(rng.standard_normal(z.shape, dtype=np.float32))
        x = unet_input(diffusion.add_noise(z, noise, timesteps), mask, blend(z, blank, mask))
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(step, settings.steps, 200)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = text_encoder(text).last_hidden_state
            predicted = unet(x.contiguous(memory_format=torch.channels_last), timesteps, hidden).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        average.update(modules, step)
        total += loss.item()
        if (step + 1) % 50 == 0:
            speed = (time.monotonic() - began) / (step + 1 - start)
            log(f"denoiser: step {step + 1} of {settings.steps}, loss {total / 50:.4f}, {speed:.2f} s a step")
            total = 0.0
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            save_checkpoint(saved, modules, average, optimiser, step + 1)
    average.copy_to(modules)
    modules.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    use_plain_attention(unet)
