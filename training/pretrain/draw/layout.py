"""From one part to a picture: where it lies, how many of it, on what, and the words for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_ad.training.pretrain.draw.backgrounds import background
from edge_ad.training.pretrain.draw.picture import Draw, Picture
from edge_ad.training.pretrain.draw.scene import Light, Part, Scene, render


@dataclass(frozen=True)
class Item:
    """A product, before it is laid down.

    Attributes:
        part: how it is drawn; its units are such that `half` bounds it.
        name: what it is called, without article ("brass hex nut").
        plural: the name of many.
        half: half height and half width in the part's units.
        spin: "free" lies at any angle, "square" at right angles with a small error, "upright" nearly upright.
        many: share of pictures that show more than one.
        thickness: height over the table in its units; it sets the shadow.
        ground: a background kind it needs, or None for any.
    """

    part: Part
    name: str
    plural: str
    half: tuple[float, float] = (1.0, 1.0)
    spin: str = "free"
    many: float = 0.3
    thickness: float = 0.08
    ground: str | None = None


Make = Callable[[np.random.Generator], Item]
"""Draws a product's design from a generator."""


def family(make: Make) -> Draw:
    """A drawing function that lays products of `make` on a background: one, a few, rows, or scattered."""

    def draw(rng: np.random.Generator, size: int) -> Picture:
        return lay(rng, size, make(rng))

    draw.__name__ = make.__name__
    draw.__doc__ = make.__doc__
    return draw


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return ("an " if words[:1].lower() in "aeiou" else "a ") + words


def angle_of(rng: np.random.Generator, spin: str) -> float:
    """A rotation in radians, as the product's kind allows."""
    if spin == "free":
        return float(rng.uniform(0, 2 * math.pi))
    turns = int(rng.integers(4)) if spin == "square" else 0
    return float(turns * math.pi / 2 + rng.normal(0, 0.03))


def lay(rng: np.random.Generator, size: int, item: Item) -> Picture:
    """Lay one product, or many of it, on a random background."""
    ground, place = background(rng, size, item.ground)
    scene = Scene(ground, Light.random(rng))
    if rng.random() < item.many:
        words = _rows(rng, scene, item) if rng.random() < 0.5 else _scatter(rng, scene, item)
        caption = f"{words} {item.plural} on {place}"
    else:
        angle = angle_of(rng, item.spin)
        # the longer side takes 30 to 95 % of the frame, mostly more than half; slender parts more, or they vanish
        slender = max(item.half) / min(item.half)
        share = (0.3 + 0.65 * math.sqrt(rng.random())) * min(max(slender / 2.5, 1.0), 1.4)
        scale = share * size / (2 * max(item.half))
        room = max(0.5 * size * (1 - share), 1.0)
        centre = size / 2 + rng.uniform(-0.8, 0.8, 2) * room
        scene.place(item.part, (float(centre[0]), float(centre[1])), scale, angle, item.half, item.thickness)
        caption = str(rng.choice(_CAPTIONS)).format(thing=article(item.name), place=place)
    return Picture(np.clip(scene.image, 0, 1).astype(np.float32), caption, scene.mask)


def _rows(rng: np.random.Generator, scene: Scene, item: Item) -> str:
    """Identical parts in a square or staggered grid, all at one angle."""
    size = scene.size
    angle = 0.0 if item.spin != "free" else float(rng.choice([0.0, rng.uniform(0, 2 * math.pi)]))
    c, s = abs(math.cos(angle)), abs(math.sin(angle))
    reach = (item.half[0] * c + item.half[1] * s, item.half[1] * c + item.half[0] * s)
    columns = int(rng.integers(2, 7))
    gap = rng.uniform(1.05, 1.6)
    scale = size / (columns * 2 * reach[1] * gap)
    pitch_y, pitch_x = 2 * reach[0] * gap * scale, size / columns
    rows = max(round(size / pitch_y), 1)
    sprite = render(item.part, scale, angle, item.half, scene.light, item.thickness, limit=size)
    shift = rng.uniform(-0.3, 0.3, 2) * (pitch_y, pitch_x) if rng.random() < 0.5 else (0.0, 0.0)
    stagger = 0.5 * pitch_x if rng.random() < 0.3 else 0.0
    middle = (size - rows * pitch_y) / 2
    for row in range(-1, rows + 2):
        for column in range(-1, columns + 1):
            y = middle + (row + 0.5) * pitch_y + shift[0] + rng.normal(0, 0.6)
            x = (column + 0.5) * pitch_x + shift[1] + stagger * (row % 2) + rng.normal(0, 0.6)
            scene.paste(sprite, (round(y), round(x)))
    return str(rng.choice(["rows of", "many identical", "a grid of", "aligned"]))


def _scatter(rng: np.random.Generator, scene: Scene, item: Item) -> str:
    """Parts thrown on the table; they may lie on one another when there are many."""
    size = scene.size
    share = rng.uniform(0.1, 0.4)
    count = min(int(rng.integers(3, 30)), int(1.6 / share**2) + 2)
    scale = share * size / (2 * max(item.half))
    poses = [
        render(item.part, scale, angle_of(rng, item.spin), item.half, scene.light, item.thickness, limit=size)
        for _ in range(min(count, 6))
    ]
    heap = rng.random() < 0.25
    taken: list[tuple[float, float]] = []
    for _ in range(count):
        for _try in range(12):
            y, x = (float(v) for v in rng.uniform(-0.02, 1.02, 2) * size)
            if heap or all(math.hypot(y - ty, x - tx) > share * size for ty, tx in taken):
                taken.append((y, x))
                scene.paste(poses[int(rng.integers(len(poses)))], (round(y), round(x)))
                break
    return str(rng.choice(["scattered", "several", "loose", "a pile of" if heap else "separate"]))


_CAPTIONS = (
    "{thing} on {place}",
    "a photo of {thing} on {place}",
    "{thing} lying on {place}",
    "{thing} seen from above on {place}",
    "inspection image of {thing} on {place}",
    "{thing}",
)
