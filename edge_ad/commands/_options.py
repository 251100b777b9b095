"""Options that several verbs have."""

from __future__ import annotations

import click


def _bytes(context: click.Context, parameter: click.Parameter, value: float | None) -> int | None:
    return None if value is None else int(value * (1 << 30))


#: `--memory GIB`, handed on in bytes as `Detector.load` takes it.
memory_option = click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    callback=_bytes,
    metavar="GIB",
    help="What one run of a graph may take; larger batches are split. 1, or half of the card's if not given.",
)
