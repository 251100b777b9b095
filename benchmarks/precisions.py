"""What a bundle loses and gains in fp16 and int8: accuracy, seconds and size, and its engines in int8 and FP8.

    python benchmarks/precisions.py BUNDLE DATA --out WORK [--per-class 40] [--providers cpu,openvino] [--sm 8.9]

BUNDLE has fp32 graphs and stays as it is. Bundles, ranges and every finished row stay in WORK; the same command goes on
from there, with more precisions, providers or cards too; another BUNDLE, DATA or setting needs another WORK.
WORK/precisions.json and precisions.md hold the tables, the second with a line a layer. Accuracy and seconds are those
of ONNX Runtime (or OpenVINO) on this machine; engines are built for the cards of --sm and their layers listed from the
graphs they were built of, since a library tells of an engine's own layers only where its card is.
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from begun import check_begun, kept_json
from script import run, say

from edge_ad.bundle import Manifest
from edge_ad.bundle_files import Bundle, read_manifest
from edge_ad.calibration.ranges import collect_ranges
from edge_ad.dataset import Dataset, category_names, load_dataset
from edge_ad.doctor.machine import examine
from edge_ad.evaluation import evaluate, percent
from edge_ad.export.quantize import quantize_bundle
from edge_ad.export.quantize_options import QuantizeOptions
from edge_ad.export.quantize_table import layer_table
from edge_ad.export.targets import engine_options
from edge_ad.files import atomic_folder, write_json, write_text
from edge_ad.runtime import Detector
from edge_ad.runtime.engines.library import installed, parse_capabilities

METRICS = ("image_auroc", "pixel_auroc", "pro")


def prepared(bundle: Path, work: Path, data: Dataset, images: int, plan: str | None, threads: int | None) -> Path:
    """The fp32 bundle in WORK, with activation ranges."""
    folder = work / "fp32"
    if not (folder / "manifest.json").is_file():
        with Bundle.open(bundle) as opened, atomic_folder(folder) as target:
            shutil.copytree(opened.folder, target, dirs_exist_ok=True)
    with Bundle.open(folder) as opened:
        if opened.plan(plan)[0] not in opened.manifest.ranges:
            collect_ranges(
                opened, data, work / "ranges", plan=plan, images=images, provider="cpu", threads=threads, log=say
            )
    return folder


def lowered(name: str, fp32: Path, work: Path, data: Dataset | None, options: QuantizeOptions) -> Path:
    """The bundle of another precision in WORK, made if it is not there."""
    folder = work / name
    if not (folder / "manifest.json").is_file():
        quantize_bundle(fp32, folder, data, options, work / f"{name}-quantization", log=say)
    return folder


def measured(
    folder: Path, data: Dataset, provider: str, plan: str | None, limit: int | None, threads: int | None
) -> Any:
    """The evaluation of a bundle and the size of its graphs in bytes."""
    detector = Detector.load(folder, provider=provider, plan=plan, threads=threads)
    found = evaluate(detector, data, limit=limit).summary()
    return {**found, "graph_bytes": graph_bytes(folder, detector.bundle.manifest)}


def graph_bytes(folder: Path, manifest: Manifest) -> int:
    files = [file for graph in manifest.graphs.values() for file in graph.paths]
    return sum((folder / file).stat().st_size for file in files)


def engine_row(folder: Path) -> dict[str, Any]:
    """Size and build time of a bundle's engines, and how many layers of each graph are quantized."""
    manifest = read_manifest(folder)
    return {
        target: {
            graph: {
                "bytes": (folder / engine.files[graph]).stat().st_size,
                "build_seconds": engine.build_seconds[graph],
                "precision": manifest.graphs[graph].precision,
                "quantized": 0 if made is None else len(made.layers),
                "left": 0 if made is None else len(made.left),
            }
            for graph in engine.files
            for made in [manifest.graphs[graph].quantization]
        }
        for target, engine in manifest.engines.items()
    }


