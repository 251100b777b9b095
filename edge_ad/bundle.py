"""The bundle: the one contract between the build side and the edge.

A folder, or a `.tar` of it, that holds `manifest.json`, ONNX graphs, arrays (`.npy`, never pickled) and engines. The
manifest lists every file with its SHA-256; `manifest.sha256` holds the manifest's own. This is its schema, field by
field; `edge_ad.bundle_files` reads and writes it, and checks every file before anything is executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_ad.version import __version__

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
REQUIRED_GRAPHS = ("encoder", "prepare", "denoiser", "compose", "decoder", "features", "score")

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]


class Part(BaseModel):
    """What every manifest part has in common: keys of a later minor version are kept, values are checked on change."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, validate_assignment=True)


class BaseModelInfo(Part):
    """The base model the bundle was adapted from: its name and licence."""

    name: str
    licence: str


class TensorSpec(Part):
    """One input or output of a graph. `shape` has an integer for a fixed and a name ("B", "N", …) for a free size."""

    name: str
    dtype: Literal["float32", "float16", "uint8", "int64", "int32", "bool"]
    shape: tuple[int | str, ...]


class Cost(Part):
    """What one run of a graph costs, by what it grows with: {"": 7, "B": 5, "K*R": 2} is 7 + 5·B + 2·K·R.

    flops: floating-point operations of convolutions, matrix products and attention, two a multiply-add; the rest is not
    counted. traffic: bytes of activations that those operators read and write, and of the graph's inputs and outputs.
    parameters: numbers among the weights; weight_bytes: their bytes, read once a run.
    """

    flops: dict[str, int]
    traffic: dict[str, int]
    parameters: int = Field(ge=0)
    weight_bytes: int = Field(ge=0)


class Quantization(Part):
    """How a graph with Q/DQ nodes was made of its fp32 form.

    layout: whose pairs they are: "cpu" for ONNX Runtime's processor kernels, "tensorrt" for TensorRT and cards. rest:
    what the other layers compute in. layers: those quantized. left: the others among convolutions and products with
    weights, each with the reason. error: root mean square of the change of the graph's outputs, over that of the
    outputs, on pictures. clip: how a range was cut.
    """

    layout: Literal["cpu", "tensorrt"]
    rest: Precision
    layers: tuple[str, ...]
    left: dict[str, str] = {}
    error: float = Field(ge=0)
    clip: str


class Ranges(Part):
    """Where a plan's activation ranges are, and what they were computed from; `edge-ad calibrate --ranges` writes them.

    file: JSON by graph and tensor. graphs: SHA-256 of the graphs observed, which must be those of the bundle. images:
    pictures run. categories: those observed, each with a digest of the schedule that it ran; empty in bundles of a
    version that did not say.
    """

    file: str
    created: str
    images: int = Field(ge=1)
    graphs: dict[str, str]
    categories: dict[str, str] = {}


