"""`edge-ad demo-data`: draw the demo data set."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--images", type=click.IntRange(min=2), default=44, show_default=True,
              help="Test pictures a category: about 5 good to 6 defective.")  # fmt: skip
@click.option("--shots", type=click.IntRange(min=1), default=8, show_default=True,
              help="Good pictures a category to train on.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Another seed gives other pictures of the same products.")  # fmt: skip
@click.option("--size", type=click.IntRange(64, 2048), default=256, show_default=True, help="Side in px.")
@click.option("--categories", help="Comma-separated names; by default all.")
def command(out: Path, images: int, shots: int, seed: int, size: int, categories: str | None) -> None:
    """Draw the demo data set into the folder OUT, in the layout of MVTec AD.

    Four products with good pictures, several kinds of defect and exact masks. OUT must not exist or be empty. The same
    options give the same files.
    """
    from rich.console import Console
    from rich.progress import Progress

    from edge_ad.training.pretrain.draw.demo import write_demo_set
    from edge_ad.training.pretrain.draw.demo_designs import DEMO

    names = None if categories is None else [name.strip() for name in categories.split(",") if name.strip()]
    good = max(images * 5 // 11, 1)
    total = (shots + images) * len(DEMO if names is None else names)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Drawing", total=total)
        write_demo_set(
            out,
            seed=seed,
            shots=shots,
            good=good,
            bad=images - good,
            size=size,
            categories=names,
            progress=lambda _: progress.advance(task),
        )
    click.echo(f"{total} pictures in {out}")
