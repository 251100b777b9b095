"""`edge-ad report`: write the HTML page of an evaluation again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--gallery", type=int, default=60, show_default=True, help="Images shown a category at most.")
def command(folder: Path, gallery: int) -> None:
    """Draw the page of FOLDER, which `edge-ad evaluate --report FOLDER` wrote, from the data kept there.

    The page, index.html, is one file that needs no other: metrics, curves, score histograms and a gallery with the
    worst errors first.
    """
    from edge_ad.report import write_report

    click.echo(f"report: {write_report(folder, gallery=gallery)}")
