"""A scene: parts laid on a background under one light, with soft shadows, and a mask of where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from edge_ad.training.pretrain.draw.shapes import Field


class Paint:
    """What a part looks like at its coordinates, painted from the bottom up.

    Attributes:
        colour: float32 H,W,3 base colour in 0..1, before light.
        alpha: float32 H,W cover in 0..1.
        height: float32 H,W in the part's units; its slope is what the light sees.
        gloss: float32 H,W strength of highlights, about 0..1.
        metal: float32 H,W share of mirror-like reflection, 0..1.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.colour = np.zeros((*shape, 3), np.float32)
        self.alpha = np.zeros(shape, np.float32)
        self.height = np.zeros(shape, np.float32)
        self.gloss = np.zeros(shape, np.float32)
        self.metal = np.zeros(shape, np.float32)

    def add(
        self,
        alpha: Field,
        colour: npt.ArrayLike,
        *,
        height: Field | float | None = None,
        gloss: float = 0.2,
        metal: float = 0.0,
        extend: bool = True,
    ) -> Paint:
        """Paint a layer over what is there.

        Args:
            alpha: H,W cover in 0..1.
            colour: (3,) or H,W,3 base colour in 0..1.
            height: the new surface, where covered; None keeps the height that is there (a print).
            gloss: strength of highlights.
            metal: share of mirror-like reflection.
            extend: False paints only on what is there already (a print, an engraving).
        """
        if not extend:
            alpha = alpha * self.alpha
        a = alpha[..., None]
        self.colour += a * (np.asarray(colour, np.float32) - self.colour)
        self.gloss += alpha * (np.float32(gloss) - self.gloss)
        self.metal += alpha * (np.float32(metal) - self.metal)
        if height is not None:
            self.height += alpha * (height - self.height)
        if extend:
            self.alpha = np.maximum(self.alpha, alpha)
        return self

    def pierce(self, alpha: Field) -> Paint:
        """Make a through hole: what lies below shows."""
        self.alpha = self.alpha * (1 - alpha)
        return self


Part = Callable[[Field, Field, float], Paint]
"""(y, x, px) -> Paint: a part at coordinates in its own units, `px` being the side of a pixel in them."""


@dataclass(frozen=True)
class Light:
    """A lamp: direction towards it (y, x, z; unit length), ambient share, and the reflections that metal shows."""

    y: float
    x: float
    z: float
    ambient: float
    waves: tuple[float, float, float, float]
    shadow: float

    @staticmethod
    def random(rng: np.random.Generator) -> Light:
        """A plausible lamp: 30 to 75 degrees above the table, any side."""
        azimuth = rng.uniform(0, 2 * math.pi)
        elevation = math.radians(rng.uniform(30, 75))
        waves = (rng.uniform(-2.5, 2.5), rng.uniform(-2.5, 2.5), rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.5))
        return Light(
            math.cos(elevation) * math.sin(azimuth),
            math.cos(elevation) * math.cos(azimuth),
            math.sin(elevation),
            rng.uniform(0.25, 0.6),
            waves,
            rng.uniform(0.15, 0.65),
        )


