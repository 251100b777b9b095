"""`edge-ad distill`: a fine-tuned denoiser that needs fewer steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import FloatRange


@click.command("distill")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the new run.")
@click.option("--steps", default=300, show_default=True, type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Views a step.")
@click.option("--lr", "learning_rate", default=1e-4, show_default=True, type=FloatRange(0, min_open=True))
@click.option("--lambda", "strength", default=0.6, show_default=True, type=FloatRange(0, 1, min_open=True),
              help="Highest noise strength that will be started from.")  # fmt: skip
@click.option(
    "--rank", default=64, show_default=True, type=click.IntRange(min=1), help="Of the LoRA, for runs with one."
)
@click.option("--views", default=48, show_default=True, type=click.IntRange(min=1), help="Augmented views a category.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--mixed-precision", type=click.Choice(["auto", "no", "bf16", "fp16"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def command(run: Path, out: Path, **options: Any) -> None:
    """Distil the denoiser of RUN into one that needs fewer steps, and write a run with it.

    The student is trained on the run's own good images to say in one step what the fine-tuned denoiser arrives at in
    many (latent consistency). Export it with few steps: edge-ad export OUT --out BUNDLE --plan grouped-1,grouped-2. An
    interrupted distillation is taken up again by the same command.
    """
    from edge_ad.training.distill import DistillSettings, distill
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    distill(run, out, DistillSettings(**options), log=lambda line: click.echo(line, err=True))
    click.echo(f"run: {out}")
    click.echo(f"next: edge-ad export {out} --out BUNDLE --plan grouped-1")
