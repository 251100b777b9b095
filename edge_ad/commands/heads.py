"""`edge-ad heads`: train a segmenter and a classifier on pairs, measure them, and put them into a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import FloatRange

AT_LEAST_ONE = click.IntRange(min=1)


@click.group()
def command() -> None:
    """Train a segmenter and a classifier of defects on image-mask pairs, and put them into a bundle."""


@command.command("train")
@click.argument("pairs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the heads.")
@click.option("--good", type=click.Path(path_type=Path), help="Data set whose good training pictures are shown too.")
@click.option("--categories", help="Names, separated by commas; all that PAIRS hold by default.")
@click.option("--network", type=click.Choice(["small", "large"]), default="small", show_default=True,
              help="small: U-Net 32-192 and ResNet-18; large: U-Net 64-512 and ResNet-34.")  # fmt: skip
@click.option("--size", default=256, show_default=True, type=AT_LEAST_ONE, help="Image side in px.")
@click.option("--steps", type=AT_LEAST_ONE, help="Steps of the segmenter; 600.")
@click.option("--batch", type=AT_LEAST_ONE, help="Pictures a step of the segmenter; 16.")
@click.option("--lr", type=FloatRange(min=0, min_open=True), help="Its peak learning rate; 1e-3.")
@click.option("--classifier-steps", type=click.IntRange(min=0), help="Steps of the classifier; 600; 0 leaves it out.")
@click.option("--classifier-batch", type=AT_LEAST_ONE, help="Pictures a step of the classifier; 16.")
@click.option("--classifier-lr", type=FloatRange(min=0, min_open=True), help="Its peak learning rate; 1e-3.")
@click.option("--good-share", default=0.5, show_default=True, type=FloatRange(0, 1, max_open=True),
              help="Share of good pictures in the segmenter's batches.")  # fmt: skip
@click.option("--categories-file", type=click.Path(path_type=Path), help="Your category table (TOML); docs/train.md.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--mixed-precision", type=click.Choice(["auto", "no", "bf16", "fp16"]), default="auto", show_default=True)
@click.option("--accumulate", default=1, show_default=True, type=AT_LEAST_ONE, help="Parts a batch is split into.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def train_command(
    pairs: tuple[Path, ...], out: Path, good: Path | None, categories: str | None, **options: Any
) -> None:
    """Train one segmenter and one classifier for all categories in PAIRS.

    PAIRS are data sets in the layout of MVTec AD with masks: what "edge-ad synthesize generate" wrote, real pairs, or
    both. An interrupted training is taken up again by the same command.
    """
    from dataclasses import replace

    from edge_ad.training.heads.train import HeadSettings, HeadTuning, train_heads
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()

    def tuning(prefix: str) -> HeadTuning:
        fields = {"steps": "steps", "batch": "batch", "learning_rate": "lr"}
        given = {field: options[f"{prefix}{name}"] for field, name in fields.items()}
        return replace(HeadTuning(), **{field: value for field, value in given.items() if value is not None})

    settings = HeadSettings(
        size=options["network"], image_size=options["size"], segmenter=tuning(""), classifier=tuning("classifier_"),
        **{name: options[name] for name in (
            "good_share", "categories_file", "seed", "device", "mixed_precision", "accumulate")},
    )  # fmt: skip
    names = [name.strip() for name in categories.split(",") if name.strip()] if categories else None
    heads = train_heads(pairs, out, settings, good=good, categories=names)
    if os.environ.get("RANK", "0") == "0":  # of several processes the main one speaks
        what = "segmenter and classifier" if heads.classified else "segmenter (no category has two kinds of defects)"
        click.echo(f"{what} of {', '.join(heads.kinds)}: {out}")
        click.echo(f"next: edge-ad heads test {out} DATA; edge-ad heads add {out} BUNDLE")


@command.command("test")
@click.argument("heads", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--rest", is_flag=True, help="Leave out the first third of each kind: synthesize train learns from it.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures to this file.")
def test_command(heads: Path, data: Path, rest: bool, json_file: Path | None) -> None:
    """Measure HEADS on the test pictures of DATA: AUROC, AP, F1-max of picture and pixel, accuracy of the kinds."""
    from edge_ad.files import write_json
    from edge_ad.training.heads.folder import load_heads
    from edge_ad.training.heads.measure import measure_heads, table

    found = measure_heads(load_heads(heads), data, rest=rest)
    click.echo(table(found))
    if json_file:
        write_json(json_file, found)


@command.command("add")
@click.argument("heads", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--drop-engines", is_flag=True, help="Remove the bundle's engines, which lack the heads.")
def add_command(heads: Path, bundle: Path, drop_engines: bool) -> None:
    """Put HEADS into BUNDLE as graphs, replacing those that are there; interrupted or failed, it stays as it was.

    Every graph is run against PyTorch's numbers first. Engines are built anew afterwards: "edge-ad engines build".
    """
    from edge_ad.export.heads import add_heads
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    add_heads(heads, bundle, drop_engines=drop_engines, log=lambda line: click.echo(line, err=True))
    click.echo(bundle)
