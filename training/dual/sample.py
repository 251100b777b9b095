"""Drawing pairs: both branches from noise of their own, one network call a step, classifier-free guidance in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_ad.bundle import Schedule
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


Begin = Callable[[np.random.Generator], Tensor]
"""The latents 2,4,h,w of picture and part that a pair is begun from, from its own generator."""


@dataclass(frozen=True)
class Drawn:
    """A batch of pairs: pictures and anomaly parts, uint8 B,S,S,3 each, and attention maps float32 B,h,w if asked."""

    pictures: Picture
    parts: Picture
    maps: npt.NDArray[np.float32] | None


class Painter(Protocol):
    """What computes: PyTorch (`TorchPainter`), or a generator's exported graphs (`GraphPainter`)."""

    def paint(
        self, x: Tensor, behind: list[Tensor] | None, schedule: Schedule, cfg: float, attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Pictures and parts B,2,3,S,S in [-1, 1] from x_T, and average attention maps B,h,w where asked for.

        Args:
            x: B,2,4,h,w float32: picture and part of each pair at the first timestep.
            behind: noised background latents B,4,h,w, one a step, or None.
            schedule: of the solver.
            cfg: guidance scale; 1 is none.
            attention: gather the anomaly branch's cross-attention over the second half of the steps.
        """


class TorchPainter:
    """Draws with the model itself.

    Args:
        base: decodes.
        model: predicts the noise.
        prompts: p and p'.
    """

    def __init__(self, base: Base, model: DualModel, prompts: tuple[str, str]) -> None:
        self._base = base
        self._model = model
        self._prompts = prompts

    def paint(
        self, x: Tensor, behind: list[Tensor] | None, schedule: Schedule, cfg: float, attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Painter.paint`."""
        model, count = self._model, len(x)
        device, copies = model.blank.device, 1 if cfg == 1 else 2
        maps = AttentionMaps(model.word_places(self._prompts[1]), x.shape[-1]) if attention else None
        with torch.inference_mode():
            text = self._text(count, copies)
            x = x.transpose(0, 1).flatten(0, 1).to(device)  # the pictures, then their parts
            history = torch.zeros_like(x)
            for step, (t, row) in enumerate(zip(schedule.timesteps, schedule.coefficients)):
                timesteps = torch.full((copies * count,), int(t), device=device)
                # a row that is guided goes in twice: [empty, prompt] of the pictures, then of the parts
                both = torch.cat([half.repeat(copies, 1, 1, 1) for half in x.chunk(2)])
                noised = None if behind is None else behind[step].repeat(copies, 1, 1, 1).to(device)
                model.gather(maps if 2 * step >= schedule.steps else None)
                with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                    predicted = model(both, timesteps, text, noised).float()
                if copies == 2:
                    parts = [half.chunk(2) for half in predicted.chunk(2)]
                    predicted = torch.cat([empty + cfg * (asked - empty) for empty, asked in parts])
                a, b, c, p, q = row
                x, history = a * x + b * predicted + c * history, p * x + q * predicted
            model.gather(None)
            pictures = decode(self._base.vae, x).clamp(-1, 1).unflatten(0, (2, count)).transpose(0, 1)
        return pictures, None if maps is None else maps.mean()[-count:]

    def _text(self, count: int, copies: int) -> Tensor:
        """τ of [empty, prompt] for each branch, one row a picture: rows in the order of the batch."""
        asked = self._model.encode(self._prompts)
        if copies == 1:
            return asked.repeat_interleave(count, 0)
        empty = self._model.encode(("", ""))
        return torch.stack([empty, asked], 1).flatten(0, 1).repeat_interleave(count, 0)


def draw(
    base: Base,
    painter: Painter,
    numbers: list[int],
    sampling: Sampling,
    *,
    backgrounds: Tensor | None = None,
    begin: Begin | None = None,
    attention: bool = False,
) -> Drawn:
    """Draw the pairs of these numbers in one batch.

    Args:
        base: gives the noise schedule and the size.
        painter: computes.
        numbers: one a pair; the same number and seed give the same pair.
        sampling: how.
        backgrounds: latents M,4,h,w of good pictures' backgrounds, one of which is chosen for each pair.
        begin: gives the latents that are noised to the first timestep; None begins with noise alone. See
            `edge_ad.training.dual.start.make_start`.
        attention: gather the cross-attention of the anomaly branch over the second half of the steps.

    Raises:
        OptionError: the steps do not fit the noise schedule.
    """
    try:
        schedule = make_schedule(base.scheduler_config, sampling.strength, sampling.steps, sampling.solver)
    except ValueError as error:
        raise OptionError(f"--steps {sampling.steps}: {error}") from error
    with torch.inference_mode():
        x, chosen, noise = _noise(numbers, sampling.seed, base.latent_size, backgrounds, begin, schedule.start)
    behind = None
    if chosen is not None and noise is not None:
        cumprod = alphas_cumprod(base.scheduler_config)
        alphas = [float(cumprod[int(t)]) for t in schedule.timesteps]
        behind = [alpha**0.5 * chosen + (1 - alpha) ** 0.5 * noise for alpha in alphas]
    pictures, maps = painter.paint(x, behind, schedule, sampling.cfg, attention)
    levels = ((pictures + 1) * 127.5).round().to(torch.uint8).permute(1, 0, 3, 4, 2).cpu().numpy()
    return Drawn(levels[0], levels[1], None if maps is None else maps.cpu().numpy())


def _noise(
    numbers: list[int],
    seed: int,
    side: int,
    backgrounds: Tensor | None,
    begin: Begin | None,
    weights: tuple[float, float],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """x_T B,2,4,h,w, and each pair's background latents and noise B,4,h,w, all from the pair's own generator.

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
    x = torch.stack(rows)
    if backgrounds is None:
        return x, None, None
    return x, backgrounds[torch.tensor(chosen)], torch.from_numpy(np.stack(behind))
