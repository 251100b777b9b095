"""What several verbs' options share."""

from __future__ import annotations

import math
from typing import Any

import click


class FloatRange(click.FloatRange):
    """click's, without NaN, which lies in every range there, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's; a usage error names the value."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


def _bytes(context: click.Context, parameter: click.Parameter, value: float | None) -> int | None:
    return None if value is None else int(value * (1 << 30))


#: `--memory GIB`, handed on in bytes as `Detector.load` takes it.
memory_option = click.option(
    "--memory",
    type=FloatRange(0, 1 << 20, min_open=True),
    callback=_bytes,
    metavar="GIB",
    help="What one run of a graph may take; larger batches are split. 1, or half of the card's if not given.",
)
