"""How the scripts here speak and end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge_ad.errors import EdgeAdError


def say(line: str) -> None:
    """A line of progress, on standard error."""
    click.echo(line, err=True)


def run(command: Callable[[], Any]) -> None:
    """Run a script's command; what a user can mend becomes one sentence after the script's name, and exit code 1."""
    try:
        command()
    except EdgeAdError as error:
        raise SystemExit(f"{Path(sys.argv[0]).stem}: {error}") from None
