"""What a user would otherwise write: diffusers' inpainting pipeline, one call a mask, beside the detector.

    python benchmarks/peer_pipeline.py BUNDLE --image part.png --category bottle --json peers.json [--repeats 5]
                                       [--masks 86] [--providers cpu,openvino] [--plans paper,grouped] [--threads 2]
                                       [--bf16] [--torch eager,compile] [--patchcore DATA]

The peers run the base model's own networks in PyTorch on the paper plan's masks of that image, in this process, on a
card where --providers are a card's:

    a  every mask a call, the pipeline's defaults: strength 1, 50 steps, guidance 7.5
    b  as a, without guidance
    c  as b, with strength λ: 20 of the 50 steps at λ = 0.4, the paper's setting
    d  as c, all masks in one batch of one call
    e  as c, in bfloat16 (with --bf16)

The detector runs on each of --providers, and with --torch its default plan also on the very modules that were exported,
in PyTorch. A peer's time holds its inpaintings only: no prototypes and no score, which the detector's time does hold.
With --patchcore, anomalib's PatchCore is a peer too: EfficientNet-Lite0, four good pictures of the category in DATA,
and whole inspections. It needs anomalib beside edge-ad, see anomalib_peers.py.
Repeats are interleaved in a new random order each, after one warm-up. With --masks below the plan's number, a random
subset is timed and scaled to all of them, which is fair as every mask is a call of the same sizes; the table gives both
numbers. Evaluations are counted rows that went through the UNet. A run that is broken off is taken up again from its
JSON. The table is written beside the JSON too, as Markdown.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from edge_ad.bundle_files import Bundle
from edge_ad.dataset import load_dataset
from edge_ad.files import write_json, write_text
from edge_ad.images import read_image, resize_image
from edge_ad.processor import this_processor
from edge_ad.progress import progress
from edge_ad.runtime import Detector
from edge_ad.runtime.costs import bundle_plan_cost
from edge_ad.runtime.masks import upsample
from edge_ad.runtime.plan import scale_masks
from edge_ad.runtime.profile import drawn_image
from edge_ad.runtime.sessions.choose import ON_PROCESSOR
from edge_ad.training.base import load_base
from edge_ad.training.quiet import quiet_libraries

sys.path.insert(0, str(Path(__file__).parent))
from torch_graphs import torch_detector

GUIDANCE, STEPS = 7.5, 50
PATCHCORE, SHOTS = "PatchCore (anomalib), no inpainting", 4


class Peer:
    """diffusers' StableDiffusionInpaintPipeline with a base's networks. evaluations: UNet rows of the last `run`."""

    def __init__(self, base_name: str, dtype: torch.dtype, device: str):
        from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

        base = load_base(base_name)
        self.pipeline = StableDiffusionInpaintPipeline(
            vae=base.vae,
            text_encoder=base.text_encoder,
            tokenizer=base.tokenizer,
            unet=base.unet,
            scheduler=DDIMScheduler.from_config(base.scheduler_config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.to(device, dtype)
        self.pipeline.set_progress_bar_config(disable=True)
        self.evaluations = 0
        self.pipeline.unet.register_forward_pre_hook(self._count)

    def _count(self, module: Any, arguments: tuple[Any, ...]) -> None:
        self.evaluations += len(arguments[0])

    def run(
        self, image: Image.Image, masks: list[Image.Image], prompt: str, strength: float, guidance: float, batched: bool
    ) -> None:
        """Inpaint every mask, one call each or all in one call."""
        self.evaluations = 0
        size = {"height": image.height, "width": image.width}
        settings = {"strength": strength, "num_inference_steps": STEPS, "guidance_scale": guidance, **size}
        generator = torch.Generator().manual_seed(0)
        if batched:
            count = len(masks)
            self.pipeline([prompt] * count, [image] * count, masks, generator=generator, **settings)
            return
        for mask in masks:
            self.pipeline(prompt, image, mask, generator=generator, **settings)


def plan_masks(detector: Detector, image: np.ndarray, category: str) -> list[Image.Image]:
    """The paper plan's masks of an image as pictures, white hidden: every patch, and the prototype-guided one."""
    latent = detector.bundle.manifest.latent_size
    masks = list(scale_masks(detector.plan, latent)[0])
    prototype = detector.evidence(image, category)["prototype_mask"]
    if detector.bundle.category(category).prototypes is not None:
        masks.append(prototype)
    size = detector.image_size
    return [Image.fromarray((upsample(mask[None], size)[0] * 255).astype(np.uint8)) for mask in masks]


