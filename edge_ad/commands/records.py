"""`edge-ad records`: what a station has recorded."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.commands._options import FloatRange


@click.group()
def command() -> None:
    """Use what a station has recorded."""


@command.command()
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the data set.")
@click.option("--category", help="Only this category.")
@click.option("--since", help="Only from this time on, ISO 8601, for instance 2026-11-22T06:00:00Z.")
@click.option("--until", help="Only before this time.")
@click.option("--judged-only", is_flag=True, help="Only parts that an operator has judged.")
@click.option("--test-share", default=0.2, show_default=True, type=FloatRange(0, 1),
              help="Share of the good parts that go to test/good.")  # fmt: skip
def export(
    records: Path,
    out: Path,
    category: str | None,
    since: str | None,
    until: str | None,
    judged_only: bool,
    test_share: float,
) -> None:
    """Write the images of RECORDS, a station's folder, as a data set: calibrate, train and evaluate read it.

    A part is what an operator said of it, else what was decided. The station may be running.
    """
    from edge_ad.runtime.serve.dataset import export_dataset
    from edge_ad.runtime.serve.decision import parse_time
    from edge_ad.runtime.serve.tables import Query

    query = Query(
        category=category,
        since=None if since is None else parse_time(since, "--since"),
        until=None if until is None else parse_time(until, "--until"),
    )
    counts = export_dataset(records, out, query, judged_only=judged_only, test_share=test_share)
    left = [
        f"{number} {why}"
        for number, why in (
            (counts.undecided, "without a verdict"),
            (counts.removed, "whose picture is past its retention"),
            (counts.repeated, "of the same picture"),
        )
        if number
    ]
    click.echo(
        f"{counts.good} good and {counts.bad} bad images in {out}" + (f"; left out: {', '.join(left)}" if left else "")
    )
