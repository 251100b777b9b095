"""The scalar fields, light and colours that every drawn picture is made of.

All functions are pure in the generator they are given; all fields are float32 H,W and square. Noise is tileable.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Field = npt.NDArray[np.float32]
"""float32 H,W."""

Light = tuple[float, float, float]
"""A unit vector towards the light: x right, y down, z towards the camera."""


@lru_cache(maxsize=8)
def _coords(size: int) -> tuple[Field, Field]:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    y.setflags(write=False)
    x.setflags(write=False)
    return y, x


def coords(size: int) -> tuple[Field, Field]:
    """Return (y, x): float32 H,W pixel centres in [-1, 1], y down. Read-only, shared between calls."""
    return _coords(size)


def turned(
    size: int, angle: float, scale: float = 1.0, centre: tuple[float, float] = (0.0, 0.0)
) -> tuple[Field, Field]:
    """Return (v, u): coordinates turned by `angle` radians about `centre` (y, x), then multiplied by `scale`."""
    y, x = coords(size)
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    c, s = np.float32(np.cos(angle) * scale), np.float32(np.sin(angle) * scale)
    return c * y - s * x, s * y + c * x


def normalise(field: npt.NDArray[np.floating], low: float = 0.0, high: float = 1.0) -> Field:
    """Stretch a field linearly to [low, high]; a constant field becomes `low`."""
    least, most = float(field.min()), float(field.max())
    span = most - least
    if span < 1e-12:
        return np.full(field.shape, low, np.float32)
    return ((field - least) * ((high - low) / span) + low).astype(np.float32)


def smoothstep(low: float, high: float, field: npt.NDArray[np.floating]) -> Field:
    """Hermite step from 0 at `low` to 1 at `high` (low > high gives the falling step)."""
    t: Field = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32, copy=False)
    return t * t * (3 - 2 * t)


def blur(field: npt.NDArray[np.floating], sigma: float | Sequence[float]) -> Field:
    """Gaussian blur, wrapping at the border; sigma in pixels, one number or (y, x)."""
    result: Field = ndimage.gaussian_filter(field.astype(np.float32, copy=False), sigma, mode="wrap", truncate=2.5)
    return result


@lru_cache(maxsize=256)
def _radii(size: int, anisotropy: float, angle: float) -> Field:
    fy = fft.fftfreq(size, 1.0 / size).astype(np.float32)[:, None]
    fx = fft.rfftfreq(size, 1.0 / size).astype(np.float32)[None, :]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = c * fx + s * fy, c * fy - s * fx
    # stretched along `angle`: frequencies along it count for more, so they carry less power
    radii: Field = np.sqrt((along * np.float32(anisotropy)) ** 2 + across**2)
    return radii


def _from_spectrum(rng: np.random.Generator, amplitude: Field, size: int) -> Field:
    # real and imaginary parts by turns in memory
    white = rng.standard_normal((*amplitude.shape, 2), np.float32).view(np.complex64)[..., 0]
    white *= amplitude
    white[0, 0] = 0
    field: Field = fft.irfft2(white, s=(size, size))
    field -= field.mean()
    return field / np.float32(max(float(field.std()), 1e-12))


def spectral_noise(
    rng: np.random.Generator, size: int, exponent: float, anisotropy: float = 1.0, angle: float = 0.0
) -> Field:
    """Gaussian noise whose power falls as 1/f^exponent.

    Args:
        rng: the generator.
        size: the side in pixels.
        exponent: 0 white, 1 pink, 2 natural images, 3 and more clouds.
        anisotropy: above 1 stretches the noise by that factor along `angle` (fibres, brushing).
        angle: the direction of stretching in radians from the x axis towards y (down).

    Returns:
        float32 H,W, zero mean, unit standard deviation, tileable.
    """
    # quantised so that the cache of radii is hit
    radii = _radii(size, round(float(anisotropy), 1), round(float(angle), 2) if anisotropy != 1 else 0.0)
    with np.errstate(divide="ignore"):
        amplitude = np.maximum(radii, np.float32(0.5)) ** np.float32(-exponent / 2)
    return _from_spectrum(rng, amplitude, size)


def band_noise(
    rng: np.random.Generator,
    size: int,
    frequency: float,
    bandwidth: float = 0.3,
    anisotropy: float = 1.0,
    angle: float = 0.0,
) -> Field:
    """Noise around one frequency (cycles a picture), `bandwidth` relative to it: bumps of one size.

    Anisotropy and angle as in `spectral_noise`; returns float32 H,W, zero mean, unit deviation, tileable.
    """
    radii = _radii(size, round(float(anisotropy), 1), round(float(angle), 2) if anisotropy != 1 else 0.0)
    spread = np.float32(max(frequency * bandwidth, 0.5))
    return _from_spectrum(rng, np.exp(-0.5 * ((radii - np.float32(frequency)) / spread) ** 2), size)


def gabor_noise(rng: np.random.Generator, size: int, frequency: float, angle: float, spread: float = 0.25) -> Field:
    """Noise around one wave vector: wavy stripes across `angle`, `frequency` cycles a picture (Lagae et al. 2009).

    Drawn in the frequency domain, as filtered Gaussian noise. Returns float32 H,W, zero mean, unit deviation, tileable.
    """
    fy = fft.fftfreq(size, 1.0 / size).astype(np.float32)[:, None]
    fx = fft.rfftfreq(size, 1.0 / size).astype(np.float32)[None, :]
    cx, cy = frequency * np.cos(angle), frequency * np.sin(angle)
    if cx < 0:
        cx, cy = -cx, -cy
    width = max(frequency * spread, 0.7)
    squared = (fx - np.float32(cx)) ** 2 + (fy - np.float32(cy)) ** 2
    return _from_spectrum(rng, np.exp(squared * np.float32(-0.5 / width**2)), size)


def worley(
    rng: np.random.Generator, size: int, cells: int, jitter: float = 1.0
) -> tuple[Field, Field, npt.NDArray[np.int32]]:
    """Cellular noise (Worley 1996) of cells × cells jittered points, tileable.

    Args:
        rng: the generator.
        size: the side in pixels.
        cells: points a side, at least 2.
        jitter: 1 anywhere in the cell, 0 a square lattice.

    Returns:
        F1 and F2: float32 H,W, distances to the nearest and the second point in cell widths; and the nearest point's
        index, int32 H,W, in [0, cells²).
    """
    cells = max(int(cells), 2)
    points = (0.5 + jitter * (rng.random((cells, cells, 2), np.float32) - 0.5)).astype(np.float32)
    numbers = np.arange(cells * cells, dtype=np.int32).reshape(cells, cells)
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / size)
    cell = place.astype(np.int32)
    part = place - cell
    first = np.full((size, size), 1e9, np.float32)
    second = first.copy()
    identity = np.zeros((size, size), np.int32)
    for dx in (-1, 0, 1):
        column = (cell + dx) % cells
        # by column first, on a few rows; then whole rows are copied, which is far cheaper than a gather of pixels
        number_rows, y_rows = numbers[:, column], points[:, column, 0]
        x_rows = (points[:, column, 1] + (dx - part)) ** 2
        for dy in (-1, 0, 1):
            row = (cell + dy) % cells
            squared = y_rows[row]
            squared += (dy - part)[:, None]
            squared *= squared
            squared += x_rows[row]
            nearer = squared < first
            np.minimum(second, np.maximum(first, squared), out=second)
            np.minimum(first, squared, out=first)
            np.copyto(identity, number_rows[row], where=nearer)
    return np.sqrt(first), np.sqrt(second), identity


def stripes(size: int, frequency: float, angle: float = 0.0, phase: float = 0.0) -> Field:
    """Sine stripes in [-1, 1], `frequency` cycles a picture, varying along `angle` (radians from x)."""
    _, u = turned(size, -angle)
    wave: Field = np.sin(u * np.float32(np.pi * frequency) + np.float32(phase))
    return wave


def sample(field: npt.NDArray[np.float32], y: Field, x: Field) -> npt.NDArray[np.float32]:
    """Bilinear look-up at pixel positions (y, x), wrapping; `field` is H,W or H,W,C, the result is y's shape (+ C)."""
    height, width = field.shape[:2]
    y0, x0 = np.floor(y), np.floor(x)
    fy, fx = (y - y0).astype(np.float32), (x - x0).astype(np.float32)
    r0, c0 = y0.astype(np.int32) % height, x0.astype(np.int32) % width
    r1, c1 = (r0 + 1) % height, (c0 + 1) % width
    flat = field.reshape(height * width, *field.shape[2:])
    if field.ndim == 3:
        fy, fx = fy[..., None], fx[..., None]
    r0, r1 = r0 * width, r1 * width
    top = flat[r0 + c0] * (1 - fx) + flat[r0 + c1] * fx
    bottom = flat[r1 + c0] * (1 - fx) + flat[r1 + c1] * fx
    result: npt.NDArray[np.float32] = top + (bottom - top) * fy
    return result