class Graph(Part):
    """One ONNX graph: its file, the file of its external data if there is one, its tensors and precision.

    `row_bytes` is an estimate of the memory that one row of its batch needs while it runs (0: unknown). `cost` is None
    in bundles of a version that did not count it.
    """

    file: str
    data: str | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision = "fp32"
    row_bytes: int = Field(default=0, ge=0)
    cost: Cost | None = None
    reference: str | None = None
    tolerance: float = Field(default=1e-3, gt=0)
    quantization: Quantization | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files in the bundle: the graph, and its external data if it has any."""
        return (self.file,) if self.data is None else (self.file, self.data)


class Schedule(Part):
    """A noise strength and the solver steps from it, ready to run.

    `timesteps` has one entry a step, `coefficients` one row (a, b, c, p, q) a step, and `start` is
    (sqrt(ᾱ), sqrt(1 - ᾱ)) of the first timestep (eq. 7).
    """

    noise_strength: float = Field(alias="lambda", gt=0, le=1)
    steps: int = Field(ge=1)
    solver: str
    timesteps: list[float]
    coefficients: list[tuple[float, float, float, float, float]]
    start: tuple[float, float]

    @model_validator(mode="after")
    def _one_row_a_step(self) -> Schedule:
        if not len(self.timesteps) == len(self.coefficients) == self.steps:
            raise ValueError("timesteps and coefficients must have one entry a step")
        return self


class Weights(Part):
    """How evidence becomes a score map and a score.

    alpha: weight of the prototype-guided map (eq. 21). reference: 0 compares with the image, 1 with its own
    reconstruction. map_power and error_power: exponents of the inpainting map S and the prototype error E in the
    product. map_floor: S counts only where it exceeds this many of its normal level (`Levels.map`); 0 lets all of it
    count. top: 0 takes the highest pixel as the image score, 1 the mean of the highest pixels.
    """

    alpha: float = Field(default=0.1, ge=0, le=1)
    reference: float = Field(default=0.0, ge=0, le=1)
    map_power: float = Field(default=1.0, ge=0, le=8)
    error_power: float = Field(default=0.0, ge=0, le=8)
    top: float = Field(default=0.0, ge=0, le=1)
    map_floor: float = Field(default=0.0, ge=0, le=8)

    def vector(self) -> list[float]:
        """The six numbers in the order of the score graph's input `weights`."""
        return [self.alpha, self.reference, self.map_power, self.error_power, self.top, self.map_floor]


