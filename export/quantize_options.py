"""How a bundle is quantized, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from edge_ad.bundle import Manifest
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.histogram import CLIPS
from edge_ad.calibration.ranges import bundle_ranges, check_ranges
from edge_ad.errors import BundleError, OptionError
from edge_ad.export.quantize_scheme import Layout
from edge_ad.export.targets import engine_options
from edge_ad.runtime.engines.library import Capability, capability_text
from edge_ad.runtime.engines.make import EngineOptions

#: The graphs that other precisions are made of; distances and scores stay in fp32.
GRAPHS = ("encoder", "denoiser", "decoder")
#: Others that can be asked for.
POSSIBLE = (*GRAPHS, "features")
#: Compute capability from which cards multiply in FP8 (Ada Lovelace).
FP8_SINCE = (8, 9)


@dataclass(frozen=True)
class QuantizeOptions:
    """How a bundle is quantized.

    layout: whose Q/DQ pairs, None for what `targets` need. graphs: among `POSSIBLE`. clip: how ranges are cut, one of
    `CLIPS`. layer_error: the largest relative error of a graph's output; layers are left as they are until it is kept.
    least_correlation, most_auroc_loss: of score maps and image AUROC against fp32, or nothing is written. images: good
    and bad pictures a category to compare with. plan: to measure layers with, None for the default. targets,
    capabilities, max_batch: as in `edge_ad.export.pipeline.ExportOptions`.
    """

    precision: Literal["fp16", "int8", "fp8"]
    layout: Layout | None = None
    graphs: tuple[str, ...] = GRAPHS
    clip: str = "mse"
    layer_error: float = 0.02
    least_correlation: float = 0.98
    most_auroc_loss: float = 0.02
    images: int = 6
    plan: str | None = None
    threads: int | None = None
    targets: tuple[str, ...] = ("onnx",)
    capabilities: tuple[Capability, ...] = ()
    max_batch: int = 1


def checked_options(options: QuantizeOptions) -> tuple[QuantizeOptions, list[EngineOptions]]:
    """The options with the layout filled in, and the engines to build. OptionError for what cannot be combined."""
    if unknown := sorted(set(options.graphs) - set(POSSIBLE)):
        raise OptionError(f'--graphs "{unknown[0]}" cannot be quantized; use some of {", ".join(POSSIBLE)}')
    if options.clip not in CLIPS:
        raise OptionError(f'--clip "{options.clip}" is not known; use one of {", ".join(CLIPS)}')
    if not options.graphs:
        raise OptionError(f"--graphs names none; use some of {', '.join(POSSIBLE)}")
    if options.precision == "fp16" and "features" in options.graphs:
        raise OptionError("--graphs features: features stay in fp32 with --precision fp16; leave them out")
    cards = set(options.targets) - {"onnx"}
    layout: Layout = options.layout or ("tensorrt" if cards or options.precision != "int8" else "cpu")
    if layout == "cpu" and (cards or options.precision != "int8"):
        what = f"--target {sorted(cards)[0]}" if cards else f"--precision {options.precision}"
        raise OptionError(
            f"--layout cpu is for int8 on ONNX Runtime's processor kernels; {what} needs --layout tensorrt"
        )
    engines = engine_options(options.targets, options.capabilities, options.max_batch)
    if options.precision == "fp8" and (old := [c for one in engines for c in one.capabilities if c < FP8_SINCE]):
        raise OptionError(
            f"--precision fp8 needs compute capability {capability_text(FP8_SINCE)} or later, not "
            f"{capability_text(old[0])}; use int8 or fp16 there"
        )
    return replace(options, layout=layout), engines


def check_source(bundle: Bundle, options: QuantizeOptions, log: Callable[[str], None]) -> None:
    """Refuse a bundle whose graphs are not fp32 (OptionError), or that lacks the ranges needed (BundleError).

    log: is told of ranges that do not say what they are of.
    """
    for name in options.graphs:
        has = bundle.graph(name).precision
        if has != "fp32":
            raise OptionError(
                f'the graph {name} of "{bundle.source}" is {has}; other precisions are made of fp32 graphs: give the '
                "bundle that it was made of"
            )
        if options.precision != "fp16":
            bundle_ranges(bundle, name, options.clip)
    if options.precision != "fp16" and bundle.plan(options.plan)[0] not in bundle.manifest.ranges:
        raise BundleError(
            f'"{bundle.source}" has no activation ranges of plan {bundle.plan(options.plan)[0]}, but of '
            f"{', '.join(bundle.manifest.ranges)}; run edge-ad calibrate with --ranges --plan"
        )
    if options.precision != "fp16":
        check_ranges(bundle, log)


def compared_plans(manifest: Manifest, plan: str | None) -> list[str]:
    """The plans to compare with fp32 under: `plan` (None: the default), and the others that ranges were taken under."""
    ranged = [name for name in manifest.ranges if name in manifest.plans]
    return list(dict.fromkeys([plan or manifest.default_plan, *ranged]))


def layout_of(options: QuantizeOptions) -> Layout:
    """The layout of options that `checked_options` returned."""
    assert options.layout is not None
    return options.layout
