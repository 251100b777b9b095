"""Training of a generator for one defect: loss (4), both branches at the same timestep with noise of their own."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.dataset import load_dataset
from edge_ad.errors import InputError, OptionError
from edge_ad.files import atomic_path, write_text
from edge_ad.images import Mask, Picture, read_image, resize_image, write_image
from edge_ad.progress import Step
from edge_ad.training.base import is_small, load_base
from edge_ad.training.diffusion import Diffusion
from edge_ad.training.dual.generator import CHANNELS, Generator, write_generator
from edge_ad.training.dual.model import DualModel, DualShape
from edge_ad.training.dual.pairs import Pair, PairViews, defect_samples, first_third, make_pair_views, read_pair
from edge_ad.training.features import FeatureNet
from edge_ad.training.fit import Loop, fit
from edge_ad.training.foreground import foregrounds
from edge_ad.training.machine import Precision, check_split, make_accelerator, shown
from edge_ad.training.out_folder import check_out, make_key, plain
from edge_ad.training.prompts import category_info, read_table

GOOD_KEPT = 8
"""Good pictures that go into a generator: backgrounds to draw with, and the comparison of `score`."""


@dataclass(frozen=True)
class DualTuning:
    """How a generator is trained.

    Attributes:
        steps: optimiser steps.
        batch: pairs a step, over all processes and accumulated parts.
        learning_rate: AdamW's, constant after a short warm-up.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        views: cached augmented views of the training pairs.
        empty_prompt: share of steps with the empty prompt, so that guidance has something to move away from.
        average: decay of the moving average of the weights that is kept; 0 keeps the last weights.
        save_every: steps between checkpoints.
    """

    steps: int = 5000
    batch: int = 4
    learning_rate: float = 2e-5
    weight_decay: float = 1e-2
    clip: float = 1.0
    views: int = 200
    empty_prompt: float = 0.0
    average: float = 0.0
    save_every: int = 250


@dataclass(frozen=True)
class DualSettings:
    """What a training is asked to do.

    Attributes:
        base: "nano", a diffusers folder or a hub id.
        prompts: p and p' of eq. 2.
        shape: what is attached to the base.
        tuning: how it is trained.
        image_size: side in px; None takes the base's.
        cfg: guidance scale that pictures are drawn with by default.
        categories_file: the user's own category table (TOML), or None.
        seed: of weights, views, batches and noise.
        device: "auto", "cpu" or "cuda".
        mixed_precision: "auto", "no", "bf16" or "fp16".
        accumulate: parts of a batch whose gradients are added up before one step.
    """

    base: str = "nano"
    prompts: tuple[str, str] = ("a vfx with sks", "sks")
    shape: DualShape = field(default_factory=DualShape)
    tuning: DualTuning = field(default_factory=DualTuning)
    image_size: int | None = None
    cfg: float = 2.5
    categories_file: Path | None = None
    seed: int = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"
    accumulate: int = 1


def default_settings(base: str, background: bool = False) -> DualSettings:
    """The defaults for a base: those known from runs on SD 1.5 at 512 px; nano's are chosen, not yet compared."""
    if not is_small(base):
        return DualSettings(
            base=base, shape=DualShape(background=background), tuning=DualTuning(batch=2 if background else 4)
        )
    targets = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
    tuning = DualTuning(steps=600, batch=4, learning_rate=1e-3, views=96, empty_prompt=0.1, average=0.99)
    return DualSettings(base=base, shape=DualShape(targets=targets, background=background), tuning=tuning)


def dual_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """Eq. 4: the mean squared errors of both branches, added. Both 2B,4,h,w, the pictures first."""
    parts = zip(predicted.float().chunk(2), noise.chunk(2))
    return torch.stack([functional.mse_loss(ours, theirs) for ours, theirs in parts]).sum()


