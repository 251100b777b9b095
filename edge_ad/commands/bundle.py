"""`edge-ad bundle`: look into a bundle, pack it into one file, and unpack it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@click.group(name="bundle")
def command() -> None:
    """Look into a bundle, pack it into one file, and unpack it."""


@command.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def show(bundle: Path, as_json: bool) -> None:
    """Check BUNDLE (folder or .tar) and print what it holds: graphs, plans, categories, engines, sizes, accuracy.

    FLOPs count convolutions, matrix products and attention, two a multiply-add.
    """
    import json

    from edge_ad.bundle_files import Bundle
    from edge_ad.runtime.describe import describe

    with Bundle.open(bundle) as opened:
        content = describe(opened)
    if as_json:
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)  # a file or pipe has no width to fold at
    _print(content, console)


@command.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; BUNDLE.tar if not given.")
def pack(bundle: Path, out: Path | None) -> None:
    """Check the bundle folder BUNDLE and write it as one .tar, whole or not at all."""
    from edge_ad.bundle_files import pack as pack_folder
    from edge_ad.errors import InputError, OptionError

    if not bundle.is_dir():
        raise InputError(f"{bundle}: no such folder; give a bundle folder that edge-ad export wrote")
    target = out or bundle.resolve().with_name(f"{bundle.resolve().name}.tar")
    if target.is_dir():
        raise OptionError(f"--out {target} is a folder; give the name of a .tar file")
    if target.resolve().is_relative_to(bundle.resolve()):
        raise OptionError(f"--out {target} lies inside the bundle; give a place outside of {bundle}")
    pack_folder(bundle, target)
    click.echo(target)


@command.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write, whole or not at all.")
def unpack(archive: Path, out: Path) -> None:
    """Unpack the .tar ARCHIVE of a bundle into a folder and check it; a bundle that is there already is replaced.

    An entry that would leave the folder, a link, a device or a sparse file is refused, and nothing is left behind.
    """
    import os
    import tempfile

    from edge_ad.bundle import MANIFEST
    from edge_ad.bundle_files import unpack as unpack_archive
    from edge_ad.bundle_files import verified_manifest
    from edge_ad.errors import InputError, OptionError
    from edge_ad.files import atomic_folder

    if not archive.is_file():
        raise InputError(f"{archive}: no such file; give the .tar that edge-ad bundle pack wrote")
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise OptionError(f"--out {out} exists and is no bundle; give another name")
    place = out.resolve().parent
    with atomic_folder(out) as folder, tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=place) as scratch:
        inner = unpack_archive(archive, Path(scratch) / "content")  # the archive's root, or its one folder
        verified_manifest(inner, archive)
        folder.rmdir()
        os.replace(inner, folder)
    click.echo(out)


def _print(content: dict[str, Any], console: Console) -> None:
    from edge_ad.units import si

    latents = " x ".join(map(str, content["latents"]))
    base = content["base"]
    console.print(f"{content['bundle']}", style="bold", markup=False)
    console.print(
        f"base {base['name']} ({base['licence']}), {content['image_size']} px, latents {latents}, LPIPS "
        f"{content['perceptual']}, features {content['features']}\n"
        f"made {content['created']} by edge-ad {content['edge_ad_version']}; {content['files']} files, "
        f"{si(content['bytes'], 'B')}, all as their hashes say",
        markup=False,
    )
    for table in (_graphs, _plans, _categories, _engines, _evaluation):
        made = table(content)
        if made is not None:
            console.print()
            console.print(made)


def _table(title: str, *columns: str) -> Table:
    """A table whose columns that begin with ">" are right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    from rich.text import Text

    table.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))


def _terms(terms: dict[str, int] | None) -> str | None:
    """{"": 7e9, "K*R": 2e6}: "7.00 G + 2.00 M·K·R"."""
    from edge_ad.units import si

    if terms is None:
        return None
    return " + ".join(f"{si(value)}{'·' * bool(name)}{name.replace('*', '·')}" for name, value in terms.items()) or "0"


