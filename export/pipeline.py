"""A training run to a bundle: fuse, graphs, prompts, prototypes, manifest, and proof that it computes the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from edge_ad import bundle as bundles
from edge_ad.bundle_files import Bundle, write_manifest
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.export.graphs.case import GraphCase
from edge_ad.export.graphs.compose import compose_case
from edge_ad.export.graphs.decoder import decoder_case
from edge_ad.export.graphs.denoiser import denoiser_case
from edge_ad.export.graphs.encoder import encoder_case
from edge_ad.export.graphs.features import features_case
from edge_ad.export.graphs.prepare import prepare_case
from edge_ad.export.graphs.score import score_case
from edge_ad.export.levels import map_levels
from edge_ad.export.memory import row_bytes
from edge_ad.export.onnx import torch_outputs, write_graph, write_reference
from edge_ad.export.prototypes import BANK_SIZE, bank_rotations, category_arrays
from edge_ad.export.targets import engine_options, refuse_foreign
from edge_ad.files import atomic_folder
from edge_ad.images import picture_hash, read_image, resize_image
from edge_ad.runtime.engines.library import Capability
from edge_ad.runtime.engines.make import make_engines
from edge_ad.runtime.plan import PLAN_NAMES, named_plan
from edge_ad.runtime.schedule import make_schedule
from edge_ad.runtime.verify import HALF_TOLERANCE, verify_graphs

# graphs that compute in fp16 when asked to; distances and scores stay in fp32
HALF_GRAPHS = ("encoder", "denoiser", "decoder")
# what `make_schedule` reads of a scheduler's configuration
NOISE = (
    "beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "steps_offset", "set_alpha_to_one",
    "prediction_type",
)  # fmt: skip
Log = Callable[[str], None]


@dataclass(frozen=True)
class Product:
    """One category to export: its prompts, the good pictures its prototypes come from (none: no prototypes), its turn.

    turn: how the product may lie before the camera: "free", "quarter", "small" or "none".
    """

    prompts: Sequence[str]
    shots: Sequence[Path] = ()
    turn: str = "small"


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is made.

    precision of the encoder, denoiser and decoder graphs. plans: as `named_plan` has them, the first is the default.
    noise_strength: λ of eq. 11. steps and solver: of grouped plans whose name says none; the paper's plan always runs
    λ·50 steps of DDIM. noise_draws: of grouped plans, see `Plan`. perceptual: which LPIPS, None for the best one
    installed. rotations: degrees by which shots are turned for the prototype bank of at most bank_size rows; None goes
    by each category's turn (`bank_rotations`). features: "paper" (eq. 12), "unit" or "pair", see
    `edge_ad.training.features`; None for the best of the base. settings: of the training, kept as they are.

    targets: "onnx" always, "trt-rtx" and "tensorrt" besides. capabilities: compute capabilities that trt-rtx builds
    for, empty for this machine's card. max_batch: images that share a batch of an engine. size: refused where it is not
    the run's, None for the run's.
    """

    precision: Literal["fp32", "fp16", "int8", "fp8"] = "fp32"
    plans: tuple[str, ...] = ("grouped", "paper")
    noise_strength: float = 0.4
    steps: int = 4
    solver: str = "ddim"
    noise_draws: int = 1
    perceptual: Literal["alexnet", "stlpips"] | None = None
    rotations: tuple[float, ...] | None = None
    bank_size: int = BANK_SIZE
    features: Literal["pair", "unit", "paper"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ("onnx",)
    capabilities: tuple[Capability, ...] = ()
    max_batch: int = 1
    size: int | None = None


def export_run(run: Path, out: Path, *, log: Log = print, **options: Any) -> Path:
    """Export the run in folder `run` to the bundle folder `out`, replacing one that is there. Returns `out`.

    options: the fields of `ExportOptions`. Nothing is left of a failed export. Raises OptionError for what cannot be
    combined, InputError for a run or base that is not one, BundleError when a graph does not compute what PyTorch does.
    """
    chosen = _checked(ExportOptions(**options))
    refuse_foreign(Path(out))
    from edge_ad.training.base import load_base
    from edge_ad.training.fuse import apply_run
    from edge_ad.training.run import load_run

    loaded = load_run(Path(run))
    if chosen.size not in (None, loaded.image_size):
        raise OptionError(
            f"--size {chosen.size}: the run was trained at {loaded.image_size} px; leave --size out, or train again "
            f"with --size {chosen.size}"
        )
    log(f"base {loaded.base_id}")
    base = load_base(loaded.base_id)
    apply_run(base, loaded)
    if loaded.adapter is not None:
        log("adapter fused")
    base.image_size = loaded.image_size
    products = {name: Product(entry.prompts, entry.shots, entry.turn) for name, entry in loaded.categories.items()}
    return build_bundle(base, products, Path(out), replace(chosen, settings=loaded.settings), log=log)


def build_bundle(
    base: Any, products: Mapping[str, Product], out: Path, options: ExportOptions, *, log: Log = print
) -> Path:
    """Write the bundle of a base (`edge_ad.training.base.Base`, adapter fused already) to the folder `out`.

    With fp16 the base's networks are converted in place. Errors as `export_run`.
    """
    chosen = _checked(options)
    engines = engine_options(chosen.targets, chosen.capabilities, chosen.max_batch)
    refuse_foreign(out)
    if not products:
        raise InputError("there is no category to export; train with --categories or on a data set that has some")
    from edge_ad.training.features import FeatureNet, best_form
    from edge_ad.training.perceptual import PerceptualNet, best_available

    started = time.perf_counter()
    schedules, plans = _plans(base, options)
    perceptual = options.perceptual or best_available()
    features = FeatureNet(base.feature_kind, options.features or best_form(base.feature_kind))
    with atomic_folder(out) as folder:
        categories = _write_categories(folder, base, products, features, options, log)
        prompt_shape = np.load(folder / next(iter(categories.values())).prompt, allow_pickle=False).shape
        cases = _cases(base, features, PerceptualNet(perceptual), prompt_shape)
        graphs = _write_graphs(folder, base, cases, options, log)
        manifest = bundles.Manifest(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            base=bundles.BaseModelInfo(name=base.name, licence=base.licence),
            image_size=base.image_size,
            latent_size=base.image_size // 8,
            latent_channels=int(base.vae.config.latent_channels),
            graphs=graphs,
            noise={key: base.scheduler_config[key] for key in NOISE if key in base.scheduler_config},
            schedules=schedules,
            plans=plans,
            default_plan=options.plans[0],
            categories=categories,
            perceptual=perceptual,
            features=features.kind if features.form == "paper" else f"{features.kind}-{features.form}",
            metrics={},
            licences={"base": base.licence, "edge-ad": "Apache-2.0"},
        )
        write_manifest(folder, manifest)
        manifest.metrics["export"] = {"verify": _verify(folder, log), "settings": dict(options.settings)}
        manifest = write_manifest(folder, manifest)
        shots = {name: product.shots for name, product in products.items()}
        for plan in (name for name, one in plans.items() if one.weights.map_floor):
            for name, level in map_levels(folder, shots, plan, log=log).items():
                manifest.categories[name].levels.by_plan[plan] = level
        manifest = write_manifest(folder, manifest)
        for wanted in engines:
            manifest.engines.update(make_engines(folder, manifest, wanted, folder / "engines", log=log))
        if engines:
            write_manifest(folder, manifest)
    log(f"{out}: {len(categories)} categories, verified, in {time.perf_counter() - started:.0f} s")
    return out


def _checked(options: ExportOptions) -> ExportOptions:
    if options.precision in ("int8", "fp8"):
        raise OptionError(
            f"--precision {options.precision} is made of a calibrated bundle, not of a run: edge-ad export RUN --out "
            f"B, edge-ad calibrate B DATA --ranges, then edge-ad export B --out C --precision {options.precision} "
            "--data DATA"
        )
    if options.precision not in ("fp32", "fp16"):
        raise OptionError(f'--precision {options.precision} cannot be exported; use "fp32" or "fp16"')
    if not options.plans:
        raise OptionError(f"--plan names none; use {PLAN_NAMES}, or several with commas")
    for name in options.plans:
        try:
            named_plan(name)
        except ValueError as error:
            raise OptionError(f"--plan {error}, or several with commas") from error
    if options.bank_size < 1 or options.rotations == ():
        raise OptionError(
            "the prototype bank needs a size of 1 or more and at least one rotation (0 is the picture itself)"
        )
    engine_options(options.targets, options.capabilities, options.max_batch)
    return options


def _cases(base: Any, features: Any, perceptual: Any, prompt_shape: tuple[int, int]) -> list[GraphCase]:
    rng = np.random.default_rng(0)
    size, channels = base.image_size, int(base.vae.config.latent_channels)
    latent = size // 8
    return [
        encoder_case(base.vae, size, rng),
        prepare_case(channels, latent, rng),
        denoiser_case(base.unet, channels, latent, prompt_shape, rng),
        compose_case(channels, latent, rng),
        decoder_case(base.vae, channels, latent, rng),
        features_case(features, size, rng),
        score_case(perceptual, size, latent, rng),
    ]


def _write_graphs(
    folder: Path, base: Any, cases: list[GraphCase], options: ExportOptions, log: Log
) -> dict[str, bundles.Graph]:
    # PyTorch's numbers are taken in fp32 before anything is converted
    expected = {case.name: torch_outputs(case) for case in cases}
    memory = {
        case.name: row_bytes(case.module, case.inputs, case.rows)
        for case in cases
        if case.name in (*HALF_GRAPHS, "features")
    }
    half = options.precision == "fp16"
    if half:
        base.vae.to(torch.float16)
        base.unet.to(torch.float16)
    graphs = {}
    for case in cases:
        started = time.perf_counter()
        lower = half and case.name in HALF_GRAPHS
        graph = write_graph(case, folder, "fp16" if lower else "fp32", memory.get(case.name, 0))
        graph.reference = write_reference(case, expected[case.name], folder)
        if lower:
            graph.tolerance = HALF_TOLERANCE
        graphs[case.name] = graph
        size = sum((folder / name).stat().st_size for name in graph.paths)
        log(f"graph {case.name}: {size / 1e6:.1f} MB in {time.perf_counter() - started:.1f} s")
    return graphs


def _write_categories(
    folder: Path, base: Any, products: Mapping[str, Product], features: Any, options: ExportOptions, log: Log
) -> dict[str, bundles.CategoryEntry]:
    from edge_ad.training.prompts import averaged_prompt

    entries = {}
    for name, product in products.items():
        place = f"categories/{name}"
        (folder / place).mkdir(parents=True)
        np.save(folder / place / "prompt.npy", averaged_prompt(base, list(product.prompts)), allow_pickle=False)
        entry = bundles.CategoryEntry(prompt=f"{place}/prompt.npy", shots=())
        if product.shots:
            shots = [resize_image(read_image(path), base.image_size) for path in product.shots]
            rotations = bank_rotations(product.turn) if options.rotations is None else options.rotations
            made = category_arrays(features, shots, size=options.bank_size, rotations=rotations)
            np.save(folder / place / "prototypes.npy", made["bank"], allow_pickle=False)
            np.save(folder / place / "prototype_shots.npy", made["shots"], allow_pickle=False)
            entry.prototypes, entry.prototype_shots = f"{place}/prototypes.npy", f"{place}/prototype_shots.npy"
            entry.shots = tuple(picture_hash(shot) for shot in shots)
            entry.levels = bundles.Levels(error=made["level"])
            log(f"category {name}: {len(made['bank'])} prototypes of {len(shots)} shots")
        else:
            log(f"category {name}: no shots, so no prototypes")
        entries[name] = entry
    return entries


def _plans(base: Any, options: ExportOptions) -> tuple[dict[str, bundles.Schedule], dict[str, bundles.Plan]]:
    config, strength = base.scheduler_config, options.noise_strength
    schedules, plans = {}, {}
    try:
        for name in options.plans:
            plan, steps, solver = named_plan(name)
            if name == "paper":
                schedules[name] = make_schedule(config, strength, 50, "ddim", spacing="leading")
            else:
                schedules[name] = make_schedule(config, strength, steps or options.steps, solver or options.solver)
                plan.noise_draws = options.noise_draws
            latent = base.image_size // 8
            plan.scales = tuple(k for k in plan.scales if k <= latent)
            plans[name] = plan
    except ValueError as error:
        raise OptionError(f"--lambda, --steps or --solver: {error}") from error
    return schedules, plans


def _verify(folder: Path, log: Log) -> dict[str, dict[str, float]]:
    """Run every written graph against PyTorch's numbers; BundleError when one is off."""
    found = {}
    with Bundle.open(folder) as opened:
        for check in verify_graphs(opened):
            if not check.passed:
                raise BundleError(
                    f"the exported graph {check.graph} differs from PyTorch by {check.max_error:.2g} (limit "
                    f"{check.tolerance:.2g}); nothing was written, export with --precision fp32 or report this"
                )
            log(f"verified {check.graph}: largest error {check.max_error:.1e}, mean {check.mean_error:.1e}")
            found[check.graph] = {"max_error": check.max_error, "mean_error": check.mean_error}
    return found