def noised_batch(
    views: PairViews, diffusion: Diffusion, batch: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """One batch: noised latents B,2,4,h,w (picture, part), timesteps B, the noise B,2,4,h,w, and noised backgrounds
    B,4,h,w if there are any.
    """
    rows = torch.from_numpy(rng.integers(0, len(views.picture), batch))
    timesteps = torch.from_numpy(rng.integers(0, len(diffusion.alphas_cumprod), batch))
    clean = torch.stack([views.picture[rows], views.part[rows]], 1)
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    noised = diffusion.add_noise(clean.flatten(0, 1), noise.flatten(0, 1), timesteps.repeat_interleave(2))
    behind = None
    if views.background is not None:
        fresh = torch.from_numpy(rng.standard_normal((batch, *clean.shape[2:]), dtype=np.float32))
        behind = diffusion.add_noise(views.background[rows], fresh, timesteps)
    return noised.view_as(clean), timesteps, noise, behind


class _Tuned(nn.Module):
    """Text encoder and UNet as one module to call: with several processes gradients are exchanged by its forward."""

    def __init__(self, model: DualModel, prompts: tuple[str, str]) -> None:
        super().__init__()
        self.model = model
        self.prompts = prompts

    def forward(self, noised: Tensor, timesteps: Tensor, empty: Tensor, background: Tensor | None) -> Tensor:
        """ε 2B,4,h,w, the pictures first, of a batch as `noised_batch` draws it; `empty` (bool B): without prompts."""
        asked = ("", "") if bool(empty[0]) else self.prompts
        text = self.model.encode(asked).repeat_interleave(len(noised), 0)
        predicted: Tensor = self.model(noised.transpose(0, 1).flatten(0, 1), timesteps, text, background)
        return predicted


def tune(
    model: DualModel,
    views: PairViews,
    scheduler: dict[str, Any],
    prompts: tuple[str, str],
    tuning: DualTuning,
    checkpoint: Path,
    *,
    seed: int,
    tick: Step,
    key: str = "",
    accelerator: Any = None,
) -> float | None:
    """Train the branches in place and return the last mean loss; an interrupted training is taken up again.

    Args:
        model: its trained weights are changed; the averaged ones are in it afterwards.
        views: cached views of the training pairs.
        scheduler: configuration of the base's noise schedule.
        prompts: p and p'.
        tuning: how.
        checkpoint: safetensors file to resume from and save to.
        seed: of batches and noise.
        tick: progress, called once a step.
        key: names data and settings; a checkpoint of another key is not resumed.
        accelerator: from `make_accelerator`; None makes one for the model's device.
    """
    model.train()
    diffusion = Diffusion(scheduler)

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([seed, step, 12])
        empty = torch.full((tuning.batch,), bool(rng.random() < tuning.empty_prompt))
        noised, timesteps, noise, behind = noised_batch(views, diffusion, tuning.batch, rng)
        return (noised, timesteps, empty, noise, *(() if behind is None else (behind,)))

    def loss(network: Any, noised: Tensor, timesteps: Tensor, empty: Tensor, noise: Tensor, *behind: Tensor) -> Tensor:
        predicted = network(noised, timesteps, empty, behind[0] if behind else None)
        return dual_loss(predicted, noise.transpose(0, 1).flatten(0, 1))

    last = fit(
        accelerator or make_accelerator(model.blank.device.type),
        _Tuned(model, prompts),
        batch,
        loss,
        Loop(tuning.steps, tuning.average, tuning.clip, tuning.save_every, tuning.weight_decay),
        lambda step: tuning.learning_rate * min(1.0, (step + 1) / 20),
        checkpoint,
        tick=tick,
        key=key,
    )
    model.eval()
    return last


def train_generator(data: Path, out: Path, category: str, defect: str, settings: DualSettings) -> Path:
    """Learn one defect of one category and write the generator; an interrupted training is taken up again.

    Under `accelerate launch` or `torchrun` every process calls this; only the main one writes and shows progress.

    Args:
        data: data set in the layout of MVTec AD, with masks.
        out: the generator's folder; one begun with the same settings and files is taken up, any other refused.
        category: the product.
        defect: the folder's name of the defect.
        settings: what to do.

    Returns:
        `out`.

    Raises:
        InputError: pictures or base cannot be read, there is no such defect, or `out` holds something else.
        OptionError: options that cannot be.
    """
    if settings.tuning.steps < 1:
        raise OptionError("--steps must be 1 or more")
    if settings.image_size and settings.image_size % 32:
        raise OptionError(f"--size {settings.image_size} is not a multiple of 32; take 256, 384 or 512")
    found = load_dataset(data, [category], need_test=True)[category]
    chosen, _rest = first_third(defect_samples(found, defect))
    accelerator = make_accelerator(settings.device, settings.mixed_precision, settings.accumulate)
    check_split(settings.tuning.batch, accelerator.num_processes * settings.accumulate, "--batch")
    info = category_info(category, read_table(settings.categories_file))
    files = [path for sample in chosen for path in (sample.path, sample.mask) if path is not None]
    key = make_key(settings, files + found.train_good[:GOOD_KEPT], asdict(info))
    check_out(out, key, "generator.json", "generator")
    base = load_base(settings.base, channels=CHANNELS)
    base.image_size = settings.image_size or base.image_size
    for module in (base.vae, base.unet, base.text_encoder):
        module.to(accelerator.device)
    size = base.image_size
    pairs = [read_pair(sample.path, sample.mask, size) for sample in chosen if sample.mask is not None]
    good = [resize_image(read_image(path), size) for path in found.train_good[:GOOD_KEPT]]
    fronts, texture = _foregrounds(pairs, good, info.kind)
    if settings.shape.background and texture:
        raise OptionError(f"--background: {category} fills the picture and has no background; leave the option out")
    if settings.shape.background and not good:
        raise InputError(f"{data}: --background draws with the backgrounds of good pictures, and {category} has none")
    model = DualModel(base, settings.shape, settings.seed)

    accelerator.wait_for_everyone()  # every process has seen the folder as it was
    main = accelerator.is_main_process
    if main:
        write_text(out / "work" / "key", key)  # from here on the folder is this generator's
    with shown("encoding views", max(settings.tuning.views, len(pairs)), main) as tick:
        views = make_pair_views(
            base, pairs, fronts if settings.shape.background else None, info, settings.tuning.views,
            seed=settings.seed, tick=tick,
        )  # fmt: skip
    with shown(f"learning {defect}", settings.tuning.steps, main) as tick:
        loss = tune(
            model, views, base.scheduler_config, settings.prompts, settings.tuning, out / "work" / "dual.safetensors",
            seed=settings.seed, tick=tick, key=key, accelerator=accelerator,
        )  # fmt: skip
    if main:
        _write(out, model, pairs, good)
        write_generator(
            out,
            Generator(
                folder=out,
                base_id=settings.base,
                image_size=size,
                category=category,
                defect=defect,
                prompts=settings.prompts,
                shape=settings.shape,
                texture=texture,
                cfg=settings.cfg,
                trained_on=[sample.path.name for sample in chosen],
                settings=plain(settings) | ({} if loss is None else {"loss": loss}),
            ),
        )
        shutil.rmtree(out / "work", ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return out


def _foregrounds(pairs: list[Pair], good: list[Picture], kind: str) -> tuple[list[Mask], bool]:
    """M_f of every pair, and whether the category is a texture; good pictures help to tell."""
    masks, texture = foregrounds([*(pair.image for pair in pairs), *good], FeatureNet("lite0"), kind)
    return masks[: len(pairs)], texture


def _write(out: Path, model: DualModel, pairs: list[Pair], good: list[Picture]) -> None:
    from safetensors.torch import save_file

    state = {name: value.detach().contiguous().cpu() for name, value in model.trained.items()}
    with atomic_path(out / "adapter.safetensors") as temporary:
        save_file(state, temporary)
    for number, pair in enumerate(pairs):
        write_image(out / "pairs" / "images" / f"{number:03}.png", pair.image)
        write_image(out / "pairs" / "masks" / f"{number:03}.png", pair.mask)
    for number, image in enumerate(good):
        write_image(out / "good" / f"{number:03}.png", image)
