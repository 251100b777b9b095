"""Every family that pretraining draws, and the one call that draws and photographs."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_ad.errors import OptionError
from edge_ad.training.pretrain.draw import (
    surfaces_made,
    surfaces_metal,
    surfaces_statistics,
    surfaces_stone,
    surfaces_woven,
)
from edge_ad.training.pretrain.draw.camera import photograph
from edge_ad.training.pretrain.draw.objects import OBJECTS
from edge_ad.training.pretrain.draw.picture import Draw, Picture

SURFACES: dict[str, Draw] = {
    **surfaces_metal.FAMILIES,
    **surfaces_woven.FAMILIES,
    **surfaces_stone.FAMILIES,
    **surfaces_made.FAMILIES,
    **surfaces_statistics.FAMILIES,
}
"""Families whose surface fills the picture."""

PRETRAIN: dict[str, Draw] = {**SURFACES, **OBJECTS}
"""Family name to drawing function, for pretraining."""

OBJECT_SHARE = 0.5
"""Of the pictures, those of objects."""

DEAD_LEAVES_SHARE = 0.08
"""Of the pictures, dead leaves: the family nearest to natural images."""

SMALLEST = 32
"""Below this many pixels a side the structures no longer fit."""


@lru_cache(maxsize=1)
def _weights() -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """The families and how often each is drawn."""
    names = tuple(PRETRAIN)
    objects = OBJECT_SHARE if OBJECTS else 0.0
    plain = (1 - objects - DEAD_LEAVES_SHARE) / (len(SURFACES) - 1)
    weights = [
        objects / len(OBJECTS) if name in OBJECTS else DEAD_LEAVES_SHARE if name == "dead_leaves" else plain
        for name in names
    ]
    return names, np.asarray(weights) / np.sum(weights)


def family_of(seed: int) -> str:
    """The family that `draw` chooses for a seed."""
    names, weights = _weights()
    return names[int(np.random.default_rng([seed, 0]).choice(len(names), p=weights))]


def draw(seed: int, family: str | None = None, size: int = 256) -> tuple[str, Picture]:
    """Draw one picture and photograph it; the same arguments give the same picture.

    Args:
        seed: 0 or more.
        family: a name in PRETRAIN; by default chosen from the seed, about half of them objects.
        size: the side in pixels.

    Returns:
        The family's name, and the picture: uint8 H,W,3, its caption and its foreground.

    Raises:
        OptionError: a negative seed, an unknown family, or a size below SMALLEST.
    """
    if seed < 0:
        raise OptionError(f"A seed must be 0 or more, not {seed}.")
    if size < SMALLEST:
        raise OptionError(f"A drawn picture needs a side of at least {SMALLEST} px, not {size}.")
    name = family_of(seed) if family is None else family
    if name not in PRETRAIN:
        raise OptionError(f"There is no family of drawn pictures called {name!r}; choose one of {', '.join(PRETRAIN)}.")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return name, photograph(rng, PRETRAIN[name](rng, size))