def _graphs(content: dict[str, Any]) -> Table:
    from edge_ad.units import si

    columns = ("graph", "inputs", "outputs", "precision", ">parameters", ">FLOPs a run", ">size", ">max error")
    table = _table("Graphs", *columns)
    for name, graph in content["graphs"].items():
        parameters, error = graph["parameters"], graph["max_error"]
        _row(
            table,
            name,
            *("\n".join(f"{key} {value}" for key, value in graph[side].items()) for side in ("inputs", "outputs")),
            graph["precision"],
            None if parameters is None else si(parameters),
            _terms(graph["flops"]),
            si(graph["bytes"], "B"),
            None if error is None else f"{error:.0e}",
        )
    return table


def _plans(content: dict[str, Any]) -> Table:
    from edge_ad.units import si

    columns = ("plan", "scales", ">λ", ">steps", "solver", ">masks", ">UNet evaluations", ">encodings", ">decodings")
    table = _table("Plans: one image", *columns, ">FLOPs", ">bytes moved")
    for name, plan in content["plans"].items():
        _row(
            table,
            f"{name} (default)" if name == content["default_plan"] else name,
            ", ".join(map(str, plan["scales"])),
            f"{plan['lambda']:g}",
            plan["steps"],
            plan["solver"],
            plan["masks"],
            plan["evaluations"],
            plan["encodings"],
            plan["decodings"],
            None if plan["flops"] is None else si(plan["flops"]),
            None if plan["traffic"] is None else si(plan["traffic"], "B"),
        )
    return table


def _categories(content: dict[str, Any]) -> Table:
    table = _table("Categories", "category", "prompt", "prototypes", "λ", "thresholds")
    for name, entry in content["categories"].items():
        thresholds = (
            f"{plan} {precision} {value:.4g}{_promise(entry['calibrations'].get(plan, {}).get(precision))}"
            for plan, by_precision in entry["thresholds"].items()
            for precision, value in by_precision.items()
        )
        rows, channels = entry["prototypes"]
        _row(
            table,
            name,
            " x ".join(map(str, entry["prompt"])),
            f"{rows} x {channels}" if rows else "none",
            ", ".join(f"{plan} {value:g}" for plan, value in entry["lambda"].items()),
            "\n".join(thresholds) or "none: edge-ad calibrate sets them",
        )
    return table


def _promise(calibration: dict[str, Any] | None) -> str:
    """Where a threshold comes from, such as " (conformal of 120 images, at most 1 % of good parts rejected)".

    With the limits of a cascade, where there are some.
    """
    if calibration is None:
        return ""
    promised = calibration["promised"]
    promise = "" if promised is None else f", at most {100 * promised:.2g} % of good parts rejected"
    limits = calibration["cascade"]
    early = "" if limits is None else f", cascade outside {limits['lower']:.4g} to {limits['upper']:.4g}"
    return f" ({calibration['rule']} of {calibration['images']} images{promise}{early})"


def _engines(content: dict[str, Any]) -> Table | None:
    from edge_ad.units import si

    if not content["engines"]:
        return None
    table = _table("Engines", "target", "library", ">compute capability", "precision", "graphs", ">size")
    for target, engine in content["engines"].items():
        library = f"{engine['library']} {engine['version']}"
        capability = engine["compute_capability"]
        graphs = ", ".join(engine["graphs"])
        _row(table, target, library, capability, engine["precision"], graphs, si(engine["bytes"], "B"))
    return table


def _evaluation(content: dict[str, Any]) -> Table | None:
    if not content["evaluation"]:
        return None
    names = list(dict.fromkeys(name for entry in content["evaluation"] for name in entry["mean"]))
    table = _table("Measured accuracy, per cent", "plan", "data", "category", *(f">{name}" for name in names))
    for entry in content["evaluation"]:
        for category, metrics in {**entry["categories"], "mean": entry["mean"]}.items():
            values = (metrics.get(name) for name in names)
            shown = (None if value is None else f"{100 * value:.1f}" for value in values)
            _row(table, f"{entry['plan']} {entry['precision']}", entry["data"], category, *shown)
    return table
