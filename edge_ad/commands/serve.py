"""`edge-ad serve`: the inspection station."""

from __future__ import annotations

from pathlib import Path

import click

from edge_ad.commands._options import FloatRange, memory_option


@click.command()
@click.argument("bundles", nargs=-1, required=True, metavar="[NAME=]BUNDLE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--token-file", type=click.Path(path_type=Path), help="Ask for the token in this file.")
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Certificate (PEM): serve HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Its key (PEM).")
@click.option("--records", default=Path("station"), show_default=True, type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the records and pictures.")  # fmt: skip
@click.option("--keep-days", type=FloatRange(0, min_open=True), help="Remove records after so many days.")
@click.option("--keep-gb", type=FloatRange(0, min_open=True), help="Remove the oldest pictures above this size.")
@click.option("--bundles", "folders", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder whose bundles may be loaded while the station runs; may be repeated.")  # fmt: skip
@click.option("--provider", default="auto", show_default=True, help="What to run on: auto, cpu, cuda, openvino, …")
@click.option("--plan", help="One of the bundles' plans; the default of each otherwise.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the worker.")
@memory_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the noise.")
@click.option("--cascade", is_flag=True, help="Inpaint only what prototypes leave in doubt; see calibrate --cascade.")
@click.option("--allow-uncalibrated", is_flag=True, help="Load bundles without thresholds: verdicts stay undecided.")
@click.option("--max-batch", default=8, show_default=True, type=click.IntRange(1, 64), help="Images in one batch.")
@click.option("--max-delay-ms", default=5.0, show_default=True, type=FloatRange(0, 10_000),
              help="How long an image waits for others to fill its batch.")  # fmt: skip
@click.option("--queue", default=64, show_default=True, type=click.IntRange(1), help="Images that may wait.")
@click.option("--deadline", default=30.0, show_default=True, type=FloatRange(0, 600, min_open=True),
              help="Seconds an image may take, unless its request says otherwise.")  # fmt: skip
@click.option("--max-upload-mb", default=64, show_default=True, type=click.IntRange(1), help="Size of a request.")
@click.option("--max-megapixels", default=50.0, show_default=True, type=FloatRange(0, 89, min_open=True),
              help="Size of an image.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of sources and sinks; see docs/station.md.")
@click.option("--watch", multiple=True, type=click.Path(path_type=Path), metavar="FOLDER",
              help="Inspect every picture that appears in this folder; may be repeated.")  # fmt: skip
@click.option("--mqtt", metavar="URL", help="Publish decisions to this broker, mqtt://host:1883.")
@click.option("--webhook", multiple=True, metavar="URL", help="POST decisions to this address; may be repeated.")
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Append decisions to this file.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
def command(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    records: Path,
    keep_days: float | None,
    keep_gb: float | None,
    folders: tuple[Path, ...],
    provider: str,
    plan: str | None,
    threads: int | None,
    memory: int | None,
    seed: int,
    cascade: bool,
    allow_uncalibrated: bool,
    max_batch: int,
    max_delay_ms: float,
    queue: int,
    deadline: float,
    max_upload_mb: int,
    max_megapixels: float,
    config: Path | None,
    watch: tuple[Path, ...],
    mqtt: str | None,
    webhook: tuple[str, ...],
    csv: Path | None,
    log_level: str,
) -> int:
    """Run an inspection station with one or several BUNDLEs, each a product: a web page and an interface for programs.

    A product is called like its bundle's folder, or NAME. It listens at once, is ready when every bundle is verified
    and warm, and on SIGTERM finishes what it has begun. Every decision is in the records before it is answered.
    """
    import asyncio
    import sys

    from edge_ad.bundle_files import read_manifest
    from edge_ad.errors import BundleError, OptionError
    from edge_ad.runtime.serve import lines
    from edge_ad.runtime.serve.access import check_host, read_token
    from edge_ad.runtime.serve.config import build_sinks, build_sources, station_config
    from edge_ad.runtime.serve.options import StationOptions
    from edge_ad.runtime.serve.products import parse_bundles
    from edge_ad.runtime.serve.server import Network, run
    from edge_ad.runtime.serve.station import Station

    products = parse_bundles(bundles)
    for path in products.values():  # told before anything is started; the worker verifies every file
        if path.is_dir():
            read_manifest(path)
        elif not path.exists():
            raise BundleError(f'there is no bundle at "{path}"; give the folder or .tar that edge-ad export wrote')
    if (tls_cert is None) != (tls_key is None):
        raise OptionError("--tls-cert and --tls-key go together: give both, or none")
    token = None if token_file is None else read_token(token_file)
    check_host(host, token)
    options = StationOptions(
        records=records,
        provider=provider,
        plan=plan,
        seed=seed,
        threads=threads,
        memory=memory,
        cascade=cascade,
        max_batch=max_batch,
        max_delay=max_delay_ms / 1000,
        queue=queue,
        deadline=deadline,
        allow_uncalibrated=allow_uncalibrated,
        max_pixels=int(max_megapixels * 1e6),
        keep_days=keep_days,
        keep_bytes=None if keep_gb is None else int(keep_gb * 1e9),
        bundle_folders=folders,
    )
    network = Network(host, port, token, max_upload_mb << 20, tls_cert, tls_key)
    connections = station_config(config, watch=watch, mqtt=mqtt, webhook=webhook, csv=csv)
    sources = build_sources(connections)
    lines.set_up(sys.stderr, log_level)

    async def serve() -> int:
        return await run(Station(options, products, sources, build_sinks(connections)), network)

    return asyncio.run(serve())