def measure(
    rows: dict[str, Callable[[bool], None]], found: dict[str, list[float]], repeats: int, save: Callable[[], None]
) -> None:
    """Time every row until it has `repeats` numbers, interleaved; `found` may hold some already.

    rows: called with True to warm up.
    """
    rng = np.random.default_rng()
    done = min(len(found[name]) for name in rows)
    with progress("Timing", (repeats - done + 1) * len(rows)) as step:
        for name, call in rows.items():
            if done < repeats:
                call(True)
            step(note=f"warm-up {name}")
        for repeat in range(done, repeats):
            for name in rng.permutation(list(rows)):
                if len(found[name]) <= repeat:
                    start = time.perf_counter()
                    rows[name](False)
                    found[name].append(time.perf_counter() - start)
                    save()
                step(note=name)


def table(result: dict[str, Any]) -> str:
    """Markdown: a row a way, and how many times faster each of ours is than each peer."""
    rows = result["rows"]
    ours = [name for name in rows if not rows[name]["peer"]]
    about = result["settings"]
    sampled = about["masks_timed"] < about["masks"]
    measured = f" seconds measured, {about['masks_timed']} masks |" if sampled else ""
    lines = [
        "| way | UNet evaluations | seconds an image, median (spread) |"
        + measured
        + "".join(f" ÷ {name} |" for name in ours),
        "|---|" + "---:|" * (2 + sampled + len(ours)),
    ]
    for name, row in rows.items():
        ratios = [f"{row['seconds'] / rows[other]['seconds']:.2f}" if rows[other]["times"] else "-" for other in ours]
        if sampled:
            ratios.insert(0, f"{statistics.median(row['times']):.2f}" if row["scaled"] and row["times"] else "-")
        spread = f"{row['seconds']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        lines.append(f"| {name} | {row['evaluations']:,} | {spread} | " + " | ".join(ratios) + " |")
    timed, total = about["masks_timed"], about["masks"]
    scaled = (
        f" Peers: {timed} of the {total} masks, drawn at random, were timed and scaled to {total}; each is a call "
        "of the same sizes."
        if sampled
        else ""
    )
    lines.append(
        f"\n{about['repeats']} interleaved repeats, {about['machine']}, {about['threads'] or 'default'} threads, "
        f"PyTorch {about['torch']}, diffusers {about['diffusers']}, {result['date']}.{scaled}"
    )
    return "\n".join(lines)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="A drawn picture if not given.")
@click.option("--category", help="The bundle's first if not given.")
@click.option("--base", help="The peers' base model; the bundle's own if not given.")
@click.option("--masks", "timed", type=click.IntRange(1), default=86, show_default=True, help="Masks timed of a peer.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--providers", default="cpu,openvino", show_default=True, help="What the detector runs on.")
@click.option("--plans", default="all", show_default=True, help="Plans of the bundle, separated by commas.")
@click.option("--torch", "torch_modes", default="", metavar="eager,compile",
              help="Also run the default plan's graphs in PyTorch, so.")  # fmt: skip
