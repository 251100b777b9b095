"""`edge-ad train`: adapt a base model to a few good photographs of each product."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click


@click.command("train")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run.")
@click.option("--base", default="nano", show_default=True, help="nano, a diffusers folder, or a hub id (owner/name).")
@click.option("--categories", help="Names, separated by commas; all that DATA holds by default.")
@click.option("--shots", default=4, show_default=True, type=click.IntRange(min=1), help="Good images a category.")
@click.option("--steps", type=click.IntRange(min=0), help="Denoiser steps; 300, nano 500; 0 keeps the base.")
@click.option("--decoder-steps", type=click.IntRange(min=0), help="Decoder steps; 150, or 0 with --steps 0.")
@click.option("--batch", type=click.IntRange(min=1), help="Views a denoiser step; 16.")
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), help="Learning rate of the denoiser; 5e-4, nano 4e-4."
)
@click.option("--rank", type=click.IntRange(min=1), help="Rank of the LoRA matrices; 16.")
@click.option(
    "--targets", help="Module names that carry LoRA, separated by commas; attention, feed-forward, convolutions."
)
@click.option("--full/--lora", default=None, help="Every weight of the denoiser (nano's default), or LoRA (others').")
@click.option("--masks", type=click.Choice(["designed", "random"]), help="Foreground rectangles (default) or any.")
@click.option("--prompts", type=click.Choice(["designed", "simple", "none"]), default="designed", show_default=True)
@click.option("--categories-file", type=click.Path(path_type=Path), help="Your category table (TOML); docs/train.md.")
@click.option("--size", type=click.IntRange(min=64), help="Image side in px; the base's by default.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="0 takes the first shots by name."
)
def command(
    data: Path,
    out: Path,
    base: str,
    categories: str | None,
    shots: int,
    steps: int | None,
    decoder_steps: int | None,
    batch: int | None,
    lr: float | None,
    rank: int | None,
    targets: str | None,
    full: bool | None,
    masks: str | None,
    prompts: Literal["designed", "simple", "none"],
    categories_file: Path | None,
    size: int | None,
    device: str,
    seed: int,
) -> None:
    """Adapt a base model to a few good images of each product in DATA, one model for all categories.

    DATA is an MVTec-AD style folder (train/good, test, ground_truth in each category), or a folder of category folders
    of good images. An interrupted run is taken up again by the same command.
    """
    from dataclasses import replace

    from edge_ad.errors import OptionError
    from edge_ad.training.quiet import quiet_libraries
    from edge_ad.training.train import TrainSettings, default_settings, train

    if full and (rank or targets):
        raise OptionError("--full trains every weight and takes neither --rank nor --targets")
    quiet_libraries()
    lora = full is False or bool(rank or targets)
    settings = TrainSettings(base=base) if lora else default_settings(base)
    full = settings.denoiser.full if full is None else full
    given: dict[str, Any] = {"steps": steps, "batch": batch, "learning_rate": lr, "rank": rank, "masks": masks}
    denoiser = replace(
        settings.denoiser, full=full, **{name: value for name, value in given.items() if value is not None}
    )
    if targets:
        denoiser = replace(denoiser, targets=tuple(name.strip() for name in targets.split(",") if name.strip()))
    if decoder_steps is None:
        decoder_steps = 0 if steps == 0 else settings.decoder.steps
    settings = replace(
        settings,
        shots=shots,
        image_size=size,
        prompts=prompts,
        categories_file=categories_file,
        seed=seed,
        device=device,
        denoiser=denoiser,
        decoder=replace(settings.decoder, steps=decoder_steps),
    )
    names = [name.strip() for name in categories.split(",") if name.strip()] if categories else None
    run = train(data, out, settings, names)
    click.echo(f"run: {run}")
    click.echo(f"next: edge-ad export {run} --out BUNDLE")
