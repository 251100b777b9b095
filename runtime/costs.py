"""What a plan costs an image, from the costs that the manifest keeps of every graph. Analytic: nothing is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_ad.bundle import REQUIRED_GRAPHS, Cost, Plan, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.runtime.plan import guided, layout


@dataclass(frozen=True)
class StageCost:
    """One stage of one image. `stage` is the name that `Inspection.times` gives it.

    rows: of its graph's batch, all runs together. runs: of the graph. flops: floating-point operations. traffic: bytes
    read and written, each run reading the graph's weights once.
    """

    stage: str
    rows: int
    runs: int
    flops: int
    traffic: int


@dataclass(frozen=True)
class PlanCost:
    """One image under a plan: its inpaintings, denoiser evaluations (inpaintings times steps), and stages in order.

    `stages` is empty where a graph's cost is not known.
    """

    inpaintings: int
    evaluations: int
    encodings: int
    decodings: int
    stages: tuple[StageCost, ...]

    @property
    def known(self) -> bool:
        """Whether there is more than the counts."""
        return bool(self.stages)

    @property
    def flops(self) -> int:
        """Of all stages."""
        return sum(stage.flops for stage in self.stages)

    @property
    def traffic(self) -> int:
        """Bytes of all stages."""
        return sum(stage.traffic for stage in self.stages)


def total(terms: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """A cost's terms at given sizes: {"": 7, "K*R": 2} at K = 3, R = 4 is 31."""
    return sum(value * math.prod(sizes[name] for name in term.split("*") if name) for term, value in terms.items())


def plan_cost(
    costs: Mapping[str, Cost],
    plan: Plan,
    latent_size: int,
    *,
    steps: int,
    feature_shape: tuple[int, int, int],
    prototypes: int,
    weights: Weights | None = None,
) -> PlanCost:
    """The cost of one image, alone in its batch.

    costs: of the graphs by name; without all of `REQUIRED_GRAPHS` there are counts only. steps: solver steps.
    feature_shape: C,h,w of the features. prototypes: rows of the bank, 0 for none. weights: None for the plan's; a
    prototype-guided mask without weight is not inpainted, and a reference without weight not decoded. The blank picture
    is encoded once for all images and not counted.
    """
    weights = weights or plan.weights
    mask = np.zeros((latent_size, latent_size), np.float32) if prototypes and guided(plan, weights) else None
    made = layout(plan, latent_size, mask)
    B, K, R = made.inpaintings, made.pictures, len(plan.scales)
    each = plan.masked_latents == "encoded"
    encodings, decodings = 1 + B * each, K + (weights.reference != 0)
    found: list[StageCost] = []

    def stage(name: str, graph: str, rows: int, sizes: dict[str, int], runs: int = 1) -> None:
        """`runs` runs of a graph with these sizes each."""
        cost = costs[graph]
        traffic = runs * (total(cost.traffic, sizes) + cost.weight_bytes)
        found.append(StageCost(name, rows, runs, runs * total(cost.flops, sizes), traffic))

    if not set(REQUIRED_GRAPHS) <= set(costs):
        return PlanCost(B, B * steps, encodings, decodings, ())
    if prototypes:
        stage("features", "features", 1, {"N": 1})
        channels, height, width = feature_shape
        points = height * width
        # distances by a product of points x channels x prototypes; the product itself is written and read once
        read = 4 * (points * channels + channels * prototypes + 2 * points * prototypes)
        found.append(StageCost("prototypes", points, 1, 2 * points * channels * prototypes, read))
    stage("encode", "encoder", encodings, {"N": encodings})
    stage("prepare", "prepare", B, {"N": made.draws, "V": B if each else made.draws, "B": B})
    stage("denoise", "denoiser", B * steps, {"B": B, "P": made.draws}, steps)
    if plan.decode == "scale":
        stage("compose", "compose", K, {"K": K, "B": B})
    stage("decode", "decoder", decodings, {"K": decodings})
    stage("score", "score", K, {"K": K, "R": R})
    return PlanCost(B, B * steps, encodings, decodings, tuple(found))


def bundle_plan_cost(bundle: Bundle, plan_name: str | None = None, category: str | None = None) -> PlanCost:
    """The cost of one image of `category` under a plan of a bundle; counts only where its graphs' is not known.

    category: None takes the plan's own schedule and weights, and the largest prototype bank of all categories.
    Raises BundleError for an unknown plan or category.
    """
    name, plan = bundle.plan(plan_name)
    manifest = bundle.manifest
    costs = {graph: entry.cost for graph, entry in manifest.graphs.items() if entry.cost is not None}
    schedule, weights = plan.schedule, plan.weights
    if category is not None:
        entry = bundle.category(category)
        schedule, weights = entry.schedules.get(name, schedule), entry.weights.get(name, weights)
    names = list(manifest.categories) if category is None else [category]
    channels, height, width = manifest.graphs["features"].outputs[0].shape[1:]
    return plan_cost(
        costs,
        plan,
        manifest.latent_size,
        steps=manifest.schedules[schedule].steps,
        feature_shape=(int(channels), int(height), int(width)),
        prototypes=max((bank_shape(bundle, one)[0] for one in names), default=0),
        weights=weights,
    )


def bank_shape(bundle: Bundle, category: str) -> tuple[int, int]:
    """Rows and channels of a category's prototype bank; (0, 0) for none."""
    path = bundle.category(category).prototypes
    if path is None:
        return 0, 0
    rows, channels = bundle.array(path).shape
    return rows, channels
