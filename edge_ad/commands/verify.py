"""edge-ad verify: does a bundle still compute what PyTorch computed?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge_ad.runtime.verify import EngineCheck

_WORDS = {"ran": "ran", "read": "readable, not run", "unread": "not read", "broken": "broken"}


@click.command(name="verify", short_help="Run a bundle's graphs again on the arrays stored with it and compare.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--provider", default="cpu", show_default=True, help="auto, cpu, cuda, trt-rtx, tensorrt or openvino.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads; the library's choice if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(bundle: Path, provider: str, threads: int | None, as_json: bool) -> None:
    """Check every hash and the schema of BUNDLE (folder or .tar), then run each graph on its stored example.

    Engines are read by their library, and run and compared where this machine has their card. Exit code 1 when a file
    is damaged, or a graph or engine is off by more than its tolerance.
    """
    from edge_ad.bundle_files import Bundle
    from edge_ad.errors import BundleError
    from edge_ad.runtime.verify import verify_engines, verify_graphs

    rows = []
    with Bundle.open(bundle) as opened:
        if not as_json:
            click.echo(f"{len(opened.manifest.files)} files match their hashes")
        for check in verify_graphs(opened, provider, threads):
            rows.append({"graph": check.graph, "max_error": check.max_error, "mean_error": check.mean_error,
                         "tolerance": check.tolerance, "passed": check.passed})  # fmt: skip
            if not as_json:
                word = "ok" if check.passed else "off"
                click.echo(
                    f"{check.graph:10s} {word:4s} largest error {check.max_error:.1e}, mean {check.mean_error:.1e}, "
                    f"limit {check.tolerance:.0e}"
                )
        engines = list(verify_engines(opened))
    failed = [str(row["graph"]) for row in rows if not row["passed"]]
    if as_json:
        listed = [{**asdict(check), "passed": check.passed} for check in engines]
        text = json.dumps(
            {"files": len(opened.manifest.files), "provider": provider, "graphs": rows, "engines": listed}
        )
        # null for an error that is infinite, which is no word of JSON
        click.echo(json.dumps(json.loads(text, parse_constant=lambda _: None)))
    else:
        for line in _lines(engines):
            click.echo(line)
    if failed:
        raise BundleError(
            f'"{bundle}" computes something else than PyTorch did with --provider {provider} in {", ".join(failed)}; '
            "try another provider, or export it again"
        )
    if broken := [f"{check.engine}/{check.graph}" for check in engines if not check.passed]:
        raise BundleError(
            f'"{bundle}" has engines that do not do what their graphs do: {", ".join(broken)}; '
            "run edge-ad engines build again"
        )


def _lines(engines: list[EngineCheck]) -> Iterator[str]:
    """A line an engine where all its graphs came as far, else a line a graph."""
    for name, group in groupby(engines, key=lambda check: check.engine):
        checks = list(group)
        if len({(check.state, check.reason) for check in checks}) == 1 and checks[0].compared is None:
            yield f"{name}: hashes match, {_WORDS[checks[0].state]}: {checks[0].reason}".removesuffix(": ")
            continue
        for check in checks:
            found = check.reason
            if check.compared is not None:
                error = f"largest error {check.compared.max_error:.1e}, mean {check.compared.mean_error:.1e}"
                found = f"{'ok' if check.passed else 'off'} {error}, limit {check.compared.tolerance:.0e}"
            yield f"{name}/{check.graph}: {_WORDS[check.state]}, {found}".removesuffix(", ")
