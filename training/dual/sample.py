"""Drawing pairs: both branches from noise of their own, one UNet call a step, classifier-free guidance in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.errors import OptionError
from edge_ad.images import Picture
from edge_ad.runtime.schedule import alphas_cumprod, make_schedule
from edge_ad.training.base import Base, decode
from edge_ad.training.dual.attention import AttentionMaps
from edge_ad.training.dual.model import DualModel

Start = Literal["mean", "noise", "good", "paste"]


@dataclass(frozen=True)
class Sampling:
    """How pairs are drawn.

    Attributes:
        steps: of the solver.
        solver: "ddim", "dpmsolver++" or "unipc".
        cfg: guidance scale; 1 leaves guidance, and half of the work, out.
        seed: of all pairs; pair number n has its own noise, whatever batch it is drawn in.
        start: what the noise of the first step is laid over: "noise" nothing, as in the paper; the others see
            `edge_ad.training.dual.start.make_start`.
        strength: the share of the noise schedule that is run; below 1 what is there at the start is kept in outline.
    """

    steps: int = 50
    solver: str = "ddim"
    cfg: float = 2.5
    seed: int = 0
    start: Start = "mean"
    strength: float = 1.0


@dataclass(frozen=True)
class Drawn:
    """A batch of pairs: pictures and anomaly parts, uint8 B,S,S,3 each, and attention maps float32 B,h,w if asked."""

    pictures: Picture
    parts: Picture
    maps: npt.NDArray[np.float32] | None


def draw(
    base: Base,
    model: DualModel,
    prompts: tuple[str, str],
    numbers: list[int],
    sampling: Sampling,
    *,
    backgrounds: Tensor | None = None,
    begin: Callable[[np.random.Generator], Tensor] | None = None,
    attention: bool = False,
) -> Drawn:
    """Draw the pairs of these numbers in one batch.

    Args:
        base: decodes, and gives the noise schedule.
        model: predicts the noise.
        prompts: p and p'.
        numbers: one a pair; the same number and seed give the same pair.
        sampling: how.
        backgrounds: latents M,4,h,w of good pictures' backgrounds, one of which is chosen for each pair.
        begin: latents 2,4,h,w of picture and part from a pair's generator, noised to the first timestep; None begins
            with noise alone. See `edge_ad.training.dual.start.make_start`.
        attention: gather the cross-attention of the anomaly branch over the second half of the steps.

    Raises:
        OptionError: the steps do not fit the noise schedule.
    """
    device, side = model.blank.device, base.latent_size
    try:
        schedule = make_schedule(base.scheduler_config, sampling.strength, sampling.steps, sampling.solver)
    except ValueError as error:
        raise OptionError(f"--steps {sampling.steps}: {error}") from error
    cumprod = alphas_cumprod(base.scheduler_config)
    guided = sampling.cfg != 1
    copies = 2 if guided else 1
    count = len(numbers)
    with torch.inference_mode():
        text = _text(model, prompts, count, guided)
        x, behind, behind_noise = _noise(numbers, sampling.seed, side, backgrounds, begin, schedule.start)
        x, history = x.to(device), torch.zeros_like(x, device=device)
        maps = AttentionMaps(model.word_places(prompts[1]), side) if attention else None
        for step, (t, row) in enumerate(zip(schedule.timesteps, schedule.coefficients)):
            timesteps = torch.full((copies * count,), int(t), device=device)
            # a row that is guided goes in twice: [empty, prompt] of the pictures, then of the parts
            both = torch.cat([half.repeat(copies, 1, 1, 1) for half in x.chunk(2)])
            noised = None
            if behind is not None:
                alpha = float(cumprod[int(t)])
                noised = (alpha**0.5 * behind + (1 - alpha) ** 0.5 * behind_noise).repeat(copies, 1, 1, 1).to(device)
            model.gather(maps if 2 * step >= len(schedule.timesteps) else None)
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                predicted = model(both, timesteps, text, noised).float()
            if guided:
                parts = [half.chunk(2) for half in predicted.chunk(2)]
                predicted = torch.cat([empty + sampling.cfg * (asked - empty) for empty, asked in parts])
            a, b, c, p, q = row
            x, history = a * x + b * predicted + c * history, p * x + q * predicted
        model.gather(None)
        pictures = decode(base.vae, x).clamp(-1, 1)
    levels = ((pictures + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    found = None if maps is None else maps.mean()[-count:].cpu().numpy()
    return Drawn(levels[:count], levels[count:], found)


def _text(model: DualModel, prompts: tuple[str, str], count: int, guided: bool) -> Tensor:
    """τ of [empty, prompt] for each branch, one row a picture: rows in the order of the batch."""
    asked = model.encode(prompts)
    if not guided:
        return asked.repeat_interleave(count, 0)
    empty = model.encode(("", ""))
    return torch.stack([empty, asked], 1).flatten(0, 1).repeat_interleave(count, 0)


def _noise(
    numbers: list[int],
    seed: int,
    side: int,
    backgrounds: Tensor | None,
    begin: Callable[[np.random.Generator], Tensor] | None,
    weights: tuple[float, float],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """x_T 2B,4,h,w, and each pair's background latents and noise B,4,h,w, all from the pair's own generator.

    weights: √ᾱ and √(1 - ᾱ) of the first timestep (eq. 7 of AnomalySD), for `begin`.
    """
    rows, chosen, behind = [], [], []
    for number in numbers:
        rng = np.random.default_rng([seed, number, 13])
        row = torch.from_numpy(rng.standard_normal((2, 4, side, side), dtype=np.float32))
        if backgrounds is not None:
            chosen.append(int(rng.integers(len(backgrounds))))
            behind.append(rng.standard_normal((4, side, side), dtype=np.float32))
        if begin is not None:
            row = weights[0] * begin(rng) + weights[1] * row
        rows.append(row)
    x = torch.stack(rows, 1).flatten(0, 1)
    if backgrounds is None:
        return x, None, None
    return x, backgrounds[torch.tensor(chosen)], torch.from_numpy(np.stack(behind))