class Plan(Part):
    """Which masks are inpainted together and how the results are put back; see docs/plans.md.

    scales: k of the k x k patch grids. grouping: "single" inpaints every patch by itself, "checkerboard" all patches of
    one scale with the same (row % 2, column % 2) together. masked_latents: "encoded" sends every masked picture through
    the encoder, "blended" blends the latents of the image and of a blank picture. decode: "each" result or one
    composed picture a "scale". prototype: whether the prototype-guided mask is inpainted too. threshold_rule: how its
    threshold is found. noise_draws: how often every mask is inpainted, each time from other noise; the distances of
    eq. 18 and 20 are then means over them.
    """

    scales: tuple[int, ...] = (1, 2, 4, 8)
    grouping: Literal["single", "checkerboard"]
    masked_latents: Literal["encoded", "blended"]
    decode: Literal["each", "scale"]
    prototype: bool = True
    threshold_rule: Literal["variance-sum", "otsu", "level"] = "variance-sum"
    noise_draws: int = Field(default=1, ge=1)
    schedule: str
    weights: Weights = Weights()

    @field_validator("scales")
    @classmethod
    def _scales(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if not scales or len(set(scales)) != len(scales) or min(scales) < 1:
            raise ValueError("scales must be different whole numbers from 1 up, at least one of them")
        return scales


class Levels(Part):
    """What normal parts of a category measure: the inpainting map S and the prototype error E are divided by these.

    A plan whose weights have no map floor leaves S as it is; `by_plan` holds the map's level where a plan has its own.
    `maps` optionally names a `.npy` file, float32 2,H,W, with a level a pixel; it then replaces these numbers.
    """

    map: float = Field(default=1.0, gt=0)
    error: float = Field(default=1.0, gt=0)
    by_plan: dict[str, Annotated[float, Field(gt=0)]] = {}
    maps: str | None = None


class Monitor(Part):
    """How a station tells that the camera or the light has changed; `edge_ad.runtime.monitor` computes with it.

    file: `.npy`, float32 2+K,D: centre and scale of the pooled features of good pictures, then their whitening rows.
    window: pictures averaged. clip: bound of a whitened value, so that a few bad parts cannot raise an alarm. limit: of
    the statistic. rate: how often a stream of `horizon` good pictures raises a false alarm at that limit. images: good
    pictures it was computed from.
    """

    file: str
    window: int = Field(ge=2)
    clip: float = Field(gt=0)
    limit: float = Field(gt=0)
    rate: float = Field(gt=0, lt=1)
    horizon: int = Field(ge=1)
    images: int = Field(ge=2)


class SegmenterLimit(Part):
    """What the bundle's segmenter may say at most of a part that is passed early.

    score: the segmenter's, 0..1, the highest of the good pictures that the limits were found with. graph: SHA-256 of
    the segmenter's files, joined by "-"; limits hold for that one only.
    """

    score: float = Field(ge=0, le=1)
    graph: str


class CascadeLimits(Part):
    """Between which scores of the prototype error alone a part still has to be inpainted; see docs/runtime.md.

    lower: good below it; upper: bad from it on. miss_rate: of synthetic defects that the plan rejects, a new one in
    these pictures is passed by E alone with a probability of this at most. defects: synthetic ones that the plan
    rejected, out of `tried` pasted into `pictures` good pictures. decided: share of the good pictures that E alone
    decides. segmenter: a part below `lower` is passed only where the segmenter agrees; None: it is not asked.
    """

    lower: float = Field(ge=0)
    upper: float = Field(gt=0)
    miss_rate: float = Field(gt=0, lt=1)
    defects: int = Field(ge=1)
    tried: int = Field(ge=1)
    pictures: int = Field(ge=1)
    decided: float = Field(ge=0, le=1)
    segmenter: SegmenterLimit | None = None

    @model_validator(mode="after")
    def _in_order(self) -> CascadeLimits:
        if self.lower > self.upper:
            raise ValueError("the lower limit must not exceed the upper one")
        return self


class Calibration(Part):
    """What a threshold was computed from, and what goes with it; for one category, plan and precision.

    rule: "conformal" keeps a promise: a new good picture is rejected with a probability of `promised` at most.
    "estimate" is a fit, no promise: too few good pictures. "f1" and "cost" were chosen on labelled defects. target: the
    false-reject rate asked for. seed: of the noise. images: good pictures used; defects: bad ones; shots: pictures of
    the training used for an estimate. middle: the median good score, 0.25 on the normalised scale. pixel_threshold: of
    score map pixels, for regions. min_area: the smallest region reported, in pixels of the original picture.
    mm_per_pixel: of the original picture, when given. scores: quantiles 0, 1, … 100 % of the good scores. evidence:
    JSON file with the SHA-256 and score of every picture used. chosen: how noise strength and fusion were found.
    cost_ratio, defect_rate: as given for the rule "cost", else None; without defect_rate it was the images' own share.
    cascade: limits by which the prototype error alone decides; None: it never does.
    """

    rule: Literal["conformal", "estimate", "f1", "cost"]
    created: str
    edge_ad_version: str = __version__
    target: float = Field(gt=0, lt=1)
    promised: float | None = Field(default=None, gt=0, lt=1)
    seed: int = 0
    provider: str = ""
    images: int = Field(default=0, ge=0)
    defects: int = Field(default=0, ge=0)
    shots: int = Field(default=0, ge=0)
    middle: float | None = None
    pixel_threshold: float | None = None
    pixel_promised: float | None = Field(default=None, gt=0, lt=1)
    min_area: float = Field(default=1.0, gt=0)
    mm_per_pixel: float | None = Field(default=None, gt=0)
    scores: list[float] = []
    evidence: str | None = None
    monitor: Monitor | None = None
    chosen: dict[str, Any] = {}
    cost_ratio: float | None = Field(default=None, gt=0)
    defect_rate: float | None = Field(default=None, gt=0, lt=1)
    cascade: CascadeLimits | None = None


class CategoryEntry(Part):
    """One product category: its averaged prompt, prototype bank, normal levels, and what calibration set for it.

    thresholds is {plan: {precision: value}}, calibrations the same for where they come from; schedules and weights, by
    plan, replace the plan's own. shots: `edge_ad.images.picture_hash` of the good pictures it was trained on, at the
    bundle's image size; None in bundles that do not say. prototype_shots: `.npy`, int16 M, the shot each prototype
    comes from.
    """

    prompt: str
    prototypes: str | None = None
    prototype_shots: str | None = None
    shots: tuple[str, ...] | None = None
    levels: Levels = Levels()
    thresholds: dict[str, dict[str, float]] = {}
    calibrations: dict[str, dict[str, Calibration]] = {}
    schedules: dict[str, str] = {}
    weights: dict[str, Weights] = {}

    def files(self) -> Iterator[str]:
        """The files that this entry names."""
        yield from (path for path in (self.prompt, self.prototypes, self.prototype_shots, self.levels.maps) if path)
        for by_precision in self.calibrations.values():
            for entry in by_precision.values():
                yield from (path for path in (entry.evidence, entry.monitor and entry.monitor.file) if path)


class Engine(Part):
    """A compiled form of the graphs for one target: the library that built it, its version, and a file a graph.

    profiles: by graph, a list of optimisation profiles, each {free axis: (smallest, best, largest size)}.
    build_seconds: by graph. stripped: the files hold no weights, which come from the ONNX graph when the engine is
    loaded.
    """

    library: str
    version: str
    compute_capability: str | None = None
    precision: Precision = "fp16"
    files: dict[str, str] = {}
    profiles: dict[str, list[dict[str, tuple[int, int, int]]]] = {}
    build_seconds: dict[str, float] = {}
    weight_streaming: bool = False
    stripped: bool = False


class HeadsEntry(Part):
    """What the optional graphs `segmenter` and `classifier` were trained on; see docs/heads.md.

    image_size: side in px of their pictures. outputs: (category, kind of defect) of each of the classifier's outputs;
    the segmenter knows these categories too.
    """

    image_size: int = Field(ge=16)
    outputs: tuple[tuple[str, str], ...]


class Manifest(Part):
    """Everything a bundle says about itself; `files` maps every other file's path to its SHA-256.

    noise: the base's diffusion configuration, from which schedules of other noise strengths are made. ranges: of
    activations, by plan.
    """

    schema_version: int = SCHEMA_VERSION
    edge_ad_version: str = __version__
    created: str
    base: BaseModelInfo
    image_size: int = Field(ge=16)
    latent_size: int = Field(ge=1)
    latent_channels: int = Field(ge=1)
    graphs: dict[str, Graph]
    noise: dict[str, Any] = {}
    schedules: dict[str, Schedule]
    plans: dict[str, Plan]
    default_plan: str
    categories: dict[str, CategoryEntry]
    engines: dict[str, Engine] = {}
    ranges: dict[str, Ranges] = {}
    heads: HeadsEntry | None = None
    perceptual: str
    features: str
    metrics: dict[str, Any] = {}
    licences: dict[str, str] = {}
    files: dict[str, str] = {}

    @model_validator(mode="after")
    def _names_agree(self) -> Manifest:
        if self.default_plan not in self.plans:
            raise ValueError(f'default_plan "{self.default_plan}" is not one of the plans')
        missing = [name for name in REQUIRED_GRAPHS if name not in self.graphs]
        if missing:
            raise ValueError(f"graphs lack {', '.join(missing)}")
        wanted = {plan.schedule for plan in self.plans.values()}
        wanted |= {name for category in self.categories.values() for name in category.schedules.values()}
        if unknown := sorted(wanted - set(self.schedules)):
            raise ValueError(f"schedules lack {', '.join(unknown)}")
        for plan_name, plan in self.plans.items():
            if max(plan.scales) > self.latent_size:
                raise ValueError(f'plan "{plan_name}" has patches smaller than one latent pixel')
        return self

    def named_files(self) -> Iterator[str]:
        """Every path that some part of the manifest refers to, in no order, possibly twice."""
        for graph in self.graphs.values():
            yield from graph.paths
            if graph.reference is not None:
                yield graph.reference
        for category in self.categories.values():
            yield from category.files()
        for engine in self.engines.values():
            yield from engine.files.values()
        yield from (entry.file for entry in self.ranges.values())
