"""AnomalySD's fine-tuning of the denoiser (section 4.1): LoRA or all weights, loss (8) on z̃_t = [z_t; z°; m̃]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.errors import OptionError
from edge_ad.progress import Step
from edge_ad.training.attention import use_plain_attention, use_training_attention
from edge_ad.training.base import Base
from edge_ad.training.diffusion import Diffusion, blend, unet_input
from edge_ad.training.fit import Loop, fit
from edge_ad.training.machine import make_accelerator
from edge_ad.training.masks import ForegroundRectangles, blob, full, group, rectangle

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
"""Modules that carry LoRA by default: attention, feed-forward and the convolutions of the residual blocks."""


@dataclass(frozen=True)
class DenoiserTuning:
    """How the denoiser is fine-tuned.

    Attributes:
        steps: optimiser steps; 0 leaves the base as it is.
        epochs: where above 0, `train` makes so many passes over the shots instead of `steps`.
        batch: views a step, over all processes and accumulated parts.
        learning_rate: Adam's, constant after a short warm-up.
        rank: of the LoRA matrices.
        full: train every weight instead of LoRA, as the paper did.
        targets: module names that carry LoRA.
        masks: "designed" (foreground rectangles, section 4.1) or "random" (any rectangle): table 4.
        plan_mask_share: share of masks as the `grouped` plan shows them, a twentieth of them the full mask, and
            as many free shapes as a prototype-guided mask may have.
        low_noise: share of timesteps drawn from the lower 60 %, where inspection works; the rest from all.
        average: decay of the moving average of the weights that is kept.
        clip: largest norm of the gradient; 0 does not clip.
        checkpointing: compute activations again in the backward pass instead of keeping them, for small cards.
        save_every: steps between checkpoints.
    """

    steps: int = 300
    epochs: int = 0
    batch: int = 16
    learning_rate: float = 5e-4
    rank: int = 16
    full: bool = False
    targets: tuple[str, ...] = TARGETS
    masks: Literal["designed", "random"] = "designed"
    plan_mask_share: float = 0.5
    low_noise: float = 0.7
    average: float = 0.99
    clip: float = 1.0
    checkpointing: bool = False
    save_every: int = 100


@dataclass
class Views:
    """Cached augmented views of all shots of all categories.

    Attributes:
        latents: float32 V,4,h,w, scaled.
        foreground: bool V,h,w.
        category: int64 V, index into `prompts`.
        prompts: one tensor n_c,L,D a category, τ(y) of each of its prompts.
        blank: 1,4,h,w, latents of a mid-grey picture.
    """

    latents: Tensor
    foreground: np.ndarray[Any, np.dtype[np.bool_]]
    category: np.ndarray[Any, np.dtype[np.int64]]
    prompts: list[Tensor]
    blank: Tensor


def check_targets(unet: Any, targets: tuple[str, ...]) -> None:
    """OptionError names the first target that no linear layer or convolution of the UNet is called."""
    names = [f".{name}" for name, layer in unet.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for target in targets:
        if not any(name.endswith(f".{target}") for name in names):
            raise OptionError(
                f"--targets: the denoiser has no linear layer or convolution called {target!r}; "
                f"for example {', '.join(TARGETS)}"
            )


def add_lora(unet: Any, rank: int, targets: tuple[str, ...], seed: int) -> None:
    """Attach LoRA of `rank` to the named modules of a UNet through peft; only LoRA weights are trainable afterwards.

    Raises:
        OptionError: a name that no linear layer or convolution of the UNet has.
    """
    from peft import LoraConfig

    check_targets(unet, targets)
    torch.manual_seed(seed)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), init_lora_weights="gaussian"))


class MaskSampler:
    """Masks of the fine-tuning: the paper's design, and a share of those that the `grouped` plan will show."""

    def __init__(self, tuning: DenoiserTuning) -> None:
        self.tuning = tuning
        self.design = ForegroundRectangles()

    def __call__(self, rng: np.random.Generator, foreground: Any) -> Any:
        """One mask, float32 h,w, 1 = hidden, for a foreground bool h,w."""
        size = len(foreground)
        if rng.random() < self.tuning.plan_mask_share:
            kind = rng.random()
            return full(rng, size) if kind < 0.05 else blob(rng, size) if kind < 0.1 else group(rng, size)
        return self.design(rng, foreground) if self.tuning.masks == "designed" else rectangle(rng, size)


