"""`edge-ad synthesize`: learn a defect from a few image-mask pairs, generate more of them, and score them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import FloatRange


@click.group()
def command() -> None:
    """Learn a defect from a few image-mask pairs and generate more (DualAnoDiff)."""


@command.command("train")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--category", required=True, help="The product: a category of DATA.")
@click.option("--defect", required=True, help="The kind of defect: a folder in the category's test/.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the generator.")
@click.option("--base", default="nano", show_default=True, help="nano, a diffusers folder, or a hub id (owner/name).")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps; 5000, nano 600.")
@click.option("--batch", type=click.IntRange(min=1), help="Pairs a step; 4, with --background 2 (nano 4).")
@click.option("--lr", type=FloatRange(min=0, min_open=True), help="AdamW's learning rate; 2e-5, nano 1e-3.")
@click.option("--views", type=click.IntRange(min=1), help="Augmented views of the pairs; 200, nano 96.")
@click.option("--rank", type=click.IntRange(min=1), help="Rank of the LoRA matrices; 32.")
@click.option("--targets", help="UNet layers that carry LoRA, separated by commas; attention, nano also convolutions.")
@click.option("--saim", type=click.Choice(["identity", "plain"]), default="identity", show_default=True,
              help="How the layers that join the branches start.")  # fmt: skip
@click.option("--background", is_flag=True, help="Background compensation: for objects before a background.")
@click.option("--names", is_flag=True, help='Prompts "a CATEGORY with DEFECT", not "a vfx with sks".')
@click.option("--categories-file", type=click.Path(path_type=Path), help="Your category table (TOML); docs/train.md.")
@click.option("--size", type=click.IntRange(min=64), help="Image side in px; the base's by default.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--mixed-precision", type=click.Choice(["auto", "no", "bf16", "fp16"]), default="auto", show_default=True)
@click.option("--accumulate", default=1, show_default=True, type=click.IntRange(min=1),
              help="Parts a batch is split into.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def train_command(
    data: Path, category: str, defect: str, out: Path, base: str, rank: int | None, targets: str | None, saim: Any,
    background: bool, names: bool, categories_file: Path | None, size: int | None, device: str, seed: int,
    steps: int | None, batch: int | None, lr: float | None, views: int | None, mixed_precision: Any, accumulate: int,
) -> None:  # fmt: skip
    """Learn one defect of one product in DATA, from the first third of its pairs.

    DATA has the layout of MVTec AD, with masks in ground_truth/. An interrupted training is taken up again by the same
    command. On several cards, start it with "accelerate launch --multi_gpu -m edge_ad synthesize train".
    """
    from dataclasses import replace

    from edge_ad.training.dual.train import default_settings, train_generator
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    settings = default_settings(base, background)
    given: dict[str, Any] = {"steps": steps, "batch": batch, "learning_rate": lr, "views": views}
    tuning = replace(settings.tuning, **{name: value for name, value in given.items() if value is not None})
    shape = replace(settings.shape, saim=saim, rank=rank or settings.shape.rank)
    if targets:
        shape = replace(shape, targets=tuple(name.strip() for name in targets.split(",") if name.strip()))
    settings = replace(
        settings, shape=shape, tuning=tuning, categories_file=categories_file, image_size=size, device=device,
        mixed_precision=mixed_precision, accumulate=accumulate, seed=seed,
    )  # fmt: skip
    if names:
        product, kind = category.replace("_", " "), defect.replace("_", " ")
        settings = replace(settings, prompts=(f"a {product} with {kind}", kind))
    train_generator(data, out, category, defect, settings)
    if os.environ.get("RANK", "0") == "0":  # of several processes the main one speaks
        click.echo(f"generator: {out}")
        click.echo(f"next: edge-ad synthesize generate {out} --count 500 --out DIR")


@command.command("generate")
@click.argument("gen", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Data set to write, or to add to.")
@click.option("--count", default=500, show_default=True, type=click.IntRange(min=1), help="Accepted pairs.")
@click.option("--steps", default=50, show_default=True, type=click.IntRange(1, 1000), help="Steps of the solver.")
@click.option("--solver", type=click.Choice(["ddim", "dpmsolver++", "unipc"]), default="ddim", show_default=True)
@click.option("--cfg", type=FloatRange(min=1), help="Guidance scale; the generator's own by default, 1 is none.")
@click.option("--start", type=click.Choice(["mean", "noise", "good", "paste"]), default="mean", show_default=True,
              help="What the first noise covers: the training pairs' mean colour, nothing (as in the paper), a good "
              "picture, or one with a real defect pasted in.")  # fmt: skip
@click.option(
    "--strength",
    type=FloatRange(0, 1, min_open=True),
    help="Share of the noise schedule that is run; 1, and 0.6 from a good picture, whose outline it keeps.",
)
@click.option(
    "--masks",
    type=click.Choice(["threshold", "attention", "u2net", "sam"]),
    default="threshold",
    show_default=True,
    help="From the anomaly part, from cross-attention, by U²-Net (rembg), or by SAM.",
)
@click.option("--sam", "sam_model", default="facebook/sam-vit-base", show_default=True,
              help="Folder or hub id of a Segment Anything model, for --masks sam.")  # fmt: skip
@click.option("--visible", default=0.7, show_default=True, type=FloatRange(0, 1),
              help="Mask alignment that a pair must have, so that its defect can be seen; 0 asks nothing.")  # fmt: skip
@click.option("--batch", default=4, show_default=True, type=click.IntRange(min=1), help="Pairs drawn at once.")
@click.option("--tries", default=4, show_default=True, type=click.IntRange(min=1),
              help="Drawings at most for each pair that is asked for.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--provider", default="torch", show_default=True,
              help="torch, or what runs exported graphs: auto, cpu, cuda, openvino, trt-rtx, tensorrt")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def generate_command(
    gen: Path, out: Path, count: int, steps: int, solver: str, cfg: float | None, start: Any, strength: float | None,
    masks: Any, sam_model: str, visible: float, batch: int, tries: int, device: str, provider: str, seed: int,
) -> None:  # fmt: skip
    """Draw pairs of picture and mask with the generator GEN, in the layout of MVTec AD.

    Pairs whose mask is empty, lies off the object or covers it all are rejected and counted. The same seed gives the
    same pairs; the same command goes on where it stopped, and a larger --count adds to what is there.
    """
    from edge_ad.training.dual.generate import GenerateSettings, generate
    from edge_ad.training.dual.generator import load_generator
    from edge_ad.training.dual.masks import MaskRules
    from edge_ad.training.dual.sample import Sampling
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    guidance = load_generator(gen).cfg if cfg is None else cfg
    if strength is None:
        strength = 0.6 if start in ("good", "paste") else 1.0
    sampling = Sampling(steps=steps, solver=solver, cfg=guidance, seed=seed, start=start, strength=strength)
    settings = GenerateSettings(
        count=count, sampling=sampling, batch=batch, masks=masks, sam_model=sam_model, tries=tries, device=device,
        provider=provider, rules=MaskRules(visible=visible),
    )  # fmt: skip
    manifest = generate(gen, out, settings)
    counts = dict(manifest["counts"])
    accepted = counts.pop("accepted")
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts.items()) or "none"
    click.echo(f"{accepted} pairs in {out}; rejected: {reasons}")


@command.command("export")
@click.argument("gen", type=click.Path(path_type=Path))
@click.option("--precision", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True)
@click.option("--target", "targets", multiple=True, default=("onnx",), show_default=True, metavar="NAME,…",
              help="What to build: onnx (always), trt-rtx, tensorrt.")  # fmt: skip
@click.option("--sm", "capabilities", multiple=True, metavar="X.Y,…",
              help="Compute capabilities for trt-rtx, such as 8.6,8.9; this machine's card if not given.")  # fmt: skip
@click.option("--max-batch", "batch", default=4, show_default=True, type=click.IntRange(min=1),
              help="Pairs that share a batch of an engine.")  # fmt: skip
def export_command(
    gen: Path, precision: Any, targets: tuple[str, ...], capabilities: tuple[str, ...], batch: int
) -> None:
    """Write the generator GEN as ONNX graphs, to draw with "edge-ad synthesize generate --provider".

    Each branch's LoRA is fused into weights of its own. Graphs are compared with PyTorch's numbers, then the engines
    that --target names are built. All of it goes into GEN/exported, whole or not at all.
    """
    from edge_ad.export.generator import GeneratorOptions, export_generator
    from edge_ad.runtime.engines.library import parse_capabilities
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    options = GeneratorOptions(
        precision=precision,
        targets=tuple(name.strip() for part in targets for name in part.split(",") if name.strip()),
        capabilities=parse_capabilities(capabilities),
        batch=batch,
    )
    click.echo(export_generator(gen, options, log=lambda line: click.echo(line, err=True)))


@command.command("paste")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--category", required=True, help="The product: a category of DATA with good training pictures.")
@click.option("--kind", type=click.Choice(["cut_paste", "noise_texture", "scratch"]), required=True,
              help="A patch of the picture moved (CutPaste), a region of texture (DRAEM), or a line.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Data set to write, or to add to.")
@click.option("--count", default=500, show_default=True, type=click.IntRange(min=1), help="Pairs.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(min=64), help="Image side in px.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def paste_command(data: Path, category: str, kind: str, out: Path, count: int, size: int, seed: int) -> None:
    """Paste defects into the good training pictures of DATA: pairs without any real defect, for "edge-ad heads"."""
    from edge_ad.training.heads.baselines import write_pasted

    write_pasted(data, category, kind, out, count, size=size, seed=seed)
    click.echo(f"{count} pairs of {category}/{kind} in {out}")


@command.command("score")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--reference", required=True, type=click.Path(path_type=Path),
              help="The generator's folder, or the data set with the real pairs.")  # fmt: skip
@click.option("--size", default=256, show_default=True, type=click.IntRange(min=64), help="Side of comparison in px.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures to this file.")
def score_command(folder: Path, reference: Path, size: int, json_file: Path | None) -> None:
    """Score the pairs in DIR: diversity (IC-LPIPS), distance to the training pictures, and mask alignment."""
    from edge_ad.errors import OptionError
    from edge_ad.files import write_json
    from edge_ad.training.dual.score import score

    if size % 16:
        raise OptionError(f"--size {size} is not a multiple of 16; take 256 or 512")
    result = score(folder, reference, size=size)
    for name, entry in result.items():
        click.echo(f"{name}: {entry['pairs']} pairs against {entry['training_pairs']} training pairs")
        click.echo(f"  IC-LPIPS            {_figure(entry['ic_lpips'])}  (higher: more diverse)")
        click.echo(f"  nearest training    {_figure(entry['nearest'])}  (LPIPS; near 0: copies)")
        click.echo(
            f"  mask alignment      {_figure(entry['alignment'])}  (real pairs {_figure(entry['alignment_real'])})"
        )
    if json_file:
        write_json(json_file, result)


def _figure(value: float | None) -> str:
    return "   -  " if value is None else f"{value:.4f}"
