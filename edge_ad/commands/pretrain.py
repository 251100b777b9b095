"""`edge-ad pretrain`: train the nano base model from drawn pictures."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pretrain")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Diffusers folder to write.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="For pictures and checkpoints (3 GB).")
@click.option("--pictures", default=14000, show_default=True, type=click.IntRange(min=64))
@click.option("--autoencoder-steps", type=click.IntRange(min=1), help="Steps of 16 crops.")
@click.option("--steps", type=click.IntRange(min=1), help="Denoiser steps of 32 latents.")
@click.option("--check", type=click.Path(path_type=Path), help="Data set the card is measured on; not trained on.")
@click.option("--notes", default="", help="A paragraph for the model card.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
def command(
    out: Path,
    work: Path,
    pictures: int,
    autoencoder_steps: int | None,
    steps: int | None,
    check: Path | None,
    notes: str,
    seed: int,
) -> None:
    """Train nano: draw pictures, train the autoencoder, then the denoiser. Hours; resumes where it stopped."""
    from dataclasses import replace

    import numpy as np

    from edge_ad.dataset import GOOD, load_dataset
    from edge_ad.errors import InputError
    from edge_ad.images import read_image, resize_image
    from edge_ad.training.pretrain.recipe import Recipe, pretrain
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    recipe = Recipe(seed=seed, pictures=pictures)
    if autoencoder_steps:
        recipe = replace(recipe, autoencoder=replace(recipe.autoencoder, steps=autoencoder_steps))
    if steps:
        recipe = replace(recipe, denoiser=replace(recipe.denoiser, steps=steps))
    images = {}
    if check:
        for category in load_dataset(check, need_test=True).categories:
            paths = [sample.path for sample in category.test if not sample.is_bad]
            if not paths:
                raise InputError(
                    f"--check {check}: category {category.name} has no good test images; put some into test/{GOOD}, or "
                    "take the category away"
                )
            images[category.name] = np.stack([resize_image(read_image(path), recipe.size) for path in paths])
    pretrain(recipe, work, out, check=images, notes=notes, log=lambda line: click.echo(line, err=True))
    click.echo(f"model: {out}")