def tune_denoiser(
    base: Base,
    views: Views,
    tuning: DenoiserTuning,
    checkpoint: Path,
    *,
    seed: int,
    tick: Step,
    key: str = "",
    accelerator: Any = None,
) -> dict[str, float]:
    """Fine-tune `base.unet` in place (LoRA stays attached, the averaged weights in it) and return what is known of it.

    Args:
        base: its UNet is trained; a LoRA is added unless `tuning.full`.
        views: cached views.
        tuning: how.
        checkpoint: safetensors file to resume from and save to.
        seed: of LoRA, batches, masks and noise.
        tick: progress, called once a step.
        key: names data and settings; a checkpoint of another key is not resumed.
        accelerator: from `make_accelerator`; None makes one for the UNet's device.

    Returns:
        "denoiser", the mean loss of the last steps; "masks_drawn" of the mask design and "mask_fallbacks" among them,
        for which no rectangle satisfied γ, and their share. Empty where there are no steps.
    """
    if not tuning.steps:
        return {}
    unet: Any = base.unet
    if tuning.full:
        unet.requires_grad_(True)
    else:
        add_lora(unet, tuning.rank, tuning.targets, seed)
    device = next(unet.parameters()).device
    unet.to(memory_format=torch.channels_last).train()
    on_cpu = device.type == "cpu"
    if on_cpu:
        use_training_attention(unet)
    if tuning.checkpointing:
        unet.enable_gradient_checkpointing()
    diffusion = Diffusion(base.scheduler_config)
    sampler = MaskSampler(tuning)
    top = len(diffusion.alphas_cumprod)

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([seed, step, 6])
        rows = rng.integers(0, len(views.latents), tuning.batch)
        z = views.latents[torch.from_numpy(rows)]
        mask = torch.from_numpy(np.stack([sampler(rng, views.foreground[row]) for row in rows]))[:, None]
        text = torch.stack([_one_of(views.prompts[views.category[row]], rng) for row in rows])
        limit = np.where(rng.random(tuning.batch) < tuning.low_noise, 0.6 * top, top)
        timesteps = torch.from_numpy((rng.random(tuning.batch) * limit).astype(np.int64))
        noise = torch.from_numpy(rng.standard_normal(z.shape, dtype=np.float32))
        return z, mask, text, timesteps, noise

    def loss(network: Any, z: Tensor, mask: Tensor, text: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        x = unet_input(diffusion.add_noise(z, noise, timesteps), mask, blend(z, views.blank.to(device), mask))
        predicted = network(x.contiguous(memory_format=torch.channels_last), timesteps, text).sample
        return torch.nn.functional.mse_loss(predicted.float(), noise)

    last = fit(
        accelerator or make_accelerator(device.type),
        unet,
        batch,
        loss,
        Loop(tuning.steps, tuning.average, tuning.clip, tuning.save_every),
        lambda step: tuning.learning_rate * min(1.0, (step + 1) / 20),
        checkpoint,
        tick=tick,
        key=key,
        counts=sampler.design.counts,
    )
    if tuning.checkpointing:
        unet.disable_gradient_checkpointing()
    # safetensors keeps no channels-last tensors
    unet.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    if on_cpu:
        use_plain_attention(unet)
    known = {} if last is None else {"denoiser": last}
    if sampler.design.drawn:
        known["masks_drawn"], known["mask_fallbacks"] = sampler.design.drawn, sampler.design.fallbacks
        known["mask_fallback_share"] = sampler.design.fallbacks / sampler.design.drawn
    return known


def _one_of(prompts: Tensor, rng: np.random.Generator) -> Tensor:
    return prompts[int(rng.integers(len(prompts)))]
