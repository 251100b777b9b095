"""What parts are made of: a colour, its grain at any coordinates, and how it takes light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw.fields import colour, colour_name, sample, spectral_noise
from edge_ad.training.pretrain.draw.shapes import Field

Colour = npt.NDArray[np.float32]
"""float32 (3,) RGB in [0, 1]."""

TILE = 128
"""Side of a grain tile in its own cells."""

_METALS = ("steel", "aluminium", "brass", "copper", "iron")
_FINISHES = ("brushed", "turned", "cast", "satin", "polished")


@dataclass(frozen=True)
class Material:
    """One material.

    Attributes:
        words: how a person would call it ("brushed steel").
        colour: float32 (3,) base colour.
        finish: brushed, turned, cast, satin, polished or plain.
        gloss: strength of highlights.
        metal: share of mirror-like reflection.
        grain: float32 TILE,TILE tileable noise, zero mean, unit deviation.
        contrast: how strongly the grain shows.
        pitch: cells of the grain a unit.
        axis: angle of the anisotropic highlight of a turned face, radians.
    """

    words: str
    colour: Colour
    finish: str
    gloss: float
    metal: float
    grain: Field
    contrast: float
    pitch: float
    axis: float

    def texture(self, y: Field, x: Field) -> npt.NDArray[np.float32]:
        """Colour at coordinates (in units of the part): float32 H,W,3."""
        factor = self.tone(y, x)
        return factor[..., None] * self.colour

    def tone(self, y: Field, x: Field) -> Field:
        """Brightness factor about 1 at coordinates: float32 H,W."""
        pitch, amount = np.float32(self.pitch), np.float32(self.contrast)
        if self.finish == "brushed":
            return 1 + amount * sample(self.grain, y * pitch, x * pitch * np.float32(0.04))
        if self.finish == "turned":
            r = np.hypot(y, x)
            rings = self.grain[0][(r * np.float32(self.pitch * 2)).astype(np.int32) % TILE]
            sheen = np.cos(2 * (np.arctan2(y, x) - np.float32(self.axis)))
            return 1 + amount * rings + np.float32(0.22) * sheen * np.abs(sheen)
        return 1 + amount * sample(self.grain, y * pitch, x * pitch)


def _grain(rng: np.random.Generator, exponent: float) -> Field:
    # a strong low frequency would show as blotches that repeat with the tile
    return np.clip(spectral_noise(rng, TILE, exponent), -2.5, 2.5)


def metal(rng: np.random.Generator, kinds: Sequence[str] = _METALS, finishes: Sequence[str] = _FINISHES) -> Material:
    """A random metal of these kinds (see fields.KINDS) and finishes."""
    kind, finish = str(rng.choice(kinds)), str(rng.choice(finishes))
    strength = {"brushed": (0.05, 0.16), "turned": (0.02, 0.09), "cast": (0.06, 0.18)}.get(finish, (0.01, 0.05))
    tint = colour(rng, kind)
    words = {"turned": "machined", "satin": "", "cast": "cast"}.get(finish, finish)
    return Material(
        f"{words} {kind}".strip(),
        tint,
        finish,
        gloss=rng.uniform(0.02, 0.12) if finish == "cast" else rng.uniform(0.15, 0.6),
        metal=rng.uniform(0.1, 0.4) if finish == "cast" else rng.uniform(0.4, 1.0),
        grain=_grain(rng, rng.uniform(0.3, 1.4)),
        contrast=rng.uniform(*strength),
        pitch=rng.uniform(30, 90),
        axis=rng.uniform(0, 6.3),
    )


def plain(rng: np.random.Generator, kind: str = "plastic", tint: Colour | None = None, name: str = "") -> Material:
    """A random plastic, rubber, ceramic, paper… (see fields.KINDS), of a given colour if `tint` is given.

    `name` replaces the material's word in the description; the colour's name goes before it.
    """
    base = colour(rng, kind) if tint is None else tint
    matt = kind in ("rubber", "paper", "cardboard", "stone", "wood")
    return Material(
        f"{colour_name(base)} {name or kind}",
        base,
        "plain",
        gloss=rng.uniform(0.0, 0.12) if matt else rng.uniform(0.1, 0.6),
        metal=0.0,
        grain=_grain(rng, rng.uniform(0.2, 2.0)),
        contrast=rng.uniform(0.01, 0.08 if matt else 0.03),
        pitch=rng.uniform(30, 90),
        axis=0.0,
    )


def shade(base: npt.ArrayLike, factor: float) -> Colour:
    """A darker (below 1) or lighter colour of the same hue, in [0, 1]."""
    return np.clip(np.asarray(base, np.float32) * np.float32(factor), 0, 1)
