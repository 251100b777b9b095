"""edge-ad engines: TensorRT engines for a bundle that is there, from its ONNX graphs alone."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(name="engines", short_help="Build TensorRT engines for a bundle, on any machine, without PyTorch.")
def command() -> None:
    """Build TensorRT or TensorRT-RTX engines for a bundle from its ONNX graphs, and look after their cache."""


@command.command(name="build")
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--library", type=click.Choice(["trt-rtx", "tensorrt"]), default=None,
              help="trt-rtx needs no card; tensorrt builds for this one's. Default: what is installed.")  # fmt: skip
@click.option("--sm", "capabilities", multiple=True, metavar="X.Y,…",
              help="Compute capabilities to build for, such as 8.6,8.9; this machine's card if not given.")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8", "fp8"]), default=None,
              help="Refused where the bundle's graphs have another one.")  # fmt: skip
@click.option("--max-batch", default=1, show_default=True, type=click.IntRange(1), help="Images that share a batch.")
@click.option(
    "--weight-streaming", is_flag=True, help="Weights may stream from the host: for cards with little memory."
)
@click.option("--strip", "stripped", is_flag=True, help="Leave the weights out; they come from the ONNX graphs.")
@click.option("--force", is_flag=True, help="Build even where memory looks too small.")
def build(
    bundle: Path,
    library: str | None,
    capabilities: tuple[str, ...],
    precision: str | None,
    max_batch: int,
    weight_streaming: bool,
    stripped: bool,
    force: bool,
) -> None:
    """Build an engine of every graph of BUNDLE (folder or .tar) and put them into it.

    The bundle changes once everything is built. What was built before, for the same graph, is taken from the cache.
    """
    from edge_ad.runtime.engines.build import BuildOptions
    from edge_ad.runtime.engines.library import default_library, parse_capabilities
    from edge_ad.runtime.engines.make import EngineOptions, add_engines

    options = EngineOptions(
        library=library or default_library(),
        capabilities=parse_capabilities(capabilities),
        images=max_batch,
        build=BuildOptions(weight_streaming=weight_streaming, stripped=stripped),
        force=force,
    )
    made = add_engines(bundle, options, precision=precision, log=lambda line: click.echo(line, err=True))
    for target in made:
        click.echo(target)


@command.command(name="cache")
@click.option("--clear", is_flag=True, help="Remove every engine that is kept.")
def cache(clear: bool) -> None:
    """Say how many engines are kept, and where; EDGE_AD_CACHE moves the folder."""
    from edge_ad.errors import InputError
    from edge_ad.runtime.engines.cache import EngineCache

    kept = EngineCache()
    if kept.folder is None:
        raise InputError("this account has no home folder, so no engine is kept; set EDGE_AD_CACHE to a folder")
    if clear:
        click.echo(f"{kept.clear()} engines removed from {kept.folder}")
        return
    count, size = kept.size()
    click.echo(f"{count} engines, {size / 1e6:.1f} MB in {kept.folder}")
