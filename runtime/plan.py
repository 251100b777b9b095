"""Plans as data: the masks of a plan and where each result goes. docs/plans.md describes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Plan, Weights
from edge_ad.runtime import masks
from edge_ad.runtime.schedule import SOLVERS

Floats = NDArray[np.float32]

#: How plans are named at export, for messages.
PLAN_NAMES = "paper, grouped, grouped-STEPS or grouped-STEPS-SOLVER (such as grouped-2 or grouped-2-unipc)"
_GROUPED = re.compile(rf"grouped(?:-([1-9]\d{{0,2}})(?:-({'|'.join(map(re.escape, SOLVERS))}))?)?")


@dataclass(frozen=True)
class Layout:
    """The masks of one image under a plan, B of them, and the K pictures that are decoded.

    masks: float32 B,1,h,w at latent resolution, 1 = hidden; with a prototype-guided mask it is the last row.
    compose: float32 B,1,h,w, the part of each result that goes into its picture.
    assignment: float32 K,B, one-hot: the picture each result goes into.
    membership: float32 R,K, one-hot: the scale (row of `Plan.scales`) each picture belongs to; all zero for the
    prototype-guided picture. prototype: float32 K, 1 for that picture.
    picture_masks: float32 K,1,h,w, the pixels of each picture that count in eq. 18 and 20.
    draws: noise draws. The rows of one follow those of another, and membership and prototype hold 1/draws for 1, so
    that eq. 18 and 20 give the mean over them.
    """

    masks: Floats
    compose: Floats
    assignment: Floats
    membership: Floats
    prototype: Floats
    picture_masks: Floats
    draws: int = 1

    @property
    def inpaintings(self) -> int:
        """B, the inpaintings of one image."""
        return len(self.masks)

    @property
    def pictures(self) -> int:
        """K, the pictures decoded for one image."""
        return len(self.membership[0])

    def draw(self, row: int) -> int:
        """The noise draw that a row of `masks` belongs to."""
        return row * self.draws // self.inpaintings

    def composed(self, pictures: Floats, scale: int) -> Floats:
        """The picture of one scale: float32 K,3,S,S to 3,S,S, each patch from the inpainting that hid it.

        Of several noise draws the first: a mean of pictures is a blurred one.
        """
        rows = np.flatnonzero(self.membership[scale, : self.pictures // self.draws])
        if len(rows) == 1:
            picture: Floats = pictures[rows[0]]
            return picture
        parts = masks.upsample(self.picture_masks[rows], pictures.shape[-1])
        result: Floats = np.einsum("kchw,kuhw->chw", pictures[rows], parts)
        return result


def grouped_plan(schedule: str) -> Plan:
    """13 inpaintings and 5 decodes an image: patches that do not touch share one inpainting."""
    return Plan(
        grouping="checkerboard",
        masked_latents="blended",
        decode="scale",
        threshold_rule="level",
        schedule=schedule,
        weights=Weights(alpha=0.0, reference=1.0, map_power=1.0, error_power=1.0, top=1.0, map_floor=1.0),
    )


def paper_plan(schedule: str) -> Plan:
    """AnomalySD to the letter: 86 masks, each encoded, inpainted and decoded by itself; maximum of eq. 21 as score."""
    return Plan(grouping="single", masked_latents="encoded", decode="each", schedule=schedule)


def named_plan(name: str) -> tuple[Plan, int | None, str | None]:
    """The plan that a name stands for, with steps and solver where the name says them: one of `PLAN_NAMES`.

    Its schedule has the plan's name. ValueError for another name.
    """
    if name == "paper":
        return paper_plan(name), None, None
    found = _GROUPED.fullmatch(name)
    if found is None:
        raise ValueError(f'"{name}" is not known; use {PLAN_NAMES}')
    return grouped_plan(name), int(found[1]) if found[1] else None, found[2]


def repeated(one: Layout, draws: int) -> Layout:
    """The layout of several noise draws, from that of one."""
    if draws == 1:
        return one

    def tiled(array: Floats) -> Floats:
        return np.tile(array, (draws, *[1] * (array.ndim - 1)))

    return Layout(
        masks=tiled(one.masks),
        compose=tiled(one.compose),
        assignment=np.kron(np.eye(draws, dtype=np.float32), one.assignment),
        membership=np.tile(one.membership, draws) / np.float32(draws),
        prototype=np.tile(one.prototype, draws) / np.float32(draws),
        picture_masks=tiled(one.picture_masks),
        draws=draws,
    )


def scale_masks(plan: Plan, size: int) -> tuple[Floats, NDArray[np.int64]]:
    """All masks of a plan's scales, float32 B,h,w, and the row of `plan.scales` each belongs to, int64 B."""
    make = masks.patches if plan.grouping == "single" else masks.checkerboard
    parts = [make(size, k) for k in plan.scales]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts), owner


def layout(plan: Plan, size: int, prototype_mask: Floats | None) -> Layout:
    """The layout of one image. prototype_mask: float32 h,w, 1 = hidden, or None where the plan or category has none."""
    hidden, owner = scale_masks(plan, size)
    scales = len(plan.scales)
    if prototype_mask is not None:
        hidden = np.concatenate([hidden, prototype_mask[None].astype(np.float32)])
    count, regular = len(hidden), len(owner)
    compose = hidden.copy()
    if plan.decode == "each":
        compose[:] = 1
        assignment = np.eye(count, dtype=np.float32)
        membership = np.zeros((scales, count), np.float32)
        membership[owner, np.arange(regular)] = 1
        picture_masks = hidden
    else:
        compose[regular:] = 1  # the prototype-guided result is a picture by itself
        pictures = scales + count - regular
        assignment = np.zeros((pictures, count), np.float32)
        assignment[np.concatenate([owner, np.arange(scales, pictures)]), np.arange(count)] = 1
        membership = np.eye(scales, pictures, dtype=np.float32)
        picture_masks = np.ones((pictures, size, size), np.float32)
        picture_masks[scales:] = hidden[regular:]
    prototype = np.zeros(len(assignment), np.float32)
    prototype[len(prototype) - (count - regular) :] = 1
    one = Layout(hidden[:, None], compose[:, None], assignment, membership, prototype, picture_masks[:, None])
    return repeated(one, plan.noise_draws)


def guided(plan: Plan, weights: Weights) -> bool:
    """Whether the prototype-guided mask is inpainted: not where eq. 21 gives it no weight, as nobody would look."""
    return plan.prototype and weights.alpha > 0