def rotate(field: npt.NDArray[np.float32], angle: float, zoom: float = 1.0) -> npt.NDArray[np.float32]:
    """Turn a tileable H,W or H,W,C field by `angle` radians about its middle, `zoom` > 1 enlarging it."""
    size = field.shape[0]
    v, u = turned(size, angle, size / (2 * zoom))
    return sample(field, v + np.float32(size / 2 - 0.5), u + np.float32(size / 2 - 0.5))


def warp(
    field: npt.NDArray[np.float32], rng: np.random.Generator, strength: float, exponent: float = 4.0
) -> npt.NDArray[np.float32]:
    """Displace a H,W or H,W,C field by smooth noise of `strength` px standard deviation; wraps."""
    size = field.shape[0]
    y, x = coords(size)
    half = np.float32(size / 2)
    dy = spectral_noise(rng, size, exponent) * np.float32(strength)
    dx = spectral_noise(rng, size, exponent) * np.float32(strength)
    return sample(field, (y + 1) * half - np.float32(0.5) + dy, (x + 1) * half - np.float32(0.5) + dx)


def random_light(rng: np.random.Generator, low: float = 0.35, high: float = 1.2) -> Light:
    """A unit vector towards a light from any side, its elevation above the surface in [low, high] radians."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
    return (
        float(np.cos(azimuth) * np.cos(elevation)),
        float(np.sin(azimuth) * np.cos(elevation)),
        float(np.sin(elevation)),
    )


def lit(
    height: Field,
    light: np.random.Generator | Light,
    strength: float = 1.0,
    specular: float = 0.0,
    shininess: float = 30.0,
) -> Field:
    """Shade a height field: Lambert's law plus Blinn-Phong's highlight, seen from above.

    Args:
        height: float32 H,W in pixels (a slope of 1 is 45°).
        light: a unit vector towards the light, or a generator to draw one.
        strength: multiplies the height.
        specular: the weight of the highlight; 0 matt, 1 polished.
        shininess: Blinn-Phong's exponent; larger is a smaller highlight.

    Returns:
        float32 H,W factor for the surface's colour: 1 where the surface is flat, 0 in shadow, above 1 towards the light
        and in highlights. Clip the product to [0, 1].
    """
    lx, ly, lz = random_light(light) if isinstance(light, np.random.Generator) else light
    scaled = height * np.float32(strength)
    gy, gx = np.empty_like(scaled), np.empty_like(scaled)
    gy[1:-1] = (scaled[2:] - scaled[:-2]) * np.float32(0.5)
    gy[0], gy[-1] = scaled[1] - scaled[0], scaled[-1] - scaled[-2]
    gx[:, 1:-1] = (scaled[:, 2:] - scaled[:, :-2]) * np.float32(0.5)
    gx[:, 0], gx[:, -1] = scaled[:, 1] - scaled[:, 0], scaled[:, -1] - scaled[:, -2]
    length = 1 / np.sqrt(gx * gx + gy * gy + 1)
    ambient = np.float32(0.3)
    facing = np.maximum((np.float32(lz) - gx * np.float32(lx) - gy * np.float32(ly)) * length, 0)
    shade: Field = ambient + (1 - ambient) * facing / np.float32(max(lz, 0.2))
    if specular > 0:
        half = np.array([lx, ly, lz + 1], np.float32)
        half /= np.linalg.norm(half)
        aligned = np.maximum((half[2] - gx * half[0] - gy * half[1]) * length, 0)
        # the flat part's own highlight is taken off, so that a flat surface keeps the factor 1
        shade += np.float32(specular) * (aligned ** np.float32(shininess) - half[2] ** np.float32(shininess))
    return np.maximum(shade, 0).astype(np.float32)


# hue, saturation and value ranges a material may have; several rows: one is chosen
_MATERIALS: dict[str, tuple[tuple[float, float, float, float, float, float], ...]] = {
    "metal": ((0.55, 0.65, 0.0, 0.08, 0.35, 0.85), (0.05, 0.15, 0.0, 0.06, 0.4, 0.8)),
    "steel": ((0.52, 0.66, 0.0, 0.1, 0.3, 0.75),),
    "aluminium": ((0.5, 0.65, 0.0, 0.04, 0.6, 0.9),),
    "brass": ((0.1, 0.14, 0.4, 0.65, 0.6, 0.85),),
    "copper": ((0.03, 0.07, 0.45, 0.7, 0.55, 0.85),),
    "iron": ((0.0, 1.0, 0.0, 0.06, 0.15, 0.45),),
    "rust": ((0.02, 0.075, 0.4, 0.75, 0.22, 0.5),),
    "plastic": ((0.0, 1.0, 0.4, 0.9, 0.3, 0.95), (0.0, 1.0, 0.0, 0.12, 0.08, 0.95)),
    "rubber": ((0.0, 1.0, 0.0, 0.1, 0.06, 0.3), (0.0, 1.0, 0.3, 0.7, 0.2, 0.6)),
    "paint": ((0.0, 1.0, 0.3, 0.9, 0.3, 0.9),),
    "wood": ((0.05, 0.11, 0.3, 0.65, 0.35, 0.85),),
    "fabric": ((0.0, 1.0, 0.1, 0.7, 0.2, 0.9), (0.05, 0.15, 0.05, 0.3, 0.5, 0.9), (0.0, 1.0, 0.0, 0.08, 0.2, 0.85)),
    "leather": ((0.02, 0.1, 0.3, 0.75, 0.15, 0.65), (0.0, 1.0, 0.0, 0.3, 0.08, 0.4)),
    "paper": ((0.08, 0.15, 0.0, 0.12, 0.8, 0.97),),
    "cardboard": ((0.07, 0.11, 0.25, 0.5, 0.5, 0.8),),
    "ceramic": ((0.0, 1.0, 0.0, 0.12, 0.7, 0.97), (0.0, 1.0, 0.2, 0.6, 0.3, 0.9)),
    "stone": ((0.0, 1.0, 0.0, 0.08, 0.35, 0.85), (0.04, 0.14, 0.08, 0.35, 0.35, 0.85)),
    "brick": ((0.0, 0.07, 0.4, 0.75, 0.35, 0.7), (0.06, 0.13, 0.2, 0.5, 0.5, 0.85)),
    "plant": ((0.18, 0.36, 0.35, 0.8, 0.25, 0.75),),
    "skin": ((0.0, 0.17, 0.3, 0.9, 0.4, 0.9),),
    "glass": ((0.4, 0.6, 0.05, 0.4, 0.3, 0.8),),
    "silicon": ((0.58, 0.7, 0.2, 0.7, 0.15, 0.45),),
    "board": ((0.25, 0.42, 0.5, 0.9, 0.2, 0.5), (0.55, 0.63, 0.6, 0.9, 0.2, 0.5), (0.0, 1.0, 0.0, 0.2, 0.06, 0.2)),
    "dark": ((0.0, 1.0, 0.0, 0.3, 0.04, 0.25),),
    "light": ((0.0, 1.0, 0.0, 0.15, 0.75, 0.98),),
    "grey": ((0.0, 1.0, 0.0, 0.03, 0.15, 0.9),),
    "any": ((0.0, 1.0, 0.0, 0.9, 0.08, 0.97), (0.0, 1.0, 0.0, 0.3, 0.2, 0.9)),
}

KINDS = tuple(_MATERIALS)
"""The materials that `colour` and `palette` know."""


def colour(rng: np.random.Generator, kind: str = "any") -> npt.NDArray[np.float32]:
    """One plausible base colour of a material (see KINDS): float32 (3,) RGB in [0, 1].

    Raises:
        KeyError: the material is not in KINDS.
    """
    rows = _MATERIALS[kind]
    h0, h1, s0, s1, v0, v1 = rows[int(rng.integers(len(rows)))]
    rgb = colorsys.hsv_to_rgb(rng.uniform(h0, h1) % 1.0, rng.uniform(s0, s1), rng.uniform(v0, v1))
    return np.asarray(rgb, np.float32)


def palette(rng: np.random.Generator, kind: str = "any", count: int = 4, contrast: float = 0.35) -> Field:
    """`count` related colours of one material, dark to light: float32 (count, 3) RGB in [0, 1].

    `contrast` is the relative span of brightness about the base colour; hue and saturation wander a little.
    """
    base = colour(rng, kind)
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in base))
    steps = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    rows = []
    for step in steps:
        hue = (h + rng.normal(0, 0.012)) % 1.0
        saturation = min(max(s * (1 - 0.25 * contrast * step) + rng.normal(0, 0.02) * (s > 0.02), 0), 1)
        value = min(max(v * (1 + contrast * step), 0.02), 1)
        rows.append(colorsys.hsv_to_rgb(hue, saturation, value))
    return np.asarray(rows, np.float32)


def colourise(field: Field, colours: Field) -> npt.NDArray[np.float32]:
    """Map a field in [0, 1] through colours (n, 3), linearly between neighbours: float32 H,W,3 in [0, 1]."""
    count = len(colours)
    if count == 1:
        return np.broadcast_to(colours[0], (*field.shape, 3)).astype(np.float32)
    # a table look-up is four times faster than interpolating every pixel
    ramp = np.linspace(0, count - 1, 1024)
    table = np.stack([np.interp(ramp, np.arange(count), colours[:, c]) for c in range(3)], 1).astype(np.float32)
    result: npt.NDArray[np.float32] = table[(np.clip(field, 0, 1) * 1023).astype(np.int32)]
    return result


def colour_name(rgb: Sequence[float] | npt.NDArray[np.float32]) -> str:
    """A plain English name of a colour: "dark grey", "light blue", "brown"."""
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb[:3]))
    if v < 0.13:
        return "black"
    if s < 0.14:
        return "white" if v > 0.88 else "light grey" if v > 0.65 else "dark grey" if v < 0.33 else "grey"
    if h < 0.11 and s < 0.65 and v > 0.6 and h > 0.04:
        return "beige" if s < 0.4 else "light brown"
    if 0.02 < h < 0.13 and v < 0.6:
        return "dark brown" if v < 0.3 else "brown"
    bounds: tuple[tuple[float, str], ...] = (
        (0.03, "red"),
        (0.11, "orange"),
        (0.19, "yellow"),
        (0.43, "green"),
        (0.53, "turquoise"),
        (0.71, "blue"),
    )
    bounds += ((0.82, "purple"), (0.95, "pink"), (1.01, "red"))
    name = next(word for limit, word in bounds if h < limit)
    return f"dark {name}" if v < 0.35 else f"light {name}" if v > 0.75 and s < 0.4 else name
