"""edge-ad verify: does a bundle still compute what PyTorch computed?"""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(name="verify", short_help="Run a bundle's graphs again on the arrays stored with it and compare.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--provider", default="cpu", show_default=True, help="auto, cpu, cuda, tensorrt or openvino.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads; the library's choice if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(bundle: Path, provider: str, threads: int | None, as_json: bool) -> None:
    """Check every hash and the schema of BUNDLE (folder or .tar), then run each graph on its stored example.

    Exit code 1 when a file is damaged or a graph is off by more than its tolerance.
    """
    from edge_ad.bundle import Bundle
    from edge_ad.errors import BundleError
    from edge_ad.runtime.verify import verify_graphs

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
    failed = [str(row["graph"]) for row in rows if not row["passed"]]
    if as_json:
        click.echo(json.dumps({"files": len(opened.manifest.files), "provider": provider, "graphs": rows}))
    if failed:
        raise BundleError(
            f'"{bundle}" computes something else than PyTorch did with --provider {provider} in {", ".join(failed)}; '
            "try another provider, or export it again"
        )
