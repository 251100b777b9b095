"""`edge-ad train`: adapt a base model to a few good photographs of each product."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import FloatRange

AT_LEAST_ONE = click.IntRange(min=1)
AT_LEAST_ZERO = click.IntRange(min=0)
POSITIVE = FloatRange(min=0, min_open=True)
SHARE = FloatRange(0, 1)


@click.command("train")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run.")
@click.option("--base", default="nano", show_default=True, help="nano, a diffusers folder, or a hub id (owner/name).")
@click.option("--categories", help="Names, separated by commas; all that DATA holds by default.")
@click.option("--shots", default=4, show_default=True, type=AT_LEAST_ONE, help="Good images a category.")
@click.option("--views", type=AT_LEAST_ONE, help="Augmented views a category; 48.")
@click.option("--size", type=click.IntRange(min=64), help="Image side in px; the base's by default.")
@click.option("--steps", type=AT_LEAST_ZERO, help="Denoiser steps; nano 500; 0 keeps the base.")
@click.option("--epochs", type=AT_LEAST_ONE, help="Instead: passes over the shots; 4000, nano takes --steps.")
@click.option("--batch", type=AT_LEAST_ONE, help="Views a denoiser step; 8, nano 16.")
@click.option("--lr", type=POSITIVE, help="Learning rate of the denoiser; 1e-4, nano 4e-4.")
@click.option("--full/--lora", default=None, help="Every weight of the denoiser (nano's default), or LoRA (others').")
@click.option("--rank", type=AT_LEAST_ONE, help="Rank of the LoRA matrices; 16.")
@click.option(
    "--targets", help="Module names that carry LoRA, separated by commas; attention, feed-forward, convolutions."
)
@click.option("--ema", type=FloatRange(0, 1, max_open=True), help="Decay of the denoiser's averaged weights.")
@click.option("--decoder-steps", type=AT_LEAST_ZERO, help="Decoder steps; nano 150; 0 with --steps 0.")
@click.option("--decoder-epochs", type=AT_LEAST_ONE, help="Instead: passes over the shots; 200, nano takes steps.")
@click.option("--decoder-batch", type=AT_LEAST_ONE, help="Crops a decoder step; 8.")
@click.option("--decoder-lr", type=POSITIVE, help="Learning rate of the decoder; 1e-4, nano 3e-4.")
@click.option("--decoder-crop", type=click.IntRange(min=64), help="Side of the decoder's crops in px; 512, nano 128.")
@click.option("--masks", type=click.Choice(["designed", "random"]), help="Foreground rectangles (default) or any.")
@click.option("--plan-mask-share", type=SHARE, help="Share of masks as the grouped plan shows them; 0.5.")
@click.option("--foreground", type=click.Path(path_type=Path), help="Folder of your foreground masks; docs/train.md.")
@click.option(
    "--foreground-method",
    type=click.Choice(["auto", "texture", "object", "rembg"]),
    default="auto",
    show_default=True,
    help="How the foreground is found without masks; auto goes by the category table, then by the pictures.",
)
@click.option("--prompts", type=click.Choice(["designed", "simple", "none"]), default="designed", show_default=True)
@click.option("--categories-file", type=click.Path(path_type=Path), help="Your category table (TOML); docs/train.md.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--mixed-precision",
    type=click.Choice(["auto", "no", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the hardware has it, else fp16 on a card.",
)
@click.option("--accumulate", default=1, show_default=True, type=AT_LEAST_ONE, help="Parts a batch is split into.")
@click.option("--clip", type=FloatRange(min=0), help="Largest norm of the gradient; 1; 0 does not clip.")
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, more time, for small cards.")
@click.option("--seed", default=0, show_default=True, type=AT_LEAST_ZERO, help="0 takes the first shots by name.")
def command(data: Path, out: Path, categories: str | None, **options: Any) -> None:
    """Adapt a base model to a few good images of each product in DATA, one model for all categories.

    DATA is an MVTec-AD style folder (train/good, test, ground_truth in each category), or a folder of category folders
    of good images. An interrupted run is taken up again by the same command. On several cards, start it with
    "accelerate launch --multi_gpu -m edge_ad train".
    """
    from edge_ad.training.quiet import quiet_libraries
    from edge_ad.training.train import train

    quiet_libraries()
    names = _names(categories)
    run = train(data, out, _settings(options), names)
    if os.environ.get("RANK", "0") == "0":  # of several processes the main one speaks
        click.echo(f"run: {run}")
        click.echo(f"next: edge-ad export {run} --out BUNDLE")


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def _settings(options: dict[str, Any]) -> Any:
    """`TrainSettings` from the options: the base's defaults, and over them what was given."""
    from dataclasses import replace

    from edge_ad.errors import OptionError
    from edge_ad.training.train import default_settings

    full, targets = options["full"], _names(options["targets"])
    if full and (options["rank"] or targets):
        raise OptionError("--full trains every weight and takes neither --rank nor --targets")
    for prefix in ("", "decoder_"):
        if options[f"{prefix}epochs"] and options[f"{prefix}steps"] is not None:
            name = prefix.replace("_", "-")
            raise OptionError(f"--{name}steps and --{name}epochs say the same thing; give one of them")
    if options["steps"] == 0 and options["decoder_steps"] is None and not options["decoder_epochs"]:
        options = options | {"decoder_steps": 0}
    defaults = default_settings(options["base"], False if options["rank"] or targets else full)

    def given(tuning: Any, **names: str) -> Any:
        """A tuning with the options that were given, field name to option name; steps switch epochs off."""
        changes = {field: options[name] for field, name in names.items() if options[name] is not None}
        if "steps" in changes:
            changes["epochs"] = 0
        return replace(tuning, checkpointing=options["gradient_checkpointing"], **changes)

    denoiser = given(
        defaults.denoiser, steps="steps", epochs="epochs", batch="batch", learning_rate="lr", rank="rank",
        average="ema", masks="masks", plan_mask_share="plan_mask_share", clip="clip",
    )  # fmt: skip
    decoder = given(
        defaults.decoder, steps="decoder_steps", epochs="decoder_epochs", batch="decoder_batch",
        learning_rate="decoder_lr", crop="decoder_crop", clip="clip",
    )  # fmt: skip
    same = ("shots", "prompts", "categories_file", "foreground", "foreground_method", "seed", "device",
            "mixed_precision", "accumulate")  # fmt: skip
    return replace(
        defaults,
        views=options["views"] or defaults.views,
        image_size=options["size"],
        denoiser=replace(denoiser, targets=tuple(targets)) if targets else denoiser,
        decoder=decoder,
        **{name: options[name] for name in same},
    )
