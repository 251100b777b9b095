"""edge-ad export: a training run to a bundle."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="export", short_help="Fuse a training run and write it as a bundle of ONNX graphs.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Bundle folder to write, whole or not at all."
)
@click.option("--target", "targets", multiple=True, default=("onnx",), show_default=True, metavar="NAME,…",
              help="What to build: onnx (always), trt-rtx, tensorrt.")  # fmt: skip
@click.option("--sm", "capabilities", multiple=True, metavar="X.Y,…",
              help="Compute capabilities for trt-rtx, such as 8.6,8.9; this machine's card if not given.")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8", "fp8"]), default="fp32", show_default=True)
@click.option("--size", type=int, default=None, help="Side in px; must be the run's, which it is if not given.")
@click.option("--max-batch", default=1, show_default=True, type=click.IntRange(1),
              help="Images that share a batch of an engine.")  # fmt: skip
@click.option(
    "--plan", "plans", default="grouped,paper", show_default=True, help="Plans, comma-separated; first is default."
)
@click.option("--lambda", "noise_strength", default=0.4, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Noise strength: where denoising starts, 1 is pure noise.")  # fmt: skip
@click.option("--steps", default=4, show_default=True, type=click.IntRange(1, 1000), help="Steps of the grouped plan.")
@click.option("--solver", type=click.Choice(["ddim", "dpmsolver++", "unipc"]), default="ddim", show_default=True)
@click.option("--lpips", "perceptual", type=click.Choice(["alexnet", "stlpips"]), default=None,
              help="Perceptual network of the score; the best one installed if not given.")  # fmt: skip
@click.option("--features", type=click.Choice(["pair", "unit", "paper"]), default=None,
              help="Features of the prototypes: eq. 12; unit length a stage, on a larger picture; or a pair of networks "
                   "so. The best that the base has if not given.")  # fmt: skip
@click.option(
    "--rotations",
    default="auto",
    show_default=True,
    help="Degrees the shots are turned for the prototypes; auto: quarter turns, or every 45 for what lies freely.",
)
@click.option(
    "--bank-size", default=4096, show_default=True, type=click.IntRange(1), help="Prototypes of a category at most."
)
def command(
    run: Path,
    out: Path,
    targets: tuple[str, ...],
    capabilities: tuple[str, ...],
    precision: str,
    size: int | None,
    max_batch: int,
    plans: str,
    noise_strength: float,
    steps: int,
    solver: str,
    perceptual: str | None,
    features: str | None,
    rotations: str,
    bank_size: int,
) -> None:
    """Fuse the training run in folder RUN and write it as a bundle: ONNX graphs, prompts, prototypes, manifest.

    Runs every graph against PyTorch's numbers, then builds the engines that --target names.
    """
    from edge_ad.errors import OptionError

    try:
        angles = None if rotations == "auto" else tuple(float(angle) for angle in rotations.split(","))
    except ValueError as error:
        raise OptionError(f'--rotations "{rotations}" must be degrees with commas, such as 0,90, or auto') from error
    from edge_ad.export.pipeline import export_run
    from edge_ad.runtime.engines.library import parse_capabilities
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    export_run(
        run,
        out,
        log=lambda line: click.echo(line, err=True),
        targets=tuple(name.strip() for part in targets for name in part.split(",") if name.strip()),
        capabilities=parse_capabilities(capabilities),
        size=size,
        max_batch=max_batch,
        precision=precision,
        plans=tuple(name.strip() for name in plans.split(",") if name.strip()),
        noise_strength=noise_strength,
        steps=steps,
        solver=solver,
        perceptual=perceptual,
        features=features,
        rotations=angles,
        bank_size=bank_size,
    )
    click.echo(out)
