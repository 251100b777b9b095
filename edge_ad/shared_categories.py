"""Which categories a verb with a bundle and a data set works on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import click

from edge_ad.errors import InputError


def shared_categories(
    asked: str | None, names: Sequence[str], known: Collection[str], data: Path, bundle: Path
) -> list[str]:
    """What --categories names; without it those that `data` (names) and `bundle` (known) share, the others being said.

    Raises InputError when none is in both.
    """
    if asked is not None:
        return [name for part in asked.split(",") if (name := part.strip())]
    wanted = [name for name in names if name in known]
    if not wanted:
        raise InputError(
            f"{data} has the categories {', '.join(names)}, {bundle} has {', '.join(known)}: none is in both"
        )
    if left_out := [name for name in names if name not in wanted]:
        click.echo(f"left out, since the bundle has no such category: {', '.join(left_out)}", err=True)
    return wanted
