"""The optimiser's loop that all training on pictures shares: Adam through accelerate, averaged weights, checkpoints.

A step's batch is drawn whole, from the seed and the step's number alone, and then split over processes and accumulated
parts. So neither of them changes which views, masks and noise a step sees, and an interrupted training goes on as if it
had not been.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.errors import EdgeAdError
from edge_ad.progress import Step
from edge_ad.training.checkpoint import Average, read_notes, resume, save_checkpoint

RECENT = 50
"""Steps over whose loss the reported mean runs."""


@dataclass(frozen=True)
class Loop:
    """How the steps are made.

    Attributes:
        steps: optimiser steps.
        average: decay of the moving average of the weights that is kept.
        clip: largest norm of the gradient; 0 does not clip.
        save_every: steps between checkpoints.
        weight_decay: decoupled from the gradient (AdamW); 0 is Adam.
    """

    steps: int
    average: float
    clip: float
    save_every: int
    weight_decay: float = 0.0


def fit(
    accelerator: Any,
    network: nn.Module,
    batch: Callable[[int], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    loop: Loop,
    rate: Callable[[int], float],
    checkpoint: Path,
    *,
    tick: Step,
    key: str = "",
    counts: dict[str, int] | None = None,
) -> float | None:
    """Train what is trainable in `network`, in place; it ends with the averaged weights.

    Args:
        accelerator: from `make_accelerator`.
        network: on the accelerator's device; called through what accelerate wraps it in.
        batch: the whole batch of a step (0-based): CPU tensors with one first axis.
        loss: scalar from the wrapped network and one part of the batch on the device, run under autocast.
        loop: number of steps, and so on.
        rate: the learning rate of a step.
        checkpoint: safetensors file to resume from and save to; only the main process writes it.
        tick: progress, called once a step.
        key: names data and settings; a checkpoint of another key is not resumed.
        counts: what the batches count while they are drawn; kept in checkpoints and restored from them.

    Returns:
        The mean loss of the last 50 steps, None where no step was ever made.

    Raises:
        EdgeAdError: the loss or a weight became infinite or no number; the last checkpoint is from before that.
    """
    counts = {} if counts is None else counts
    trained = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate(0), weight_decay=loop.weight_decay)
    average = Average(network, loop.average)
    start = resume(checkpoint, network, average, optimiser, key)
    notes = read_notes(checkpoint) if start else {}
    recent: list[float] = json.loads(notes.get("recent", "[]"))
    counts.update(json.loads(notes.get("counts", "{}")))
    if start:
        tick(min(start, loop.steps), "resumed")
    wrapped, stepper = accelerator.prepare(network, optimiser)
    if accelerator.scaler is not None and "scaler" in notes:  # fp16's, which grows and shrinks while it trains
        accelerator.scaler.load_state_dict(json.loads(notes["scaler"]))
    parts = accelerator.num_processes * accelerator.gradient_accumulation_steps
    first = accelerator.process_index * accelerator.gradient_accumulation_steps
    for step in range(start, loop.steps):
        split = list(zip(*(tensor.chunk(parts) for tensor in batch(step)), strict=True))
        for entry in stepper.param_groups:
            entry["lr"] = rate(step)
        values = []
        for part in split[first : first + accelerator.gradient_accumulation_steps]:
            with accelerator.accumulate(wrapped):
                with accelerator.autocast():
                    value = loss(wrapped, *(tensor.to(accelerator.device) for tensor in part))
                accelerator.backward(value)
                if accelerator.sync_gradients and loop.clip:
                    accelerator.clip_grad_norm_(trained, loop.clip)
                stepper.step()
                stepper.zero_grad()
            values.append(value.detach())
        average.update(network, step)
        mean = accelerator.reduce(torch.stack(values).mean(), "mean").item()
        due = (step + 1) % loop.save_every == 0 or step + 1 == loop.steps
        _check_finite(f"step {step + 1} of {loop.steps}", mean, trained if due else [])
        recent = [*recent[1 - RECENT :], mean]
        tick(1, f"loss {np.mean(recent):.4f}")
        if accelerator.is_main_process and due:
            notes = {"recent": json.dumps(recent), "counts": json.dumps(counts)}
            if accelerator.scaler is not None:
                notes["scaler"] = json.dumps(accelerator.scaler.state_dict())
            save_checkpoint(checkpoint, network, average, optimiser, step + 1, key, notes)
    # without accelerate's wrapper, which would compute in mixed precision after training too
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    accelerator.free_memory()
    average.copy_to(network)
    return float(np.mean(recent)) if recent else None


def _check_finite(when: str, loss: float, weights: Iterable[Tensor]) -> None:
    """EdgeAdError where the loss or a weight is infinite or no number: no later step would mend it."""
    broken = f"the loss is {loss}"
    if np.isfinite(loss):
        if all(bool(value.isfinite().all()) for value in weights):
            return
        broken = "a weight is infinite or no number"
    raise EdgeAdError(
        f"{when}: {broken}, so training cannot go on; lower the learning rate or take --mixed-precision no, and name "
        "another --out"
    )