def slopes(height: Field, px: float) -> tuple[Field, Field]:
    """Central differences of a height field along y and x, per unit."""
    gy, gx = np.zeros_like(height), np.zeros_like(height)
    scale = np.float32(0.5 / px)
    gy[1:-1] = (height[2:] - height[:-2]) * scale
    gx[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * scale
    return gy, gx


def relight(paint: Paint, light: Light, px: float) -> npt.NDArray[np.float32]:
    """Colour of a painted part under the light: Lambert, Blinn-Phong highlights, and reflections on metal.

    Returns float32 H,W,3, not clipped above.
    """
    gy, gx = slopes(paint.height, px)
    nz = 1 / np.sqrt(1 + gy * gy + gx * gx)
    ny, nx = -gy * nz, -gx * nz
    lambert = np.maximum(ny * np.float32(light.y) + nx * np.float32(light.x) + nz * np.float32(light.z), 0)
    shade = np.float32(light.ambient) + np.float32((1 - light.ambient) / light.z) * lambert
    hy, hx, hz = light.y, light.x, light.z + 1
    norm = math.sqrt(hy * hy + hx * hx + hz * hz)
    half = ny * np.float32(hy / norm) + nx * np.float32(hx / norm) + nz * np.float32(hz / norm)
    half = np.maximum(half, 0)
    half = half * half
    half = half * half
    half = half * half
    highlight = paint.gloss * half * half  # power 16
    # the flat top has some of the highlight too; taken out, so that gloss does not wash out flat parts
    flat = np.float32((hz / norm) ** 16)
    highlight = np.maximum(highlight - paint.gloss * flat, 0)
    wy, wx, phase, depth = (np.float32(v) for v in light.waves)
    mirror = 1 + depth * (np.sin(wy * 2 * ny + wx * 2 * nx + phase) - np.sin(phase))
    shade = shade * (1 + paint.metal * (mirror - 1))
    return paint.colour * np.minimum(shade, 1.7)[..., None] + highlight[..., None]


@dataclass
class Scene:
    """A picture being made.

    Attributes:
        image: float32 S,S,3 background, then the parts over it.
        light: the lamp.
        mask: bool S,S, True where a part covers at least half the pixel.
    """

    image: npt.NDArray[np.float32]
    light: Light
    mask: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.mask = np.zeros(self.image.shape[:2], bool)

    @property
    def size(self) -> int:
        """Side of the picture in px."""
        return int(self.image.shape[0])

    def place(
        self,
        part: Part,
        centre: tuple[float, float],
        scale: float,
        angle: float = 0.0,
        half: tuple[float, float] = (1.0, 1.0),
        thickness: float = 0.08,
    ) -> None:
        """Lay a part down.

        Args:
            part: what to draw.
            centre: y, x in px.
            scale: px a unit of the part.
            angle: radians.
            half: half height and half width of the part in its units; nothing is drawn outside.
            thickness: how far the part's shadow reaches, in its units.
        """
        sprite = render(part, scale, angle, half, self.light, thickness, (centre[0] % 1.0, centre[1] % 1.0), self.size)
        self.paste(sprite, (math.floor(centre[0]), math.floor(centre[1])))

    def paste(self, sprite: Sprite, at: tuple[int, int]) -> None:
        """Lay a rendered part with its origin on the whole pixel `at` (y, x); what falls outside is cut off."""
        top, left = at[0] - sprite.origin[0], at[1] - sprite.origin[1]
        h, w = sprite.alpha.shape
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, self.size), min(left + w, self.size)
        if y0 >= y1 or x0 >= x1:
            return
        here = (slice(y0, y1), slice(x0, x1))
        there = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        alpha = sprite.alpha[there]
        ground = self.image[here] * (1 - sprite.shadow[there])[..., None]
        self.image[here] = ground + alpha[..., None] * (sprite.colour[there] - ground)
        self.mask[here] |= alpha > 0.5


@dataclass(frozen=True)
class Sprite:
    """A part drawn at one size and angle: colour H,W,3, cover and shadow H,W, and where its origin lies (y, x)."""

    colour: npt.NDArray[np.float32]
    alpha: Field
    shadow: Field
    origin: tuple[int, int]


def render(
    part: Part,
    scale: float,
    angle: float,
    half: tuple[float, float],
    light: Light,
    thickness: float = 0.08,
    offset: tuple[float, float] = (0.0, 0.0),
    limit: int = 256,
) -> Sprite:
    """Draw a part under a light; arguments as `Scene.place`, `offset` is the origin's place inside its pixel.

    `limit` bounds the sprite's half side in px, so that a part larger than the picture costs no more than it.
    """
    reach = thickness * scale
    tall = min(1 / math.tan(math.asin(light.z)), 1.5)
    blur = max(0.35 * reach, 0.6)
    margin = math.ceil(reach * tall + 2 * blur) + 2
    c, s = abs(math.cos(angle)), abs(math.sin(angle))
    ry = min(math.ceil((half[0] * c + half[1] * s) * scale) + margin, limit)
    rx = min(math.ceil((half[1] * c + half[0] * s) * scale) + margin, limit)
    row = (np.arange(-ry, ry + 1, dtype=np.float32) - np.float32(offset[0])) / np.float32(scale)
    column = (np.arange(-rx, rx + 1, dtype=np.float32) - np.float32(offset[1])) / np.float32(scale)
    ca, sa = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y = ca * row[:, None] + sa * column[None, :]
    x = ca * column[None, :] - sa * row[:, None]
    paint = part(y, x, 1 / scale)
    colour = relight(paint, light, 1 / scale)
    length = max(math.hypot(light.y, light.x), 1e-6)
    shift = (-light.y / length * reach * tall, -light.x / length * reach * tall)
    shadow = _shifted(paint.alpha, round(shift[0]), round(shift[1]))
    width = max(2 * round(blur) + 1, 3)
    shadow = ndimage.uniform_filter(ndimage.uniform_filter(shadow, width), width) * np.float32(light.shadow)
    return Sprite(colour, paint.alpha, shadow, (ry, rx))


def _shifted(a: Field, dy: int, dx: int) -> Field:
    out = np.zeros_like(a)
    h, w = a.shape
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = a[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out
