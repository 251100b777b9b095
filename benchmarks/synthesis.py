"""What generated pairs of the demo set look like and measure: train, generate and score one generator a defect.

    python benchmarks/synthesis.py --out WORK [--data DATA] [--defects flange_cover/chip,...] [--steps 600] [--count 24]

Without --data the demo set is drawn. WORK keeps generators and pairs, which are taken up again; WORK/synthesis.json and
synthesis.md hold the figures, WORK/sheets/ the contact sheets: real training pairs first, then generated ones.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from edge_ad.dataset import load_dataset
from edge_ad.files import write_json, write_text
from edge_ad.images import read_image, read_mask, write_image
from edge_ad.training.dual.generate import GenerateSettings, Places, generate
from edge_ad.training.dual.generator import load_generator
from edge_ad.training.dual.sample import Sampling
from edge_ad.training.dual.score import score
from edge_ad.training.dual.sheet import contact_sheet, outlined
from edge_ad.training.dual.train import DualSettings, default_settings, train_generator
from edge_ad.training.pretrain.draw.demo import write_demo_set
from edge_ad.training.quiet import quiet_libraries

ACROSS = 8


def one_defect(data: Path, work: Path, name: str, settings: DualSettings, drawing: GenerateSettings) -> dict:
    """Train (or take up), generate and score one "category/defect": the figures, seconds of training and of drawing."""
    category, defect = name.split("/")
    gen, made = work / "generators" / category / defect, work / "made"
    began = time.monotonic()
    if not (gen / "generator.json").is_file():
        train_generator(data, gen, category, defect, settings)
    trained = time.monotonic()
    counts = generate(gen, made, drawing)["counts"]
    drawn = time.monotonic()
    generator, places = load_generator(gen), Places(made, category, defect)
    numbers = sorted(int(path.stem) for path in places.image(0).parent.glob("*.png"))[:ACROSS]
    columns = [(pair.image, pair.mask) for pair in generator.pairs()][:ACROSS]
    for number in numbers:
        picture = read_image(places.image(number))
        columns.append((picture, read_mask(places.mask(number), picture.shape[:2])))
    sheet = contact_sheet([[picture, outlined(picture, mask)] for picture, mask in columns], across=len(columns))
    write_image(work / "sheets" / f"{category}-{defect}.png", sheet)
    return {
        **score(made, gen)[name],
        "counts": counts,
        "seconds_of_training": trained - began,
        "seconds_of_drawing": drawn - trained,
    }


def table(results: dict[str, dict]) -> str:
    """Markdown, a row a defect."""
    lines = [
        "| defect | training pairs | drawn | rejected | IC-LPIPS | nearest training | alignment | of real pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in results.items():
        drawn = sum(entry["counts"].values())
        figures = [entry[key] for key in ("ic_lpips", "nearest", "alignment", "alignment_real")]
        cells = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        rejected = f"{100 * (1 - entry['counts']['accepted'] / drawn):.0f} %"
        lines.append(f"| {name} | {entry['training_pairs']} | {drawn} | {rejected} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Data set with masks; the demo set by default.")
@click.option("--defects", help="category/defect, separated by commas; all by default.")
@click.option("--base", default="nano", show_default=True)
@click.option("--steps", type=int)
@click.option("--batch", type=int)
@click.option("--saim", type=click.Choice(["identity", "plain"]), default="identity", show_default=True)
@click.option("--count", default=24, show_default=True)
@click.option("--sampling-steps", default=50, show_default=True)
@click.option("--cfg", type=float)
@click.option("--seed", default=0, show_default=True)
def main(
    out: Path, data: Path | None, defects: str | None, base: str, steps: int | None, batch: int | None, saim: str,
    count: int, sampling_steps: int, cfg: float | None, seed: int,
) -> None:  # fmt: skip
    """Measure generators of the demo set's defects."""
    quiet_libraries()
    if data is None:
        data = out / "demo"
        if not data.is_dir():
            write_demo_set(data)
    names = defects.split(",") if defects else [
        f"{category.name}/{defect}"
        for category in load_dataset(data, need_test=True).categories
        for defect in sorted({sample.defect for sample in category.test if sample.is_bad})
    ]  # fmt: skip
    settings = replace(default_settings(base), seed=seed)
    given = {name: value for name, value in (("steps", steps), ("batch", batch)) if value is not None}
    settings = replace(settings, tuning=replace(settings.tuning, **given), shape=replace(settings.shape, saim=saim))
    sampling = Sampling(steps=sampling_steps, cfg=settings.cfg if cfg is None else cfg, seed=seed)
    results: dict[str, dict] = {}
    for name in names:
        results[name] = one_defect(data, out, name, settings, GenerateSettings(count=count, sampling=sampling))
        write_json(out / "synthesis.json", results)
        write_text(out / "synthesis.md", table(results))
        click.echo(table(results))


if __name__ == "__main__":
    main()
