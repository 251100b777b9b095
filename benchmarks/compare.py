"""Compare the last two saved runs of `make bench` and fail on a loss: `make bench-compare`.

    python benchmarks/compare.py FOLDER [--limit 0.1]

Every round's time is divided by that of the yardstick just before it (large matrix products through the same provider),
so that a machine that is slower now is not taken for a slower program. Medians are compared; a loss is one beyond the
limit that does not lie within the scatter of the rounds, their middle halves.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import click

Quartiles = tuple[float, float, float]


def ratios(saved: dict[str, Any]) -> dict[str, Quartiles]:
    """{benchmark: lower quartile, median and upper quartile of its times over the yardstick's}."""
    found = {}
    for entry in saved["benchmarks"]:
        if rounds := entry.get("extra_info", {}).get("ratios"):
            low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive")
            found[entry["name"]] = (low, middle, high)
    return found


def losses(old: dict[str, Quartiles], new: dict[str, Quartiles], limit: float) -> list[str]:
    """Names of the benchmarks in both that take more than `limit` longer, and in no middle half as little as before."""
    return [
        name
        for name, (low, middle, _) in new.items()
        if name in old and middle > (1 + limit) * old[name][1] and low > old[name][2]
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--limit", default=0.1, show_default=True, help="Share of time that may be lost.")
def main(folder: Path, limit: float) -> None:
    """Compare the last two runs saved below FOLDER."""
    files = sorted(folder.glob("**/*.json"), key=lambda path: path.stat().st_mtime)[-2:]
    if len(files) < 2:
        raise click.ClickException(f"{folder} holds {len(files)} saved run(s); run make bench on both versions first")
    old, new = (ratios(json.loads(path.read_text(encoding="utf-8"))) for path in files)
    click.echo(f"{files[0].name} → {files[1].name}, times over the yardstick's")
    for name, (low, middle, high) in new.items():
        change = f"{middle / old[name][1] - 1:+.1%}" if name in old else "new"
        click.echo(f"  {name:32} {middle:9.3f} ({low:.3f} to {high:.3f}) {change:>8}")
    if lost := losses(old, new, limit):
        click.echo(f"slower by more than {limit:.0%}: {', '.join(lost)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
