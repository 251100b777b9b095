"""The ablations of AnomalySD (tables 3, 4 and 5 of the paper, and figure 4's sweep of the noise strength) on your data.

    python benchmarks/ablation.py DATA --out WORK [--limit 20] [--plan grouped] [--tables 3,4,5,noise,beyond]

The last table is not the paper's: inpaintings averaged over several draws of the noise, and Otsu's threshold of the
prototype-guided mask or the good photographs' level instead of eq. 15's.

Four trainings serve every row: the denoiser as `edge-ad train` does it (with its decoder), with random masks, with
simple prompts, and with none. Denoiser and decoder do not depend on each other, so that rows are put together from them
at export. Rows that are the same detector are measured once. What WORK holds already is taken up: run it again after an
interruption. Random and designed masks share their other half, the plan's masks (`--plan-mask-share` of edge-ad train),
as each other row has it too. It ends with WORK/ablation.md, ablation.json and ablation.png.

Every row is scored twice: with the plan's own weights, and with the paper's (equation 21 alone, α = 0.1), since the
prototype error in the plan's own score hides what inpainting contributes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from begun import check_begun
from kept import Kept, with_levels, with_plan
from script import run

from edge_ad.bundle import Plan, Schedule, Weights
from edge_ad.dataset import category_names, load_dataset
from edge_ad.doctor.machine import examine
from edge_ad.errors import OptionError
from edge_ad.evaluation import evaluate, percent
from edge_ad.export.pipeline import ExportOptions, Product, build_bundle
from edge_ad.files import atomic_path, write_json, write_text
from edge_ad.runtime import Detector
from edge_ad.runtime.prototypes import THRESHOLD_RULES
from edge_ad.runtime.schedule import make_schedule
from edge_ad.training.base import Base, load_base
from edge_ad.training.fuse import apply_run
from edge_ad.training.quiet import quiet_libraries
from edge_ad.training.run import load_run
from edge_ad.training.train import TrainSettings, default_settings, train

TABLES = ("3", "4", "5", "noise", "beyond")
SCORES = {"plan": "the plan's own score", "paper": "the paper's score"}
DEFAULT_STRENGTH = 0.4


@dataclass(frozen=True)
class Row:
    """One row of a table: its label, the bundle and the variant of the plan it is measured with.

    strength: λ if not the bundle's. published: the paper's image and pixel AUROC in per cent, MVTec AD, one shot.
    """

    label: str
    bundle: str
    variant: str = "all"
    strength: float | None = None
    published: tuple[float, float] | None = None


@dataclass(frozen=True)
class Made:
    """How a bundle is put together: the training its denoiser comes from (None: the base's), and the decoder."""

    denoiser: str | None
    decoder: bool = True


BUNDLES = {
    "base": Made(None, decoder=False),
    "decoder": Made(None),
    "denoiser": Made("main", decoder=False),
    "both": Made("main"),
    "random": Made("random"),
    "simple": Made("simple"),
    "none": Made("none"),
}
"""Bundle -> what is in it. The trainings are "main", and "random" (masks), "simple" and "none" (prompts)."""

ROWS = {
    "3": (
        Row("no fine-tuning", "base", published=(86.6, 87.6)),
        Row("decoder", "decoder", published=(87.2, 88.9)),
        Row("denoiser", "denoiser", published=(93.2, 94.1)),
        Row("both", "both", published=(93.6, 94.8)),
    ),
    "4": (
        Row("random masks", "random", published=(93.0, 93.9)),
        Row("designed masks", "both", published=(93.6, 94.8)),
        Row("no prompt", "none", published=(91.5, 92.7)),
        Row("simple prompt", "simple", published=(92.4, 93.3)),
        Row("designed prompts", "both", published=(93.6, 94.8)),
    ),
    "5": (
        Row("one full mask", "both", "full", published=(84.9, 89.6)),
        Row("multi-scale", "both", "scales", published=(93.1, 94.2)),
        Row("multi-scale + prototype", "both", published=(93.6, 94.8)),
    ),
    "beyond": (
        Row("as in table 3", "both"),
        Row("eq. 15 by Otsu's threshold", "both", "otsu"),
        Row("eq. 15 by the level of good pictures", "both", "level"),
        Row("mean of 2 noise draws", "both", "draws-2"),
        Row("mean of 4 noise draws", "both", "draws-4"),
    ),
}
TITLES = {
    "3": "Table 3: fine-tuned modules",
    "4": "Table 4: masks and prompts of the fine-tuning",
    "5": "Table 5: masks of the inspection",
    "noise": "Figure 4: noise strength λ",
    "beyond": "Beyond the paper",
}


def rows_of(table: str, strengths: tuple[float, ...]) -> tuple[Row, ...]:
    """The rows of a table; of the sweep, one a strength."""
    if table != "noise":
        return ROWS[table]
    return tuple(
        Row(f"λ = {value:g}", "both")
        if value == DEFAULT_STRENGTH
        else Row(f"λ = {value:g}", "both", f"noise-{value:g}", value)
        for value in strengths
    )


def variant(plan: Plan, name: str) -> Plan:
    """The plan of a variant by its name, with the paper's threshold in eq. 15 where the name has no other.

    One of the sweep differs in its schedule's name alone.
    """
    plan = plan.model_copy(update={"threshold_rule": name if name in THRESHOLD_RULES else "variance-sum"})
    if name == "full":
        return plan.model_copy(update={"scales": (1,), "prototype": False})
    if name == "scales":
        return plan.model_copy(update={"prototype": False})
    if name.startswith("draws-"):
        return plan.model_copy(update={"noise_draws": int(name.removeprefix("draws-"))})
    return plan if name == "all" or name in THRESHOLD_RULES else plan.model_copy(update={"schedule": name})


def schedule_of(plan: str, config: dict[str, Any], strength: float, steps: int) -> Schedule:
    """λ's schedule: as in the paper the number of steps is in proportion to λ, `steps` at λ = 0.4."""
    if plan == "paper":
        return make_schedule(config, strength, 50, "ddim", spacing="leading")
    return make_schedule(config, strength, max(1, round(steps * strength / DEFAULT_STRENGTH)), "ddim")


def settings_of(name: str, settings: TrainSettings) -> TrainSettings:
    """The settings of one training; only "main" trains the decoder, all others use its."""
    if name == "main":
        return settings
    settings = replace(settings, decoder=replace(settings.decoder, steps=0, epochs=0))
    if name == "random":
        return replace(settings, denoiser=replace(settings.denoiser, masks="random"))
    return replace(settings, prompts="none" if name == "none" else "simple")


def assemble(work: Path, name: str) -> tuple[Base, dict[str, Product]]:
    """The base with the denoiser and the decoder of a bundle, and its products with the prompts of its training."""
    made = BUNDLES[name]
    main = load_run(work / "runs" / "main")
    source = main if made.denoiser is None else load_run(work / "runs" / made.denoiser)
    base = load_base(main.base_id)
    apply_run(base, source, denoiser=made.denoiser is not None, decoder=False)
    apply_run(base, main, denoiser=False, decoder=made.decoder)
    base.image_size = main.image_size
    return base, {key: Product(entry.prompts, entry.shots, entry.turn) for key, entry in source.categories.items()}


def make_bundle(work: Path, name: str, plan: str, steps: int) -> Path:
    """Export one bundle from the trainings it is made of; an existing one is kept."""
    folder = work / "bundles" / name
    if not (folder / "manifest.json").is_file():
        base, products = assemble(work, name)
        build_bundle(
            base, products, folder, ExportOptions(plans=(plan,), noise_strength=DEFAULT_STRENGTH, steps=steps), log=_say
        )
    return folder


def measure(
    work: Path, row: Row, plan: str, steps: int, data: Path, limit: int | None, provider: str
) -> dict[str, dict[str, Any]]:
    """The evaluation of one row by each score, both from the same inpaintings; from WORK/rows where it was made before.

    What the inpainting map reaches on the good pictures is measured anew for every row.
    """
    files = {score: work / "rows" / f"{row.bundle}.{row.variant}.{score}.json" for score in SCORES}
    lacking = [score for score, file in files.items() if not file.is_file()]
    if lacking:
        base = Detector.load(work / "bundles" / row.bundle, provider=provider, plan=plan)
        own, manifest = base.plan, base.bundle.manifest.model_copy(deep=True)
        if row.strength is not None:
            manifest.schedules[row.variant] = schedule_of(plan, manifest.noise, row.strength, steps)
        shots = {name: list(entry.shots) for name, entry in load_run(work / "runs" / "main").categories.items()}
        dataset = load_dataset(data, base.categories, need_test=True)
        with TemporaryDirectory(prefix="inpainted-", dir=work) as folder:
            for score in lacking:
                weights = own.weights if score == "plan" else Weights()
                changed = variant(own, row.variant).model_copy(update={"weights": weights})
                one = with_levels(base, with_plan(manifest, plan, changed), plan, shots, Path(folder))
                found = evaluate(Kept(one, Path(folder)), dataset, limit=limit, settings={"bundle": row.bundle})
                write_json(files[score], found.summary())
    return {score: json.loads(file.read_text(encoding="utf-8")) for score, file in files.items()}


def markdown(results: dict[str, dict[str, Any]], header: str) -> str:
    """The tables: image / pixel AUROC in per cent, the mean over categories first."""
    parts = [header]
    for table, rows in results.items():
        names = list(next(iter(rows.values()))["plan"]["categories"])
        for score, title in SCORES.items():
            parts.append(f"## {TITLES[table]}, {title}\n")
            parts.append(f"| | mean | {' | '.join(names)} | the paper's |\n|" + "---|" * (len(names) + 3))
            for label, row in rows.items():
                entry = row[score]
                cells = [_cell(entry["mean"]), *(_cell(entry["categories"][name]) for name in names)]
                published = " / ".join(f"{value:.1f}" for value in row["published"] or ())
                parts.append(f"| {label} | {' | '.join(cells)} | {published} |")
            parts.append("")
    return "\n".join(parts) + "\n"


def _cell(metrics: dict[str, float | None]) -> str:
    return f"{percent(metrics['image_auroc'])} / {percent(metrics['pixel_auroc'])}"


def curve(rows: dict[str, Any], strengths: tuple[float, ...], target: Path) -> None:
    """The sweep as a picture: mean AUROC over λ."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), sharex=True, layout="constrained")
    for axis, metric in zip(axes, ("image_auroc", "pixel_auroc"), strict=True):
        for score, title in SCORES.items():
            values = [row[score]["mean"][metric] for row in rows.values()]
            axis.plot(strengths, [None if value is None else 100 * value for value in values], "o-", label=title)
        axis.set(xlabel="noise strength λ", title=metric.replace("_", " ").replace("auroc", "AUROC, %"))
        axis.grid(alpha=0.3)
    axes[0].legend()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _header(asked: dict[str, Any]) -> str:
    machine = examine()
    return (
        f"# Ablation\n\nImage / pixel AUROC in per cent. {datetime.now(timezone.utc):%Y-%m-%d}, {machine.processor}, "
        f"settings: {', '.join(f'{key} {value}' for key, value in asked.items())}. The paper's numbers are those of SD "
        "1.5 on MVTec AD, one shot.\n"
    )


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", "work", required=True, type=click.Path(path_type=Path), help="Folder for everything.")
@click.option("--base", default="nano", show_default=True)
@click.option("--categories", help="Names, separated by commas; all by default.")
@click.option("--shots", default=4, show_default=True, type=click.IntRange(1))
@click.option("--limit", type=click.IntRange(2), help="Test images a category at most, half of them bad.")
@click.option("--plan", type=click.Choice(["grouped", "paper"]), default="grouped", show_default=True)
@click.option("--tables", default=",".join(TABLES), show_default=True, help="Which of 3, 4, 5, noise, beyond.")
@click.option("--strengths", default="0.2,0.3,0.4,0.5,0.6,0.8", show_default=True, help="λ of the sweep.")
@click.option("--plan-steps", default=4, show_default=True, type=click.IntRange(1), help="Of the grouped plan, λ 0.4.")
@click.option("--steps", type=click.IntRange(1), help="Denoiser steps; the base's default.")
@click.option("--decoder-steps", type=click.IntRange(1), help="Decoder steps; the base's default.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--provider", default="auto", show_default=True, help="As in edge-ad evaluate.")
def main(
    data: Path,
    work: Path,
    base: str,
    categories: str | None,
    shots: int,
    limit: int | None,
    plan: str,
    tables: str,
    strengths: str,
    plan_steps: int,
    steps: int | None,
    decoder_steps: int | None,
    seed: int,
    provider: str,
) -> None:
    """Run the ablations on DATA, a folder in the MVTec AD layout with test images."""
    quiet_libraries()
    wanted = tuple(part.strip() for part in tables.split(",") if part.strip())
    if not wanted or set(wanted) - set(TABLES):
        raise OptionError(f"--tables {tables}: name some of {', '.join(TABLES)}")
    try:
        values = tuple(sorted({float(part) for part in strengths.split(",")}))
    except ValueError as error:
        raise OptionError(f"--strengths {strengths}: give numbers with commas, such as 0.2,0.4") from error
    if not values or min(values) <= 0 or max(values) > 1:
        raise OptionError(f"--strengths {strengths}: each must be above 0 and at most 1")
    names = [name.strip() for name in categories.split(",")] if categories else category_names(data)
    load_dataset(data, names, need_test=True)
    settings = replace(default_settings(base), shots=shots, seed=seed)
    if steps:
        settings = replace(settings, denoiser=replace(settings.denoiser, steps=steps, epochs=0))
    if decoder_steps:
        settings = replace(settings, decoder=replace(settings.decoder, steps=decoder_steps, epochs=0))
    asked = {
        "data": str(data), "base": base, "categories": ",".join(names), "shots": shots, "limit": limit, "plan": plan,
        "plan steps": plan_steps, "strengths": ",".join(f"{value:g}" for value in values), "seed": seed,
        "denoiser steps": settings.denoiser.steps, "denoiser epochs": settings.denoiser.epochs,
        "decoder steps": settings.decoder.steps, "decoder epochs": settings.decoder.epochs,
    }  # fmt: skip
    check_begun(work, asked)

    results: dict[str, dict[str, Any]] = {}
    began = time.monotonic()
    for table in wanted:
        results[table] = {}
        for row in rows_of(table, values):
            for name in ("main", BUNDLES[row.bundle].denoiser or "main"):
                if not (work / "runs" / name / "run.json").is_file():
                    _say(f"[{time.monotonic() - began:5.0f} s] training {name}")
                    train(data, work / "runs" / name, settings_of(name, settings), names)
            make_bundle(work, row.bundle, plan, plan_steps)
            _say(f"[{time.monotonic() - began:5.0f} s] table {table}: {row.label}")
            found = measure(work, row, plan, plan_steps, data, limit, provider)
            results[table][row.label] = {"published": row.published, **found}
            write_json(work / "ablation.json", {"asked": asked, "tables": results})
            write_text(work / "ablation.md", markdown(results, _header(asked)))
    if "noise" in results:
        curve(results["noise"], values, work / "ablation.png")
    click.echo(markdown(results, _header(asked)))


if __name__ == "__main__":
    run(main)
