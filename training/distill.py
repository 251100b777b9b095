"""Few-step distillation of a fine-tuned denoiser: latent consistency (Luo et al. 2023), without guidance.

The student learns to say from every noisy latent what the teacher's solver would arrive at. It predicts ε as before, so
it is exported and run like any denoiser, with fewer steps.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_ad.errors import OptionError
from edge_ad.files import sha256_file, write_text
from edge_ad.progress import Step
from edge_ad.training.attention import use_plain_attention, use_training_attention
from edge_ad.training.base import Base, load_base
from edge_ad.training.checkpoint import write_weights
from edge_ad.training.diffusion import Diffusion, blend, unet_input
from edge_ad.training.features import FeatureNet
from edge_ad.training.finetune import TARGETS, DenoiserTuning, MaskSampler, Views, add_lora
from edge_ad.training.fit import Loop, fit
from edge_ad.training.fuse import apply_run
from edge_ad.training.machine import Precision, make_accelerator, shown
from edge_ad.training.out_folder import check_out, plain
from edge_ad.training.prompts import CategoryInfo
from edge_ad.training.run import Run, RunCategory, load_run, write_run
from edge_ad.training.views import make_views, read_shots, view_count

#: Solver steps from pure noise (N of algorithm 1), of which the student learns those below `strength`.
SOLVER_STEPS = 50
#: σ_data and the scale of timesteps in the boundary condition, and the Huber constant, as the authors released them.
SIGMA_DATA, TIME_SCALE, HUBER = 0.5, 10.0, 1e-3


@dataclass(frozen=True)
class DistillSettings:
    """How a denoiser is distilled.

    Attributes:
        steps: optimiser steps.
        batch: views a step.
        learning_rate: Adam's, constant after a short warm-up.
        strength: the highest noise strength λ that the student is to start from.
        average: decay of the moving average of the weights that is kept.
        rank: of the LoRA that a run with LoRA is distilled with; a fully tuned one is distilled whole.
        views: augmented views a category, at least one for each shot.
        seed: of views, batches, masks and noise.
        device, mixed_precision: as `TrainSettings`.
        save_every: steps between checkpoints.
    """

    steps: int = 300
    batch: int = 16
    learning_rate: float = 1e-4
    strength: float = 0.6
    average: float = 0.99
    rank: int = 64
    views: int = 48
    seed: int = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"
    save_every: int = 100


def consistency(z: Tensor, noise: Tensor, timesteps: Tensor, diffusion: Diffusion) -> Tensor:
    """f(z, t) = c_skip(t)·z + c_out(t)·x0 (eq. 9 of Luo et al.), x0 of the predicted noise; z: B,4,h,w, t: int64 B.

    c_skip = σ²/((s·t)² + σ²) and c_out = s·t/√((s·t)² + σ²), so that f(z, 0) = z.
    """
    alpha = diffusion.alphas_cumprod.to(z.device)[timesteps][:, None, None, None]
    clean = (z - (1 - alpha).sqrt() * noise) / alpha.sqrt()
    time = TIME_SCALE * timesteps.to(z.dtype)[:, None, None, None]
    skip, out = SIGMA_DATA**2 / (time**2 + SIGMA_DATA**2), time / (time**2 + SIGMA_DATA**2).sqrt()
    return skip * z + out * clean


def solver_step(z: Tensor, noise: Tensor, timesteps: Tensor, after: Tensor, diffusion: Diffusion) -> Tensor:
    """One DDIM step of the teacher, from `timesteps` to `after` (int64 B); below 0 is the clean latent."""
    table = diffusion.alphas_cumprod.to(z.device)
    now = table[timesteps][:, None, None, None]
    then = torch.where(after < 0, torch.ones_like(table[0]), table[after.clamp(min=0)])[:, None, None, None]
    clean = (z - (1 - now).sqrt() * noise) / now.sqrt()
    return then.sqrt() * clean + (1 - then).sqrt() * noise


def distill_denoiser(
    base: Base, views: Views, settings: DistillSettings, checkpoint: Path, *, lora: bool, tick: Step, key: str = ""
) -> float | None:
    """Distil `base.unet` in place, the teacher being what it was. Returns the mean loss of the last steps.

    lora: train a LoRA and fuse it in the end, which needs far less memory. The other arguments as `tune_denoiser`.
    """
    unet: Any = base.unet
    teacher = None
    if lora:
        add_lora(unet, settings.rank, TARGETS, settings.seed)
    else:
        teacher = copy.deepcopy(unet).requires_grad_(False).eval()
        unet.requires_grad_(True)
    device = next(unet.parameters()).device
    unet.to(memory_format=torch.channels_last).train()
    if device.type == "cpu":
        use_training_attention(unet)
    diffusion = Diffusion(base.scheduler_config)
    top = len(diffusion.alphas_cumprod)
    stride = top // SOLVER_STEPS
    places = max(int(settings.strength * SOLVER_STEPS), 1)
    sampler = MaskSampler(DenoiserTuning(plan_mask_share=1.0))

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([settings.seed, step, 8])
        rows = rng.integers(0, len(views.latents), settings.batch)
        z = views.latents[torch.from_numpy(rows)]
        mask = torch.from_numpy(np.stack([sampler(rng, views.foreground[row]) for row in rows]))[:, None]
        prompts = [views.prompts[views.category[row]] for row in rows]
        text = torch.stack([some[int(rng.integers(len(some)))] for some in prompts])
        timesteps = torch.from_numpy(stride * (rng.integers(0, places, settings.batch) + 1) - 1)
        noise = torch.from_numpy(rng.standard_normal(z.shape, dtype=np.float32))
        return z, mask, text, timesteps, noise

    def loss(network: Any, z: Tensor, mask: Tensor, text: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
        hidden, after = blend(z, views.blank.to(device), mask), timesteps - stride

        def predicted(model: Any, latents: Tensor, times: Tensor) -> Tensor:
            x = unet_input(latents, mask, hidden).contiguous(memory_format=torch.channels_last)
            result: Tensor = model(x, times, text).sample.float()
            return result

        noised = diffusion.add_noise(z, noise, timesteps)
        with torch.no_grad():
            if teacher is None:
                unet.disable_lora()
            ahead = solver_step(noised, predicted(teacher or unet, noised, timesteps), timesteps, after, diffusion)
            if teacher is None:
                unet.enable_lora()
            times = after.clamp(min=0)
            target = consistency(ahead, predicted(unet, ahead, times), times, diffusion)
            target = torch.where((after < 0)[:, None, None, None], ahead, target)
        # before pytorch#165068 autocast handed the student the casts made without gradients, and nothing trained
        torch.clear_autocast_cache()
        found = consistency(noised, predicted(network, noised, timesteps), timesteps, diffusion)
        return (((found - target) ** 2 + HUBER**2).sqrt() - HUBER).mean()

    last = fit(
        make_accelerator(settings.device, settings.mixed_precision),
        unet,
        batch,
        loss,
        Loop(settings.steps, settings.average, 1.0, settings.save_every),
        lambda step: settings.learning_rate * min(1.0, (step + 1) / 20),
        checkpoint,
        tick=tick,
        key=key,
    )
    unet.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    if device.type == "cpu":
        use_plain_attention(unet)
    if lora:
        unet.fuse_lora(lora_scale=1.0, safe_fusing=True)
        unet.unload_lora()
    return last


def distill(run_folder: Path, out: Path, settings: DistillSettings, *, log: Callable[[str], None] = print) -> Path:
    """Distil a run's denoiser and write a run with the student's; an interrupted one is taken up again.

    Args:
        run_folder: what `edge-ad train` wrote.
        out: the new run's folder.
        settings: how.
        log: is told what was done.

    Returns:
        `out`.

    Raises:
        InputError: the run or its base cannot be read, or `out` holds something else.
        BundleError: a file of the run is damaged.
        OptionError: settings that cannot be.
    """
    if settings.steps < 1 or settings.batch < 1 or not 0 < settings.strength <= 1:
        raise OptionError("--steps and --batch must be 1 or more, and --lambda must lie in (0, 1]")
    run = load_run(run_folder)
    described = json.dumps([plain(settings), sha256_file(run.folder / "run.json")])
    key = hashlib.sha256(described.encode()).hexdigest()
    check_out(out, key, "run.json", "run")
    if not any(category.shots for category in run.categories.values()):
        raise OptionError(f"{run_folder} has no shots to distil with; train with pictures")
    base = _fine_tuned(run)
    device = make_accelerator(settings.device, settings.mixed_precision).device
    for module in (base.vae, base.unet, base.text_encoder):
        module.to(device)
    work = out / "work"
    write_text(work / "key", key)
    net = FeatureNet("lite0")
    shots = [
        read_shots(category.shots, _info(name, category), base.image_size, net)
        for name, category in run.categories.items()
        if category.shots
    ]
    with shown("encoding views", sum(view_count(found, settings.views) for found in shots), True) as tick:
        views, _ = make_views(base, shots, settings.views, seed=settings.seed, tick=tick)
    with shown("distilling", settings.steps, True) as tick:
        last = distill_denoiser(
            base, views, settings, work / "student.safetensors", lora=run.unet is None, tick=tick, key=key
        )
    _write(run, out, base, settings, last)
    shutil.rmtree(work, ignore_errors=True)
    log(f"distilled for noise strengths up to {settings.strength:g}; mean loss of the last steps {last:.4f}")
    return out


def _info(name: str, category: RunCategory) -> CategoryInfo:
    """What the run was told of a category; texture or object is what training found it to be."""
    return CategoryInfo(
        name,
        tuple(category.prompts),
        "texture" if category.texture else "object",
        turn=category.turn,  # type: ignore[arg-type]
        mirror=category.mirror,
        scale=category.scale,
        colour=category.colour,
    )


def _fine_tuned(run: Run) -> Base:
    """The base with the run's denoiser."""
    base = load_base(run.base_id)
    base.image_size = run.image_size
    apply_run(base, run, decoder=False)
    return base


def _write(run: Run, out: Path, base: Base, settings: DistillSettings, last: float | None) -> None:
    write_weights(out / "unet.safetensors", base.unet)
    if run.decoder is not None:
        shutil.copyfile(run.decoder, out / "decoder.safetensors")
    for category in run.categories.values():
        for shot in category.shots:
            target = out / shot.relative_to(run.folder.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shot, target)
    described = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    write_run(
        out,
        base_id=run.base_id,
        image_size=run.image_size,
        categories=described["categories"],
        settings={**run.settings, "distilled": plain(settings)},
        losses={**run.losses, **({} if last is None else {"distillation": last})},
    )
