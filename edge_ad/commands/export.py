"""edge-ad export: a training run to a bundle, or a bundle to one of another precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_ad.commands._options import FloatRange

_OF_A_RUN = (
    "size", "plans", "noise_strength", "steps", "solver", "noise_draws", "perceptual", "features", "rotations",
    "bank_size",
)  # fmt: skip


@click.command(name="export", short_help="Fuse a training run and write it as a bundle of ONNX graphs.")
@click.argument("source", metavar="RUN|BUNDLE", type=click.Path(path_type=Path))
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
@click.option("--plan", "plans", default="grouped,paper", show_default=True,
              help="Plans, comma-separated; first is default. grouped-2 is grouped with 2 steps.")  # fmt: skip
@click.option("--lambda", "noise_strength", default=0.4, show_default=True, type=FloatRange(0, 1, min_open=True),
              help="Noise strength: where denoising starts, 1 is pure noise.")  # fmt: skip
@click.option("--steps", default=4, show_default=True, type=click.IntRange(1, 1000), help="Steps of the plan grouped.")
@click.option("--solver", type=click.Choice(["ddim", "dpmsolver++", "unipc"]), default="ddim", show_default=True)
@click.option("--noise-draws", default=1, show_default=True, type=click.IntRange(1),
              help="Inpaintings of every mask that grouped plans average, each from other noise.")  # fmt: skip
@click.option("--lpips", "perceptual", type=click.Choice(["alexnet", "stlpips"]), default=None,
              help="Perceptual network of the score; the best one installed if not given.")  # fmt: skip
@click.option("--features", type=click.Choice(["pair", "unit", "paper"]), default=None,
              help="Features of the prototypes: eq. 12; unit length a stage, on a larger picture; or two networks "
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
@click.option("--data", type=click.Path(path_type=Path),
              help="For int8 and fp8: pictures to measure layers and compare with.")  # fmt: skip
@click.option("--layout", type=click.Choice(["cpu", "tensorrt"]), default=None,
              help="Whose Q/DQ nodes; tensorrt where engines are built or for fp8, else cpu.")  # fmt: skip
@click.option("--graphs", default="encoder,denoiser,decoder", show_default=True, help="Graphs to quantize.")
@click.option("--clip", type=click.Choice(["minmax", "percentile", "mse"]), default="mse", show_default=True,
              help="How ranges of activations are cut.")  # fmt: skip
@click.option("--layer-error", default=0.02, show_default=True, type=FloatRange(0, min_open=True),
              help="Relative error of a graph above which its costliest layers are left as they are.")  # fmt: skip
@click.option("--least-correlation", default=0.98, show_default=True, type=FloatRange(0, 1),
              help="Of score maps with fp32; below it nothing is written.")  # fmt: skip
@click.option("--most-auroc-loss", default=0.02, show_default=True, type=FloatRange(0, 1),
              help="Of image AUROC against fp32; past it nothing is written.")  # fmt: skip
@click.option("--check-images", default=6, show_default=True, type=click.IntRange(2),
              help="Good and bad pictures a category to compare with.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads of these measurements.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder for these measurements.  [default: OUT-quantization]")  # fmt: skip
@click.pass_context
def command(
    context: click.Context,
    /,
    source: Path,
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
    noise_draws: int,
    perceptual: str | None,
    features: str | None,
    rotations: str,
    bank_size: int,
    **quantization: Any,
) -> None:
    """Fuse the training run in folder RUN and write it as a bundle: ONNX graphs, prompts, prototypes, manifest.

    Runs every graph against PyTorch's numbers, then builds the engines that --target names.

    A BUNDLE with fp32 graphs, folder or .tar, is written again in --precision fp16, int8 or fp8; the latter two take
    the activation ranges that edge-ad calibrate --ranges put into it, and compare with fp32 on the pictures of --data.
    """
    from edge_ad.errors import OptionError
    from edge_ad.runtime.engines.library import parse_capabilities

    asked = {
        "targets": tuple(name.strip() for part in targets for name in part.split(",") if name.strip()),
        "capabilities": parse_capabilities(capabilities),
        "max_batch": max_batch,
    }
    if source.is_file() or (source / "manifest.json").is_file():
        _refuse(context, _OF_A_RUN, "is for a RUN; a BUNDLE keeps its own")
        _requantize(source, out, precision, asked, quantization)
        return
    if precision not in ("int8", "fp8"):  # what these need, the export itself says
        _refuse(context, tuple(quantization), "is for a BUNDLE; leave it out")

    try:
        angles = None if rotations == "auto" else tuple(float(angle) for angle in rotations.split(","))
    except ValueError as error:
        raise OptionError(f'--rotations "{rotations}" must be degrees with commas, such as 0,90, or auto') from error
    from edge_ad.export.pipeline import export_run
    from edge_ad.training.quiet import quiet_libraries

    quiet_libraries()
    export_run(
        source,
        out,
        log=lambda line: click.echo(line, err=True),
        **asked,
        size=size,
        precision=precision,
        plans=tuple(name.strip() for name in plans.split(",") if name.strip()),
        noise_strength=noise_strength,
        steps=steps,
        solver=solver,
        noise_draws=noise_draws,
        perceptual=perceptual,
        features=features,
        rotations=angles,
        bank_size=bank_size,
    )
    click.echo(out)


def _refuse(context: click.Context, names: tuple[str, ...], why: str) -> None:
    """OptionError for the first of these options that was given on the command line."""
    from click.core import ParameterSource

    from edge_ad.errors import OptionError

    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise OptionError(f"{option.opts[0]} {why}")


def _requantize(source: Path, out: Path, precision: str, asked: dict[str, Any], options: dict[str, Any]) -> None:
    """Write a bundle again in another precision."""
    from edge_ad.bundle_files import Bundle
    from edge_ad.dataset import category_names, load_dataset
    from edge_ad.errors import OptionError
    from edge_ad.export.quantize import quantize_bundle
    from edge_ad.export.quantize_options import QuantizeOptions
    from edge_ad.shared_categories import shared_categories

    if precision == "fp32":
        raise OptionError(
            f'"{source}" is a bundle already; give --precision fp16, int8 or fp8 to write it again in that'
        )
    data, work = options.pop("data"), options.pop("work")
    dataset = None
    if data is not None:
        with Bundle.open(source) as bundle:
            known = bundle.manifest.categories
        dataset = load_dataset(data, shared_categories(None, category_names(data), known, data, source))
    graphs = tuple(name.strip() for name in options.pop("graphs").split(",") if name.strip())
    images = options.pop("check_images")
    chosen = QuantizeOptions(precision=precision, graphs=graphs, images=images, **asked, **options)  # type: ignore[arg-type]
    work = work or out.resolve().with_name(f"{out.resolve().name}-quantization")
    quantize_bundle(source, out, dataset, chosen, work, log=lambda line: click.echo(line, err=True))
    click.echo(out)
