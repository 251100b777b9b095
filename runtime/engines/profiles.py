"""Optimisation profiles: how large each free axis of a graph gets under a bundle's plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from edge_ad.bundle import Graph, Plan, TensorSpec
from edge_ad.runtime.plan import scale_masks

# axis -> (smallest, best, largest); one engine has several
Profile = dict[str, tuple[int, int, int]]


def plan_rows(plan: Plan, latent_size: int) -> int:
    """Inpaintings of one image and noise draw: 14 for `grouped`, 86 for `paper`, with the prototype-guided one."""
    return len(scale_masks(plan, latent_size)[0]) + int(plan.prototype)


def plan_axes(graph: str, plan: Plan, latent_size: int, images: int) -> dict[str, int]:
    """Sizes of the free axes of a graph for `images` images under a plan; docs/export.md explains the letters."""
    rows = plan_rows(plan, latent_size) * plan.noise_draws
    pictures = rows if plan.decode == "each" else (len(plan.scales) + int(plan.prototype)) * plan.noise_draws
    encoded = plan.masked_latents == "encoded"
    starts = images * plan.noise_draws  # pairs of image and noise draw
    alone = graph in ("compose", "score", "decoder")  # they see one image at a time
    return {
        "B": rows if alone else rows * images,
        "N": starts if graph == "prepare" else rows * images if encoded and graph == "encoder" else images,
        "V": rows * images if encoded else starts,
        "P": starts,
        "K": pictures,
        "R": len(plan.scales),
    }


def free_axes(inputs: Iterable[TensorSpec]) -> list[str]:
    """Names of the free axes of a graph's inputs, each once."""
    return list(dict.fromkeys(axis for spec in inputs for axis in spec.shape if isinstance(axis, str)))


def graph_profiles(
    name: str, graph: Graph, plans: Sequence[Plan], latent_size: int, images: int, example: Mapping[str, int]
) -> list[Profile]:
    """The profiles of one graph, smallest first: for each plan one image, and `images` images where that is more.

    example: sizes of the graph's stored example, which the largest profile must admit. A batch of rows may hold rows of
    more images than it was made for (a category without prototypes has one row less), so the largest size of the axes
    that count images has room for that. A graph without free axes has no profile.
    """
    axes = free_axes(graph.inputs)
    if not axes:
        return []
    fewest = min(plan_rows(plan, latent_size) for plan in plans)
    found: list[Profile] = []
    for plan in plans:
        for count in sorted({1, images}):
            sizes = plan_axes(name, plan, latent_size, count)
            profile: Profile = {}
            for axis in axes:
                best = sizes.get(axis, count)
                spread = -(-sizes["B"] // max(fewest - 1, 1)) + 1 if axis in "NPV" and "B" in axes else 0
                profile[axis] = (1, best, max(best, spread))
            if profile not in found:
                found.append(profile)
    found.sort(key=lambda profile: prod(sizes[1] for sizes in profile.values()))
    largest = found[-1]
    found[-1] = {axis: (low, best, max(high, example.get(axis, 1))) for axis, (low, best, high) in largest.items()}
    return found


def choose_profile(profiles: Sequence[Mapping[str, Sequence[int]]], sizes: Mapping[str, int]) -> int | None:
    """The first (smallest) profile that admits these sizes, or None."""
    for i, profile in enumerate(profiles):
        if all(profile[axis][0] <= size <= profile[axis][2] for axis, size in sizes.items()):
            return i
    return None


def shapes(spec: TensorSpec, profile: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    """Smallest, best and largest shape of an input under a profile."""
    return [tuple(profile[axis][i] if isinstance(axis, str) else axis for axis in spec.shape) for i in range(3)]


def axis_sizes(specs: Iterable[TensorSpec], given: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Sizes of the free axes, from the shapes of inputs by name. ValueError when two inputs disagree."""
    sizes: dict[str, int] = {}
    for spec in specs:
        for axis, size in zip(spec.shape, given[spec.name], strict=True):
            if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
                raise ValueError(f"input {spec.name} has {size} along {axis}, another input {sizes[axis]}")
            if isinstance(axis, int) and axis != size:
                raise ValueError(f"input {spec.name} must have the shape {spec.shape}, not {tuple(given[spec.name])}")
    return sizes
