"""The whole of `edge-ad heads train`: one segmenter and one classifier for all categories that the pairs hold."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_ad.errors import OptionError
from edge_ad.files import write_text
from edge_ad.progress import Step
from edge_ad.training.checkpoint import write_weights
from edge_ad.training.fit import Loop, fit
from edge_ad.training.heads.folder import FILE, Heads, write_heads
from edge_ad.training.heads.network import (
    Classifier,
    Segmenter,
    Size,
    multiple,
    of_category,
    segmentation_loss,
)
from edge_ad.training.heads.pictures import Views, gather
from edge_ad.training.machine import Precision, check_split, make_accelerator, shown
from edge_ad.training.out_folder import check_out, make_key, plain
from edge_ad.training.prompts import category_info, read_table

SMALLEST = 64
"""Side in px below which a level of the networks is a single pixel, from which no statistics can be taken."""


@dataclass(frozen=True)
class HeadTuning:
    """How one head is trained.

    Attributes:
        steps: optimiser steps; 0 leaves the classifier out.
        batch: pictures a step, over all processes and accumulated parts.
        learning_rate: AdamW's peak, reached in 20 steps, falling to a twentieth along half a cosine.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        average: decay of the moving average of the weights that is kept.
        save_every: steps between checkpoints.
    """

    steps: int = 600
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.98
    save_every: int = 100

    def rate(self, step: int) -> float:
        """The learning rate of a step (0-based)."""
        falling = 0.05 + 0.95 * (1 + np.cos(np.pi * step / max(self.steps, 1))) / 2
        return float(self.learning_rate * min(1.0, (step + 1) / 20) * falling)

    def loop(self) -> Loop:
        """For `fit`."""
        return Loop(self.steps, self.average, self.clip, self.save_every, self.weight_decay)


@dataclass(frozen=True)
class HeadSettings:
    """What a training of heads is asked to do.

    Attributes:
        size: of the networks.
        image_size: side in px that pictures are resized to.
        segmenter: how the segmenter is trained.
        classifier: how the classifier is trained.
        good_share: share of good pictures in the segmenter's batches, where there are any.
        categories_file: the user's own category table (TOML), or None.
        seed: of weights, batches and augmentation.
        device: "auto", "cpu" or "cuda".
        mixed_precision: "auto", "no", "bf16" or "fp16".
        accumulate: parts of a batch whose gradients are added up before one step.
    """

    size: Size = "small"
    image_size: int = 256
    segmenter: HeadTuning = field(default_factory=HeadTuning)
    classifier: HeadTuning = field(default_factory=HeadTuning)
    good_share: float = 0.5
    categories_file: Path | None = None
    seed: int = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"
    accumulate: int = 1


def train_heads(
    pairs: Sequence[Path],
    out: Path,
    settings: HeadSettings,
    *,
    good: Path | None = None,
    categories: Sequence[str] | None = None,
) -> Heads:
    """Train the heads and write them; an interrupted training is taken up again.

    There is no classifier where no category has two kinds of defects, or where it has no steps.

    Args:
        pairs: data sets in the layout of MVTec AD with masks, generated or real.
        out: folder for the heads; an existing one is only taken up when it was begun with the same settings and files.
        settings: what to do.
        good: data set whose good training pictures are shown to the segmenter too; None for none.
        categories: only these; None takes all that have pairs.

    Raises:
        InputError: pictures cannot be read, there are no pairs, or `out` holds something else.
        OptionError: options that cannot be.
    """
    side = multiple(settings.size)
    if settings.image_size % side or settings.image_size < SMALLEST:
        raise OptionError(
            f"--size {settings.image_size} is not a multiple of {side} from {SMALLEST} on; take 256 or 512"
        )
    if settings.segmenter.steps < 1:
        raise OptionError("--steps must be 1 or more")
    material = gather(pairs, good, categories)
    kinds = material.kinds
    several = [name for name, found in kinds.items() if len(found) > 1] if settings.classifier.steps else []
    accelerator = make_accelerator(settings.device, settings.mixed_precision, settings.accumulate)
    parts = accelerator.num_processes * settings.accumulate
    check_split(settings.segmenter.batch, parts, "--batch")
    if several:
        check_split(settings.classifier.batch, parts, "--classifier-batch")
    table = read_table(settings.categories_file)
    infos = {name: category_info(name, table) for name in kinds}
    key = make_key(settings, material.names(), {name: asdict(info) for name, info in infos.items()})
    check_out(out, key, FILE, "set of heads")
    views = Views(material, infos, settings.image_size, settings.seed)
    accelerator.wait_for_everyone()  # every process has seen the folder as it was
    main = accelerator.is_main_process
    if main:
        write_text(out / "work" / "key", key)  # from here on the folder is this training's
    losses: dict[str, Any] = {}
    with shown("training the segmenter", settings.segmenter.steps, main) as tick:
        segmenter, losses["segmenter"] = _segmenter(views, settings, accelerator, out / "work", tick, key)
    if main:
        write_weights(out / "segmenter.safetensors", segmenter)
    if several:
        with shown("training the classifier", settings.classifier.steps, main) as tick:
            classifier, losses["classifier"] = _classifier(
                views, several, settings, accelerator, out / "work", tick, key
            )
        if main:
            write_weights(out / "classifier.safetensors", classifier)
    counts = {name: {kind: len(files) for kind, files in found.items()} for name, found in material.pairs.items()}
    used = {"pairs": counts, "good": {name: len(files) for name, files in material.good.items()}, "losses": losses}
    heads = Heads(out, settings.image_size, settings.size, kinds, bool(several), plain(settings) | used)
    if main:
        write_heads(heads)
        shutil.rmtree(out / "work", ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return heads


def _segmenter(
    views: Views, settings: HeadSettings, accelerator: Any, work: Path, tick: Step, key: str
) -> tuple[Segmenter, float | None]:
    torch.manual_seed(settings.seed)
    net = Segmenter(settings.size).to(accelerator.device, memory_format=torch.channels_last).train()
    tuning = settings.segmenter

    def batch(step: int) -> tuple[Tensor, ...]:
        pictures, masks = views.segmentation(step, tuning.batch, settings.good_share)
        return torch.from_numpy(pictures), torch.from_numpy(masks)

    def loss(network: Any, pictures: Tensor, masks: Tensor) -> Tensor:
        return segmentation_loss(network(pictures), masks)

    last = fit(
        accelerator, net, batch, loss, tuning.loop(), tuning.rate, work / "segmenter.safetensors", tick=tick, key=key
    )
    return net, last


def _classifier(
    views: Views, categories: list[str], settings: HeadSettings, accelerator: Any, work: Path, tick: Step, key: str
) -> tuple[Classifier, float | None]:
    flat = [(name, kind) for name, kinds in views.material.kinds.items() for kind in kinds]
    allowed = torch.tensor([[name == other for other, _ in flat] for name, _ in flat])
    torch.manual_seed(settings.seed)
    net = Classifier(len(flat), settings.size).to(accelerator.device, memory_format=torch.channels_last).train()
    tuning = settings.classifier

    def batch(step: int) -> tuple[Tensor, ...]:
        pictures, labels = views.kinds(step, tuning.batch, categories)
        return torch.from_numpy(pictures), torch.tensor([flat.index(label) for label in labels])

    def loss(network: Any, pictures: Tensor, labels: Tensor) -> Tensor:
        logits = of_category(network(pictures).float(), allowed.to(labels.device)[labels])
        return functional.cross_entropy(logits, labels)

    last = fit(
        accelerator, net, batch, loss, tuning.loop(), tuning.rate, work / "classifier.safetensors", tick=tick, key=key
    )
    return net, last
