"""`edge-ad evaluate`: measure a bundle on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_ad.commands._options import memory_option

if TYPE_CHECKING:
    from edge_ad.bundle import Manifest
    from edge_ad.evaluation import Evaluation


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--plan", help="One of the bundle's plans, for instance grouped or paper; its default otherwise.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the metrics here.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a report (HTML page, scores.csv) to this folder."
)
@click.option("--categories", help="Only these, separated by commas; all that data and bundle share otherwise.")
@click.option("--limit", type=int, help="Test images a category at most, half of them bad.")
@click.option("--provider", default="auto", show_default=True, help="What to run on: auto, cpu, cuda, openvino, …")
@memory_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the noise.")
@click.option(
    "--cascade", is_flag=True, help="Inpaint only what the prototypes leave in doubt; see calibrate --cascade."
)
@click.option("--record", is_flag=True, help="Keep the metrics in the bundle, for edge-ad bundle show.")
def command(
    bundle: Path,
    data: Path,
    plan: str | None,
    json_file: Path | None,
    report: Path | None,
    categories: str | None,
    limit: int | None,
    provider: str,
    memory: int | None,
    seed: int,
    cascade: bool,
    record: bool,
) -> None:
    """Inspect the test images of DATA with BUNDLE and print the metrics, in per cent.

    DATA is a folder in the MVTec AD layout with test images. AUROC, average precision and the best F1 are given for
    images and pixels, with PRO (per-region overlap up to 30 % false positives).
    """
    from contextlib import nullcontext

    from edge_ad.dataset import category_names, load_dataset
    from edge_ad.errors import OptionError
    from edge_ad.evaluation import evaluate, text_table
    from edge_ad.files import atomic_folder, write_json
    from edge_ad.report import PAGE, check_folder, write_report
    from edge_ad.runtime import Detector
    from edge_ad.shared_categories import shared_categories

    if report is not None:
        check_folder(report)
    if record and cascade:
        raise OptionError("--record keeps the metrics of a plan, not of a cascade: leave out --record or --cascade")
    if record and not bundle.is_dir():
        raise OptionError(f"--record needs a bundle folder, not {bundle}: unpack it with edge-ad bundle unpack")
    names = category_names(data)  # a wrong folder is told before the bundle is loaded
    detector = Detector.load(bundle, provider=provider, plan=plan, seed=seed, memory=memory, cascade=cascade)
    wanted = shared_categories(categories, names, detector.categories, data, bundle)
    for name in wanted if cascade else ():
        detector.cascade_limits(name)  # told before anything is inspected
    dataset = load_dataset(data, wanted, need_test=True)
    settings = {"bundle": str(bundle), "seed": seed, "precision": getattr(detector, "precision", None)}
    with nullcontext() if report is None else atomic_folder(report) as folder:
        result = evaluate(detector, dataset, limit=limit, folder=folder, settings=settings)
        if folder is not None:
            write_report(folder)
    if json_file is not None:
        write_json(json_file, result.summary())
    if record:
        _record(bundle, result, detector.bundle.manifest)
    click.echo(text_table(result))
    click.echo(f"{result.seconds_per_image:.3f} s an image, {detector.plan_name} plan, {detector.provider}")
    if result.cascade is not None:
        click.echo(f"cascade: {100 * result.cascade.decided:.0f} % decided by prototypes alone, "
                   f"the longest image took {result.cascade.seconds_worst:.3f} s")  # fmt: skip
    if report is not None:
        click.echo(f"report: {report / PAGE}")


def _record(bundle: Path, result: Evaluation, evaluated: Manifest) -> None:
    """Put the metrics into the manifest, in place of those of the same plan, precision and data set.

    evaluated: the manifest that the detector had. BundleError where the bundle is damaged, or another one by now.
    """
    from datetime import datetime, timezone

    from edge_ad.bundle_files import Bundle, replaced, write_manifest
    from edge_ad.errors import BundleError
    from edge_ad.files import link_tree

    settings, summary = result.settings, result.summary()
    entry = {
        **{key: settings[key] for key in ("plan", "precision", "provider", "images", "limit", "seed")},
        "data": Path(settings["data"]).resolve().name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **{key: summary[key] for key in ("categories", "mean", "seconds_per_image")},
    }
    with Bundle.open(bundle) as opened:  # verified: writing it hashes every file anew
        manifest = opened.manifest
    if manifest.files != evaluated.files:
        raise BundleError(f'"{bundle}" has changed while it was evaluated; run this again')
    same = ("plan", "precision", "data")
    kept = [old for old in manifest.metrics.get("evaluation", []) if any(old.get(key) != entry[key] for key in same)]
    manifest.metrics["evaluation"] = [*kept, entry]
    with replaced(bundle) as folder:  # whole or not at all: the manifest goes with its hash
        link_tree(bundle, folder)
        write_manifest(folder, manifest)
