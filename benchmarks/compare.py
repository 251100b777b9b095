"""Compare the last two saved runs of `make bench` and fail on a loss: `make bench-compare`.

    python benchmarks/compare.py FOLDER [--limit 0.1]

Times are divided by the yardstick of the same run and provider (large matrix products), so that a machine that is
slower today is not taken for a slower program. The smallest time of each benchmark counts: it is the least disturbed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def ratios(saved: dict[str, Any]) -> dict[str, float]:
    """{benchmark: smallest time over the yardstick's of its provider}."""
    times = {entry["name"]: (entry["stats"]["min"], entry["params"]["provider"]) for entry in saved["benchmarks"]}
    yardsticks = {provider: time for name, (time, provider) in times.items() if name.startswith("test_yardstick")}
    return {
        name: time / yardsticks[provider]
        for name, (time, provider) in times.items()
        if not name.startswith("test_yardstick")
    }


def losses(old: dict[str, float], new: dict[str, float], limit: float) -> list[str]:
    """Names of the benchmarks in both that take more than `limit` longer."""
    return [name for name in new if name in old and new[name] > (1 + limit) * old[name]]


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
    for name, value in new.items():
        before = old.get(name)
        change = f"{value / before - 1:+.1%}" if before else "new"
        click.echo(f"  {name:32} {value:9.3f} {change:>8}")
    if lost := losses(old, new, limit):
        click.echo(f"slower by more than {limit:.0%}: {', '.join(lost)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
