"""How fast a generator draws: PyTorch with both branches' LoRA as they were trained, beside its exported graphs.

    python benchmarks/drawing.py GEN --providers torch,cpu,openvino [--pairs 4] [--steps 10] [--cfg 1] [--repeats 5]

GEN is a generator that `edge-ad synthesize export` has exported. The ways to draw take turns, so that a busy machine is
busy for all of them. Medians and quartiles in seconds a pair, ratios to the first provider's median, and how far the
pictures lie from the first one's, in levels of 255.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from script import run, say

from edge_ad.training.dual.exported import GraphPainter
from edge_ad.training.dual.generator import load_generator, load_model
from edge_ad.training.dual.sample import Painter, Sampling, TorchPainter, draw
from edge_ad.training.dual.start import make_start
from edge_ad.training.machine import find_device
from edge_ad.training.quiet import quiet_libraries


@click.command()
@click.argument("gen", type=click.Path(path_type=Path))
@click.option("--providers", default="torch,cpu,openvino", show_default=True)
@click.option("--pairs", default=4, show_default=True, type=click.IntRange(min=1), help="Drawn in one batch.")
@click.option("--steps", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--solver", default="dpmsolver++", show_default=True)
@click.option("--cfg", default=1.0, show_default=True)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(min=1))
def main(gen: Path, providers: str, pairs: int, steps: int, solver: str, cfg: float, repeats: int) -> None:
    """Time the ways to draw with the generator GEN."""
    quiet_libraries()
    generator = load_generator(gen)
    base, model = load_model(generator, find_device("auto"))
    painters: dict[str, Painter] = {
        name: TorchPainter(base, model, generator.prompts) if name == "torch" else GraphPainter(generator, name)
        for name in providers.split(",")
    }
    sampling = Sampling(steps=steps, solver=solver, cfg=cfg)
    begin, numbers = make_start(generator, base, sampling), list(range(pairs))
    seconds: dict[str, list[float]] = {name: [] for name in painters}
    drawn = {name: draw(base, painter, numbers, sampling, begin=begin) for name, painter in painters.items()}
    for repeat in range(repeats):
        for name, painter in painters.items():
            began = time.perf_counter()
            draw(base, painter, numbers, sampling, begin=begin)
            seconds[name].append((time.perf_counter() - began) / pairs)
        say(f"repeat {repeat + 1} of {repeats}")
    first = next(iter(painters))
    click.echo(f"| provider | s a pair | ÷ {first} | mean difference | largest |\n|---|---|---|---|---|")
    for name, values in seconds.items():
        low, middle, high = np.percentile(values, (25, 50, 75))
        pictures = [np.concatenate([one.pictures, one.parts]).astype(int) for one in (drawn[name], drawn[first])]
        away = abs(pictures[0] - pictures[1])
        ratio = np.median(seconds[first]) / middle
        click.echo(f"| {name} | {middle:.2f} ({low:.2f}-{high:.2f}) | {ratio:.2f} | {away.mean():.2f} | {away.max()} |")


if __name__ == "__main__":
    run(main)
