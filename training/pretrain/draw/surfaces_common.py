"""What every surface family shares: coordinates in pitches, edges without aliasing, captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field
from edge_ad.training.pretrain.draw.picture import FloatImage, Picture

_FRAMES = (
    ("{a}", 0.34),
    ("a close photograph of {a}", 0.16),
    ("a photo of {a}", 0.14),
    ("close-up of {a}", 0.12),
    ("{bare} texture", 0.1),
    ("an inspection image of {a}", 0.08),
    ("{a}, seen from above", 0.06),
)


def pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    """One of the words, uniformly."""
    return words[int(rng.integers(len(words)))]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform: scales are drawn so."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def any_angle(rng: np.random.Generator) -> float:
    """A direction in radians: half the time nearly along the picture's axes, as a fixed camera sees its product."""
    if rng.random() < 0.5:
        return float(rng.integers(2) * np.pi / 2 + rng.normal(0, 0.03))
    return float(rng.uniform(0, np.pi))


def surface(rng: np.random.Generator, image: npt.NDArray[np.floating], noun: str) -> Picture:
    """A picture that the surface fills; `noun` is what is seen, without an article ("grey twill fabric")."""
    article = "an" if noun[0] in "aeiou" else "a"
    weights = np.array([weight for _, weight in _FRAMES])
    frame = _FRAMES[int(rng.choice(len(_FRAMES), p=weights / weights.sum()))][0]
    clipped = np.clip(image, 0, 1).astype(np.float32)
    return Picture(clipped, frame.format(a=f"{article} {noun}", bare=noun), np.ones(clipped.shape[:2], bool))


def pixels(size: int, angle: float = 0.0) -> tuple[Field, Field]:
    """(v, u) in pixels from the picture's middle, turned by `angle`."""
    return fields.turned(size, angle, size / 2)


def pitches(
    rng: np.random.Generator, size: int, pitch: float | tuple[float, float], angle: float, wobble: float = 0.0
) -> tuple[Field, Field]:
    """(v, u) counted in pitches of a repeating structure, with a random phase and a slow wobble (in pitches)."""
    pitch_v, pitch_u = pitch if isinstance(pitch, tuple) else (pitch, pitch)
    v, u = pixels(size, angle)
    v, u = v * np.float32(1 / pitch_v), u * np.float32(1 / pitch_u)
    if wobble > 0:
        v = v + fields.spectral_noise(rng, size, 3.6) * np.float32(wobble)
        u = u + fields.spectral_noise(rng, size, 3.6) * np.float32(wobble)
    # an offset of whole thousands keeps every index positive
    v = v + np.float32(1000 + rng.random())
    u = u + np.float32(1000 + rng.random())
    return v.astype(np.float32), u.astype(np.float32)


def ramp(distance: npt.NDArray[np.floating], width: float) -> Field:
    """1 where distance (in pixels) is well below 0 and 0 well above, over `width` pixels: an edge without aliasing."""
    share: Field = np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1).astype(np.float32, copy=False)
    return share


def by_index(index: npt.NDArray[np.integer], table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """table[index mod len(table)]."""
    result: npt.NDArray[np.float32] = table[index % len(table)]
    return result


def jitter_1d(rng: np.random.Generator, spread: float, count: int = 512) -> npt.NDArray[np.float32]:
    """`count` zero-mean normal numbers for `by_index`: a width or a tone for each of the repeated things."""
    return (rng.standard_normal(count) * spread).astype(np.float32)


def of_cell(
    rng: np.random.Generator, cell: npt.NDArray[np.integer], colours: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """A random one of the colours (n, 3) for each cell number: float32 H,W,3."""
    return by_index(cell, colours[rng.integers(0, len(colours), 4096)])


def hashed(i: npt.NDArray[np.int32], j: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """A scrambled index in [0, 4096) for each pair, to look up a random number for each cell of a grid."""
    mixed = i * np.int32(73856093) ^ j * np.int32(19349663)
    mixed = mixed ^ (mixed >> np.int32(13))
    result: npt.NDArray[np.int32] = mixed & np.int32(4095)
    return result


def split(value: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int32], Field]:
    """Whole part (int32) and fraction in [0, 1) of positive numbers."""
    whole = value.astype(np.int32)
    return whole, (value - whole).astype(np.float32)


def profile(rng: np.random.Generator, at: Field, exponent: float = 1.0, count: int = 2048) -> Field:
    """Noise in one dimension (1/f^exponent, unit deviation, wrapping), sampled linearly at `at` in its own steps."""
    spectrum = rng.standard_normal(count // 2 + 1) + 1j * rng.standard_normal(count // 2 + 1)
    spectrum *= np.maximum(np.arange(count // 2 + 1), 1) ** (-exponent / 2)
    spectrum[0] = 0
    line = np.fft.irfft(spectrum, count)
    line = (line / line.std()).astype(np.float32)
    floor = np.floor(at)
    whole = floor.astype(np.int32)
    part = (at - floor).astype(np.float32)
    here, after = line[whole % count], line[(whole + 1) % count]
    result: Field = here + (after - here) * part
    return result


def tinted(base: npt.NDArray[np.float32], tone: npt.NDArray[np.floating]) -> FloatImage:
    """A base colour (3,) times a tone H,W: float32 H,W,3."""
    return (tone[..., None] * base).astype(np.float32)


def mix(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], share: Field) -> FloatImage:
    """first · (1 − share) + second · share; colours are (3,) or H,W,3, share is H,W in [0, 1]."""
    return (first + (second - first) * share[..., None]).astype(np.float32)
