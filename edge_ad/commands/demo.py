"""`edge-ad demo`: the whole way on drawn products, or on your own data set."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click


@click.command("demo")
@click.option(
    "--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder for everything."
)
@click.option("--data", type=click.Path(path_type=Path), help="Your data set with test images, instead of drawn ones.")
@click.option("--shots", default=4, show_default=True, type=click.IntRange(min=1), help="Good images a category.")
@click.option("--steps", default=400, show_default=True, type=click.IntRange(min=0), help="Denoiser steps.")
@click.option(
    "--images", default=24, show_default=True, type=click.IntRange(min=4), help="Test images drawn a category."
)
@click.option("--limit", type=click.IntRange(min=2), help="Test images a category at most.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def command(out: Path, data: Path | None, shots: int, steps: int, images: int, limit: int | None, seed: int) -> None:
    """Draw the demo data set (or take --data), fine-tune nano, export, evaluate, and write a report into --out.

    Minutes on two CPU cores; nothing is downloaded. The same command takes up what is already in --out.
    """
    from dataclasses import replace

    from edge_ad.dataset import category_names, load_dataset
    from edge_ad.evaluation import evaluate, text_table
    from edge_ad.export.pipeline import export_run
    from edge_ad.files import atomic_folder, write_json
    from edge_ad.report import PAGE, check_folder, write_report
    from edge_ad.runtime import Detector
    from edge_ad.training.pretrain.draw.demo import write_demo_set
    from edge_ad.training.quiet import quiet_libraries
    from edge_ad.training.train import default_settings, train

    quiet_libraries()
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"[{time.monotonic() - began:5.0f} s] {line}", err=True)

    report = out / "report"
    check_folder(report)
    made_from = {"data": str(data.resolve())} if data else {"images": images}
    _take_up(out, made_from | {"shots": shots, "steps": steps, "seed": seed})
    if data is None:
        data = out / "data"
        if not data.is_dir():
            good = images * 5 // 11
            say(f"drawing the demo data set: {data}")
            write_demo_set(data, seed=seed, shots=max(shots, 4), good=good, bad=images - good)
    dataset = load_dataset(data, category_names(data), need_test=True)
    run, bundle = out / "run", out / "bundle"
    if not (run / "run.json").is_file():
        say(f"fine-tuning nano on {shots} good images of each of {', '.join(dataset.names)}")
        settings = replace(default_settings("nano"), shots=shots, seed=seed)
        settings = replace(
            settings,
            denoiser=replace(settings.denoiser, steps=steps),
            decoder=replace(settings.decoder, steps=settings.decoder.steps if steps else 0),
        )
        train(data, run, settings, dataset.names)
    if not (bundle / "manifest.json").is_file():
        say("exporting to a bundle")
        export_run(run, bundle, log=say)
    say("inspecting the test images")
    detector = Detector.load(bundle)
    with atomic_folder(report) as folder:
        result = evaluate(
            detector, dataset, limit=limit, folder=folder, settings={"bundle": str(bundle), "shots": shots}
        )
        write_report(folder)
    write_json(out / "metrics.json", result.summary())
    click.echo(text_table(result))
    click.echo(f"{result.seconds_per_image:.3f} s an image, {detector.plan_name} plan, {detector.provider}")
    say("done")
    click.echo(f"report: {report / PAGE}")


def _take_up(out: Path, options: dict[str, Any]) -> None:
    """Note the options that a demo is made with. OptionError where `out` holds one made with others."""
    from edge_ad.errors import OptionError
    from edge_ad.files import write_json

    note = out / "demo.json"
    if any((out / part).exists() for part in ("run", "bundle", *(() if "data" in options else ("data",)))):
        try:
            found = dict(json.loads(note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            found = {}
        if found != options:
            words = " ".join(f"--{name} {value}" for name, value in found.items())
            how = (
                f"was begun with {words}; give the same"
                if found
                else "has no demo.json that says how it was begun; remove it"
            )
            raise OptionError(f"--out {out} {how}, or name another folder")
    write_json(note, options)
