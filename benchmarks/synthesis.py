"""What generated pairs measure and whether they help: generators, pairs, and heads trained on them and on baselines.

    python benchmarks/synthesis.py --out WORK [--data DATA] [--defects filter_cloth/hole,filter_cloth/stain]
        [--steps 600] [--count 500] [--heads --head-steps 600 --seeds 3]

Without --data the demo set is drawn. A third of each defect's pairs trains the generator, the rest tests the heads.
Heads are trained on good pictures and, in turn, on:

- `real`: that third alone, no synthetic data;
- `crop_paste`: its defects pasted into good pictures (Lin et al. 2021), as many pairs a defect as are generated;
- `cut_paste`, `noise_texture`: defects that no real pair is needed for (CutPaste, DRAEM), as many a category as are
  generated; they know no kinds of defects, so they have no accuracy;
- `dual`: the generated pairs; `dual_all`: as many without the rejection of faint ones, whose defect cannot be told from
  what is good; with `+real` the real third too.

WORK keeps everything and is taken up again; WORK/synthesis.json and synthesis.md hold the figures, WORK/sheets/ the
contact sheets: real training pairs first, then generated ones.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click
import numpy as np

from edge_ad.dataset import load_dataset
from edge_ad.errors import EdgeAdError
from edge_ad.files import write_json, write_text
from edge_ad.images import read_image, read_mask, write_image
from edge_ad.training.dual.generate import GenerateSettings, Places, generate
from edge_ad.training.dual.generator import load_generator
from edge_ad.training.dual.pairs import defect_samples, first_third
from edge_ad.training.dual.sample import Sampling, Start
from edge_ad.training.dual.score import score
from edge_ad.training.dual.sheet import contact_sheet, outlined
from edge_ad.training.dual.start import crop_paste
from edge_ad.training.dual.train import DualSettings, default_settings, train_generator
from edge_ad.training.heads.baselines import write_pasted
from edge_ad.training.heads.folder import load_heads
from edge_ad.training.heads.measure import METRICS, measure_heads
from edge_ad.training.heads.train import HeadSettings, HeadTuning, train_heads
from edge_ad.training.pretrain.draw.demo import write_demo_set
from edge_ad.training.quiet import quiet_libraries

ACROSS = 8
UNSORTED = "dual_all"
SOURCES = ("real", "crop_paste", "cut_paste", "noise_texture", "dual", "dual+real", UNSORTED)
PASTED = ("cut_paste", "noise_texture")


def one_defect(data: Path, work: Path, name: str, settings: DualSettings, drawing: GenerateSettings) -> dict:
    """Train (or take up), generate and score one "category/defect": the figures, seconds of training and of drawing."""
    category, defect = name.split("/")
    gen = work / "generators" / category / defect
    made = work / "pairs" / ("dual" if drawing.rules.visible else UNSORTED)
    began = time.monotonic()
    if not (gen / "generator.json").is_file():
        train_generator(data, gen, category, defect, settings)
    trained = time.monotonic()
    places = Places(made, category, defect)
    try:
        counts = generate(gen, made, drawing)["counts"]
    except EdgeAdError as error:  # too many were rejected: that is a figure too
        click.echo(str(error), err=True)
        counts = json.loads(places.manifest.read_text(encoding="utf-8"))["counts"]
    drawn = time.monotonic()
    generator = load_generator(gen)
    numbers = sorted(int(path.stem) for path in places.image(0).parent.glob("*.png"))[:ACROSS]
    columns = [(pair.image, pair.mask) for pair in generator.pairs()][:ACROSS]
    for number in numbers:
        picture = read_image(places.image(number))
        columns.append((picture, read_mask(places.mask(number), picture.shape[:2])))
    sheet = contact_sheet([[picture, outlined(picture, mask)] for picture, mask in columns], across=len(columns))
    write_image(work / "sheets" / f"{category}-{defect}{'' if drawing.rules.visible else '-all'}.png", sheet)
    return {
        **(score(made, gen)[name] if counts["accepted"] else {}),
        "training_pairs": len(generator.trained_on),
        "counts": counts,
        "seconds_of_training": trained - began,
        "seconds_of_drawing": drawn - trained,
    }


def write_baselines(data: Path, work: Path, names: list[str], count: int, size: int) -> None:
    """The real training pairs, crop-and-paste pairs, and pasted pairs, as data sets in WORK/pairs/."""
    found, pairs = load_dataset(data, need_test=True), work / "pairs"
    for name in names:
        category, defect = name.split("/")
        for sample in first_third(defect_samples(found[category], defect))[0]:
            for source, folder in ((sample.path, "test"), (sample.mask, "ground_truth")):
                place = pairs / "real" / category / folder / defect / source.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
        generator = load_generator(work / "generators" / category / defect)
        real, good, places = generator.pairs(), generator.good(), Places(pairs / "crop_paste", category, defect)
        for number in range(count):
            if not places.image(number).is_file():
                rng = np.random.default_rng([0, number, 32])
                pair, picture = real[int(rng.integers(len(real)))], good[int(rng.integers(len(good)))]
                made, mask = crop_paste(picture, pair, rng, anywhere=generator.texture)
                write_image(places.mask(number), mask)
                write_image(places.image(number), made)
    defects = defaultdict(int)
    for name in names:
        defects[name.split("/")[0]] += 1
    for category, kinds in defects.items():
        for kind in PASTED:
            write_pasted(data, category, kind, pairs / kind, count * kinds, size=size)


def train_and_measure(data: Path, work: Path, source: str, names: list[str], settings: HeadSettings) -> dict:
    """Heads of one source and seed: `measure_heads` on the pictures that trained nothing; empty without pairs."""
    folders = [work / "pairs" / part for part in source.split("+")]
    if not all(any(folder.glob("*/test/*/*.*")) for folder in folders):
        return {}  # every drawing was rejected
    out = work / "heads" / source / str(settings.seed)
    if not (out / "heads.json").is_file():
        train_heads(folders, out, settings, good=data)
    heads = load_heads(out)
    if source in PASTED:  # their "kinds" are not kinds of defects
        heads = replace(heads, classified=False)
    return measure_heads(heads, data, rest=True, only=[tuple(name.split("/")) for name in names])


def table(results: dict[str, dict]) -> str:
    """Markdown, a row a defect."""
    lines = [
        "| defect | training pairs | drawn | rejected | IC-LPIPS | nearest training | alignment | of real pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in results.items():
        drawn = sum(entry["counts"].values())
        figures = [entry.get(key) for key in ("ic_lpips", "nearest", "alignment", "alignment_real")]
        cells = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        rejected = f"{100 * (1 - entry['counts']['accepted'] / drawn):.0f} %"
        lines.append(f"| {name} | {entry['training_pairs']} | {drawn} | {rejected} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def downstream_table(heads: dict[str, dict[str, dict]]) -> str:
    """Markdown, a row a category and source: mean ± standard deviation over seeds, in per cent."""
    head = " | ".join(metric.replace("_", " ") for metric in METRICS)
    lines = [f"| category | trained on | seeds | {head} |", "|---" * (3 + len(METRICS)) + "|"]
    names = sorted({name for runs in heads.values() for run in runs.values() for name in run} - {"mean"})
    for category in [*names, "mean"] if len(names) > 1 else names:
        for source, runs in heads.items():
            cells = []
            for metric in METRICS:
                found = [run.get(category, {}).get(metric) for run in runs.values()]
                values = [100 * value for value in found if value is not None]
                cells.append(f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else "-")
            lines.append(f"| {category} | {source} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Data set with masks; the demo set by default.")
@click.option("--defects", help="category/defect, separated by commas; all by default.")
@click.option("--base", default="nano", show_default=True)
@click.option("--steps", type=int)
@click.option("--batch", type=int)
@click.option("--views", type=int)
@click.option("--saim", type=click.Choice(["identity", "plain"]), default="identity", show_default=True)
@click.option("--background", is_flag=True, help="Background compensation.")
@click.option("--count", default=24, show_default=True, help="Pairs a defect.")
@click.option("--sampling-steps", default=50, show_default=True)
@click.option("--solver", default="ddim", show_default=True)
@click.option("--start", type=click.Choice(get_args(Start)), default="mean", show_default=True)
@click.option("--strength", default=1.0, show_default=True)
@click.option("--cfg", type=float)
@click.option("--tries", default=4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--heads", "with_heads", is_flag=True, help="Also train and measure heads.")
@click.option("--head-steps", default=600, show_default=True)
@click.option("--head-batch", default=16, show_default=True)
@click.option("--seeds", default=3, show_default=True, help="Seeds of the heads.")
@click.option("--sources", default=",".join(SOURCES), show_default=True)
def main(
    out: Path, data: Path | None, defects: str | None, base: str, steps: int | None, batch: int | None,
    views: int | None, saim: str, background: bool, count: int, sampling_steps: int, solver: str, start: str,
    strength: float, cfg: float | None, tries: int, seed: int, with_heads: bool, head_steps: int, head_batch: int,
    seeds: int, sources: str,
) -> None:  # fmt: skip
    """Measure generators, and heads trained on what they draw."""
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
    settings = replace(default_settings(base, background), seed=seed)
    given = {name: value for name, value in (("steps", steps), ("batch", batch), ("views", views)) if value is not None}
    settings = replace(settings, tuning=replace(settings.tuning, **given), shape=replace(settings.shape, saim=saim))
    sampling = Sampling(
        steps=sampling_steps, solver=solver, cfg=settings.cfg if cfg is None else cfg, seed=seed, start=start,
        strength=strength,
    )  # fmt: skip
    results: dict[str, dict] = {}
    stored: dict = {"settings": {"dual": str(settings), "sampling": str(sampling), "count": count}, "pairs": results}

    def keep() -> None:
        text = table(results) + ("\n" + downstream_table(stored["heads"]) if "heads" in stored else "")
        write_json(out / "synthesis.json", stored)
        write_text(out / "synthesis.md", text)
        click.echo(text)

    wanted = sources.split(",")
    for name in names:
        drawing = GenerateSettings(count=count, sampling=sampling, tries=tries)
        results[name] = one_defect(data, out, name, settings, drawing)
        if UNSORTED in wanted:
            every = replace(drawing, rules=replace(drawing.rules, visible=0.0))
            results[f"{name}, faint ones too"] = one_defect(data, out, name, settings, every)
        keep()
    if with_heads:
        size = load_generator(out / "generators" / names[0]).image_size
        write_baselines(data, out, names, count, size)
        tuning = HeadTuning(steps=head_steps, batch=head_batch)
        heads: dict[str, dict[str, dict]] = stored.setdefault("heads", {})
        for head_seed in range(seeds):
            for source in wanted:
                chosen = HeadSettings(image_size=size, segmenter=tuning, classifier=tuning, seed=head_seed)
                if source in PASTED:
                    chosen = replace(chosen, classifier=replace(tuning, steps=0))
                heads.setdefault(source, {})[str(head_seed)] = train_and_measure(data, out, source, names, chosen)
                keep()


if __name__ == "__main__":
    main()
