"""The whole of `edge-ad train`: read shots, cache views, fine-tune denoiser and decoder, write the run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_ad.dataset import category_names, load_dataset, shots
from edge_ad.errors import OptionError
from edge_ad.files import write_text
from edge_ad.training.base import Base, is_small, load_base
from edge_ad.training.checkpoint import write_weights
from edge_ad.training.decoder import DecoderTuning, tune_decoder
from edge_ad.training.features import FeatureNet
from edge_ad.training.finetune import DenoiserTuning, check_targets, tune_denoiser
from edge_ad.training.foreground_files import find_masks
from edge_ad.training.machine import Precision, check_split, make_accelerator, shown
from edge_ad.training.out_folder import check_out, make_key, plain
from edge_ad.training.prompts import Mode, category_info, read_table
from edge_ad.training.run import write_run
from edge_ad.training.views import Method, Shots, make_views, read_shots, view_count, write_shots

Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainSettings:
    """What a training is asked to do.

    Attributes:
        base: "nano", a diffusers folder or a hub id.
        shots: good images a category.
        views: augmented views a category, at least one for each shot.
        image_size: side in px; None takes the base's.
        prompts: "designed", "simple" or "none" (table 4 of the paper).
        categories_file: the user's own category table (TOML), or None.
        foreground: folder of the user's foreground masks, or None.
        foreground_method: how foregrounds are found otherwise: "auto", "texture", "object" or "rembg".
        seed: of the choice of shots (0 takes the first), views, batches, masks and noise.
        device: "auto" (a card where there is one), "cpu" or "cuda".
        mixed_precision: "auto", "no", "bf16" or "fp16"; weights and their updates are float32 in any case.
        accumulate: parts into which a batch is split on each process, for small cards.
        denoiser: its fine-tuning.
        decoder: its fine-tuning.
    """

    base: str = "nano"
    shots: int = 4
    views: int = 48
    image_size: int | None = None
    prompts: Mode = "designed"
    categories_file: Path | None = None
    foreground: Path | None = None
    foreground_method: Method = "auto"
    seed: int = 0
    device: str = "auto"
    mixed_precision: Precision = "auto"
    accumulate: int = 1
    denoiser: DenoiserTuning = field(default_factory=DenoiserTuning)
    decoder: DecoderTuning = field(default_factory=DecoderTuning)


def default_settings(base: str, full: bool | None = None) -> TrainSettings:
    """The defaults for a base.

    Nano (and what `edge-ad pretrain` makes) is small enough to train whole, which measures far better than LoRA on it.
    Any other base gets the paper's (section 5.1): Adam at 1e-4, batch 8, 4,000 epochs of the shots for the denoiser and
    200 for the decoder, on whole pictures; with LoRA, where the paper trained every weight.

    Args:
        base: as `TrainSettings.base`.
        full: every weight or LoRA; None takes the base's default.
    """
    if not is_small(base):
        denoiser = DenoiserTuning(
            epochs=4000, batch=8, learning_rate=1e-4, full=bool(full), average=0.999, save_every=500
        )
        decoder = DecoderTuning(epochs=200, batch=8, crop=512, learning_rate=1e-4, average=0.99)
        return TrainSettings(base=base, denoiser=denoiser, decoder=decoder)
    if full is False:
        return TrainSettings(base=base)
    return TrainSettings(base=base, denoiser=DenoiserTuning(full=True, steps=500, learning_rate=4e-4))


def train(
    data: Path, out: Path, settings: TrainSettings, categories: list[str] | None = None, *, log: Log | None = None
) -> Path:
    """Fine-tune one model for all categories of a data set and write the run; an interrupted one is taken up again.

    Under `accelerate launch` or `torchrun` every process calls this; only the main one writes and shows progress.

    Args:
        data: MVTec-AD style folder, or a folder of category folders of good images.
        out: the run's folder; an existing one is only taken up when it was begun with the same settings and pictures.
        settings: what to do.
        categories: their names; None takes all.
        log: receives lines about what was done; None prints them to standard error.

    Returns:
        `out`.

    Raises:
        InputError: pictures or base cannot be read, or `out` holds something else.
        OptionError: options that cannot be.
    """
    if settings.denoiser.steps < 0 or settings.decoder.steps < 0:
        raise OptionError("--steps and --decoder-steps must be 0 or more")
    dataset = load_dataset(data, category_names(data) if categories is None else categories)
    names = dataset.names
    chosen = {name: shots(dataset[name], settings.shots, settings.seed) for name in names}
    settings = _with_steps(settings, sum(map(len, chosen.values())))
    table = read_table(settings.categories_file)
    infos = {name: category_info(name, table, settings.prompts) for name in names}
    folder = settings.foreground
    masks = {
        name: None if folder is None else find_masks(folder, name, paths, alone=len(names) == 1)
        for name, paths in chosen.items()
    }
    accelerator = make_accelerator(settings.device, settings.mixed_precision, settings.accumulate)
    parts = accelerator.num_processes * settings.accumulate
    if settings.denoiser.steps:
        check_split(settings.denoiser.batch, parts, "--batch")
    if settings.decoder.steps:
        check_split(settings.decoder.batch, parts, "--decoder-batch")
    files = [path for name in names for path in (*chosen[name], *(masks[name] or ()))]
    key = make_key(settings, files, {name: asdict(info) for name, info in infos.items()})
    check_out(out, key, "run.json", "run")
    base = load_base(settings.base)
    if not settings.denoiser.full:
        check_targets(base.unet, settings.denoiser.targets)
    if settings.image_size:
        if settings.image_size % 32:
            raise OptionError(f"--size {settings.image_size} is not a multiple of 32; take 256, 384 or 512")
        base.image_size = settings.image_size
    for module in (base.vae, base.unet, base.text_encoder):
        module.to(accelerator.device)
    work = out / "work"
    main = accelerator.is_main_process
    say = (log or _print) if main else _silent

    net = FeatureNet("lite0")
    read: dict[str, Shots] = {}
    with shown("reading shots", len(names), main) as tick:
        for name in names:
            read[name] = read_shots(
                chosen[name], infos[name], base.image_size, net, method=settings.foreground_method, masks=masks[name]
            )
            tick(1, name)
    accelerator.wait_for_everyone()  # every process has seen the folder as it was
    if main:
        write_text(work / "key", key)  # from here on the folder is this run's
    entries = {name: _entry(out, name, found, write=main) for name, found in read.items()}
    for name, found in read.items():
        kind = "a texture" if found.texture else f"an object, {entries[name]['foreground_share']:.0%} of the picture"
        say(f"foreground of {name}: {kind}")
    losses: dict[str, float] = {}
    shared: dict[str, Any] = {"seed": settings.seed, "key": key, "accelerator": accelerator}
    if settings.denoiser.steps or settings.decoder.steps:
        total = sum(view_count(found, settings.views) for found in read.values())
        with shown("encoding views", total, main) as tick:
            views, pictures = make_views(base, list(read.values()), settings.views, seed=settings.seed, tick=tick)
    if settings.denoiser.steps:
        with shown("fine-tuning the denoiser", settings.denoiser.steps, main) as tick:
            losses |= tune_denoiser(base, views, settings.denoiser, work / "denoiser.safetensors", tick=tick, **shared)
        if losses.get("mask_fallbacks"):
            say(
                f"masks: {losses['mask_fallbacks']} of {losses['masks_drawn']} designed masks took the best rectangle "
                "seen, as none overlapped the foreground enough"
            )
        if main:
            _save_denoiser(base, out, settings.denoiser.full)
    if settings.decoder.steps:
        with shown("fine-tuning the decoder", settings.decoder.steps, main) as tick:
            losses |= tune_decoder(
                base, pictures, views.latents, settings.decoder, work / "decoder.safetensors", tick=tick, **shared
            )
        if main:
            write_weights(out / "decoder.safetensors", base.vae.decoder)
    if main:
        write_run(
            out,
            base_id=settings.base,
            image_size=base.image_size,
            categories=entries,
            settings=plain(settings) | {"processes": accelerator.num_processes},
            losses=losses,
        )
        shutil.rmtree(work, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return out


def _with_steps(settings: TrainSettings, count: int) -> TrainSettings:
    """Settings with epochs, passes over `count` shots, turned into steps (rounded up)."""

    def steps(tuning: DenoiserTuning | DecoderTuning) -> int:
        return -(-tuning.epochs * count // tuning.batch) if tuning.epochs else tuning.steps

    return replace(
        settings,
        denoiser=replace(settings.denoiser, steps=steps(settings.denoiser)),
        decoder=replace(settings.decoder, steps=steps(settings.decoder)),
    )


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_: str) -> None:
    """The log of a process that is not the main one."""


def _entry(out: Path, name: str, found: Shots, *, write: bool) -> dict[str, Any]:
    files = write_shots(out / "shots" / name, found) if write else []
    return {
        "prompts": list(found.info.prompts),
        "shots": [f"shots/{name}/{file}" for file in files],
        "texture": found.texture,
        "turn": found.info.turn,
        "mirror": found.info.mirror,
        "scale": found.info.scale,
        "colour": found.info.colour,
        "foreground_share": float(sum(mask.mean() for mask in found.foregrounds) / len(found.foregrounds)),
    }


def _save_denoiser(base: Base, out: Path, full: bool) -> None:
    if full:
        write_weights(out / "unet.safetensors", base.unet)
        return
    unet: Any = base.unet
    unet.save_lora_adapter(out / "adapter", safe_serialization=True)