def markdown(results: dict[str, Any], folders: dict[str, Path]) -> str:
    about = results["about"]
    lines = ["# Precisions", "", ", ".join(f"{key} {value}" for key, value in about.items()), ""]
    lines += ["| graphs | run by | image AUROC | pixel AUROC | PRO | seconds an image | graphs, MB |", "|---" * 7 + "|"]
    for row in results["rows"]:
        cells = [percent(row["mean"][metric]) for metric in METRICS]
        lines.append(
            f"| {row['bundle']} | {row['provider']} | {' | '.join(cells)} | {row['seconds_per_image']:.2f} | "
            f"{row['graph_bytes'] / 1e6:.1f} |"
        )
    if results["engines"]:
        lines += [
            "",
            "| engine | graph | computes in | layers quantized | layers left | MB | build, s |",
            "|---" * 7 + "|",
        ]
    for target, graphs in results["engines"].items():
        for graph, row in graphs.items():
            lines.append(
                f"| {target} | {graph} | {row['precision']} | {row['quantized']} | {row['left']} | "
                f"{row['bytes'] / 1e6:.1f} | {row['build_seconds']:.1f} |"
            )
    for name, folder in folders.items():
        table = layer_table(read_manifest(folder)).strip()
        if table:
            lines += ["", f"# Layers of {name}", "", table]
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", "work", required=True, type=click.Path(path_type=Path))
@click.option("--per-class", "limit", type=click.IntRange(2), help="Test images a category, half of them bad; all.")
@click.option("--precisions", default="fp32,fp16,int8", show_default=True)
@click.option("--providers", default="cpu", show_default=True, help="Of cpu, openvino, cuda.")
@click.option("--sm", default="8.9", show_default=True, help="Build int8 and fp8 engines for these; none for none.")
@click.option("--range-images", default=8, show_default=True, type=click.IntRange(1), help="A category.")
@click.option("--check-images", default=6, show_default=True, type=click.IntRange(2), help="Good and bad, a category.")
@click.option("--plan")
@click.option("--threads", type=click.IntRange(1))
def main(
    bundle: Path,
    data: Path,
    work: Path,
    limit: int | None,
    precisions: str,
    providers: str,
    sm: str,
    range_images: int,
    check_images: int,
    plan: str | None,
    threads: int | None,
) -> None:
    """Measure BUNDLE in several precisions on the test images of DATA."""
    with Bundle.open(bundle) as opened:
        names = [name for name in category_names(data) if name in opened.manifest.categories]
        content = opened.manifest.model_dump_json(exclude={"metrics"})
    dataset = load_dataset(data, names, need_test=True)
    asked = {
        "manifest": hashlib.sha256(content.encode()).hexdigest()[:16], "data": str(data), "plan": plan,
        "threads": threads, "range-images": range_images, "check-images": check_images,
    }  # fmt: skip
    check_begun(work, asked)
    fp32 = prepared(bundle, work, dataset, range_images, plan, threads)
    common: dict[str, Any] = {"plan": plan, "threads": threads, "images": check_images}
    about = {
        "bundle": bundle, "data": data, "images a category": limit or "all", "processor": examine().processor,
        "threads": threads or "all", "date": datetime.now(timezone.utc).date(),
    }  # fmt: skip
    results: dict[str, Any] = {"about": {key: str(value) for key, value in about.items()}, "rows": [], "engines": {}}
    folders: dict[str, Path] = {}

    def made(name: str, precision: Any, **more: Any) -> Path:
        say(f"bundle {name}")
        options = QuantizeOptions(precision=precision, **common, **more)
        # fp16 is measured below; on a processor it is slow
        return lowered(name, fp32, work, None if precision == "fp16" else dataset, options)

    def written() -> None:
        write_json(work / "precisions.json", results)
        write_text(work / "precisions.md", markdown(results, folders))

    for name in precisions.split(","):
        folder = made(name, name) if name != "fp32" else fp32
        folders[name] = folder
        for provider in providers.split(","):
            file = work / "rows" / f"{name}-{provider}-{limit or 'all'}.json"
            say(f"{name} on {provider}")
            row = kept_json(file, lambda f=folder, p=provider: measured(f, dataset, p, plan, limit, threads))
            results["rows"].append({"bundle": name, "provider": provider, **row})
            written()
    capabilities = () if sm == "none" else parse_capabilities([sm])
    if capabilities and installed("trt-rtx"):
        engine_options(("trt-rtx",), capabilities, 1)  # refused before the work
        for precision in ("int8", "fp8"):
            name = f"{precision}-engines-{sm}"
            folders[name] = made(name, precision, targets=("trt-rtx",), capabilities=capabilities)
            results["engines"].update(engine_row(folders[name]))
            written()
    click.echo((work / "precisions.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