@click.option("--patchcore", type=click.Path(path_type=Path), metavar="DATA",
              help="Also time anomalib's PatchCore, fitted to good pictures of this folder.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="CPU threads of every way; the libraries' choice if not given.")
@click.option("--bf16", is_flag=True, help="Time the peer in bfloat16 too.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Where the numbers are kept.")
def main(
    bundle: Path,
    image: Path | None,
    category: str | None,
    base: str | None,
    timed: int,
    repeats: int,
    providers: str,
    plans: str,
    torch_modes: str,
    patchcore: Path | None,
    threads: int | None,
    bf16: bool,
    json_file: Path | None,
) -> None:
    """Time the detector of BUNDLE and its peers on one image."""
    import diffusers

    quiet_libraries()
    if threads:
        torch.set_num_threads(threads)
    opened = Bundle.open(bundle)
    size = opened.manifest.image_size
    category = category or sorted(opened.manifest.categories)[0]
    picture = resize_image(read_image(image), size) if image else drawn_image(size)
    names = [name.strip() for name in providers.split(",")]
    wanted = (
        list(opened.manifest.plans) if plans == "all" else [opened.plan(name.strip())[0] for name in plans.split(",")]
    )
    modes = [mode.strip() for mode in torch_modes.split(",") if mode.strip()]
    on_card = [name for name in names if name not in ON_PROCESSOR]
    if on_card and (len(on_card) < len(names) or modes or patchcore):
        raise click.UsageError(
            f"--providers {on_card[0]}: --torch, --patchcore and a processor's go in a run of their own"
        )
    device = "cuda" if on_card else "cpu"
    if unknown := sorted(set(modes) - {"eager", "compile"}):
        raise click.UsageError(f'--torch "{unknown[0]}" is not known; use eager, compile or both')
    paper = Detector.load(opened, provider=names[0], plan="paper", threads=threads)
    masks = plan_masks(paper, picture, category)
    chosen = sorted(np.random.default_rng(0).permutation(len(masks))[:timed])
    strength = opened.manifest.schedules[opened.plan("paper")[1].schedule].noise_strength
    prompt, original = f"A photo of a perfect {category.replace('_', ' ')}.", Image.fromarray(picture)

    peer = Peer(base or opened.manifest.base.name, torch.float32, device)
    ways = {
        "a: pipeline, defaults": (peer, 1.0, GUIDANCE, False),
        "b: no guidance": (peer, 1.0, 1.0, False),
        "c: no guidance, strength λ": (peer, strength, 1.0, False),
        "d: c, one batch": (peer, strength, 1.0, True),
    }
    if bf16:
        half = Peer(base or opened.manifest.base.name, torch.bfloat16, device)
        ways["e: c, bfloat16"] = (half, strength, 1.0, False)
    rows: dict[str, Callable[[bool], None]] = {}
    evaluations: dict[str, int] = {}
    subset = [masks[i] for i in chosen]

    def peer_call(name: str) -> Callable[[bool], None]:
        def call(warm_up: bool) -> None:
            way, level, guidance, batched = ways[name]
            some = subset[:1] if warm_up else subset
            way.run(original, some, prompt, level, guidance, batched)
            evaluations[name] = round(way.evaluations * len(masks) / len(some))

        return call

    rows |= {name: peer_call(name) for name in ways}

    if patchcore:
        from anomalib_peers import Peer as AnomalibPeer

        fitted = AnomalibPeer("patchcore", load_dataset(patchcore, [category]), SHOTS, seed=0, size=size)
        rows[PATCHCORE] = lambda warm_up: fitted.inspect(picture, category)  # type: ignore[assignment,return-value]

    def ours(name: str, detector: Detector) -> None:
        rows[name] = lambda warm_up: detector.inspect(picture, category)  # type: ignore[assignment,return-value]
        evaluations[name] = bundle_plan_cost(opened, detector.plan_name, category).evaluations

    for provider in names:
        loaded = Detector.load(opened, provider=provider, plan=wanted[0], threads=threads)
        for plan in wanted:
            ours(f"{plan}, {provider} {loaded.precision}", loaded.variant(plan=plan))
    default = opened.manifest.default_plan
    for mode in modes:
        made = torch_detector(opened, default, base or opened.manifest.base.name, compiled=mode == "compile")
        ours(f"{default}, our modules, torch {mode} fp32", made)

    settings = {
        "bundle": str(bundle), "category": category, "image": str(image), "masks": len(masks),
        "masks_timed": len(subset), "lambda": strength, "repeats": repeats, "threads": threads, "rows": list(rows),
        "machine": f"{this_processor()[0]}, {os.cpu_count()} cores",
        "torch": torch.__version__, "diffusers": diffusers.__version__,
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in rows}
    if json_file and json_file.is_file():
        old = json.loads(json_file.read_text(encoding="utf-8"))
        if old["settings"] == settings:
            found = {name: row["times"] for name, row in old["rows"].items()}
            evaluations |= {name: row["evaluations"] for name, row in old["rows"].items()}

    def result() -> dict[str, Any]:
        entries = {}
        for name, times in found.items():
            scale = len(masks) / len(subset) if name in ways else 1
            numbers = [scale * one for one in times] or [float(0)]
            entries[name] = {
                "peer": name in ways or name == PATCHCORE,
                "scaled": name in ways,
                "evaluations": evaluations.get(name, 0),
                "seconds": statistics.median(numbers),
                "low": min(numbers),
                "high": max(numbers),
                "times": times,
            }
        return {"settings": settings, "date": datetime.now(timezone.utc).date().isoformat(), "rows": entries}

    def save() -> None:
        if json_file:
            write_json(json_file, result())
            write_text(json_file.with_suffix(".md"), table(result()) + "\n")

    measure(rows, found, repeats, save)
    click.echo(table(result()))


if __name__ == "__main__":
    main()
