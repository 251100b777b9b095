"""Textiles and leather: woven threads that go over and under each other, knitted loops, pile, felt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field, colour, colour_name
from edge_ad.training.pretrain.draw.picture import Draw, FloatImage, Picture
from edge_ad.training.pretrain.draw.strokes import strokes
from edge_ad.training.pretrain.draw.surfaces_common import (
    any_angle,
    by_index,
    hashed,
    jitter_1d,
    log_uniform,
    mix,
    pick,
    pitches,
    ramp,
    split,
    surface,
    tinted,
)

Weave = npt.NDArray[np.int8]
"""±1 rows (weft) × columns (warp): 1 where the warp thread lies on top; repeats in both directions."""


def plain_weave(span: int = 1) -> Weave:
    """Over one (or `span`: basket, panama), under one."""
    index = np.arange(2 * span) // span
    return np.where((index[:, None] + index[None]) % 2, -1, 1).astype(np.int8)


def twill_weave(over: int, under: int, step: int = 1) -> Weave:
    """Diagonal ribs: each row is the last one moved by `step`."""
    n = over + under
    row = np.where(np.arange(n) < over, 1, -1)
    return np.stack([np.roll(row, step * k) for k in range(n)]).astype(np.int8)


def satin_weave(n: int, step: int) -> Weave:
    """Warp on top except at one crossing a row, `step` apart from row to row."""
    weave = np.ones((n, n), np.int8)
    weave[np.arange(n), (np.arange(n) * step) % n] = -1
    return weave


def herringbone_weave(width: int) -> Weave:
    """2/2 twill that turns back every `width` threads."""
    right = np.tile(twill_weave(2, 2), (1, width // 4 + 1))[:, :width]
    return np.concatenate([right, right[:, ::-1]], 1)


def woven(
    rng: np.random.Generator,
    size: int,
    weave: Weave,
    pitch: float,
    warp_colours: npt.NDArray[np.float32],
    weft_colours: npt.NDArray[np.float32],
    *,
    angle: float = 0.0,
    aspect: float = 1.0,
    fill: float = 0.95,
    hairiness: float = 0.05,
    irregularity: float = 1.0,
    twist: float = 0.1,
    shine: float = 0.1,
    depth: float = 0.22,
    behind: npt.NDArray[np.float32] | None = None,
) -> FloatImage:
    """Draw a weave thread by thread.

    Each thread is a bent cylinder: its height at a crossing is +1 on top and −1 below, smooth in between; the higher of
    the two threads at a pixel is seen.

    Args:
        rng: the generator.
        size: the side in pixels.
        weave: the pattern.
        pitch: warp threads' distance in pixels.
        warp_colours: (n, 3) a colour for each warp thread, repeating.
        weft_colours: (n, 3) likewise.
        angle: the weave's direction in radians.
        aspect: the weft's distance over the warp's.
        fill: thread width over distance; below 1 leaves gaps.
        hairiness: the strength of fibre noise.
        irregularity: 1 a cloth, 0 nearly perfect (wire).
        twist: the strength of the yarn's twist lines.
        shine: the weight of the highlight.
        depth: how much darker the lower thread is.
        behind: (3,) the colour seen through gaps; by default the threads' own, dark.

    Returns:
        float32 H,W,3.
    """
    v, u = pitches(rng, size, (pitch * aspect, pitch), angle, 0.35 * irregularity * min(1.0, 6 / pitch))
    # each thread lies a little off its place, along its length by turns
    slow = fields.spectral_noise(rng, size, 2.4)
    u = u + np.float32(0.07 * irregularity) * slow
    j, part_v = split(v)
    i, part_u = split(u)

    def height_of(
        along: Field, cross: npt.NDArray[np.int32], thread: npt.NDArray[np.int32], part: Field, warp: bool, fat: Field
    ) -> tuple[Field, Field]:
        # smooth run between the two nearest crossings, whose middles are at half-integers
        before = (along - np.float32(0.5)).astype(np.int32)
        t = along - np.float32(0.5) - before
        t = t * t * (3 - 2 * t)
        rows, columns = weave.shape
        if warp:
            here, after = weave[before % rows, thread % columns], weave[(before + 1) % rows, thread % columns]
        else:
            here, after = -weave[thread % rows, before % columns], -weave[thread % rows, (before + 1) % columns]
        run = here + (after - here) * t
        offset = (part - np.float32(0.5)) / (np.float32(0.5) * fat)
        round_part = 1 - offset * offset
        body = np.sqrt(np.maximum(round_part, 0)) + run * np.float32(0.55)
        return np.where(round_part > 0, body, np.float32(-2)).astype(np.float32), offset

    spread = 0.05 * irregularity
    fat_u = np.clip(fill * (1 + by_index(i, jitter_1d(rng, spread))), 0.2, 1.0)
    fat_v = np.clip(fill * (1 + by_index(j, jitter_1d(rng, spread))), 0.2, 1.0)
    warp_height, warp_off = height_of(v, j, i, part_u, True, fat_u)
    weft_height, weft_off = height_of(u, i, j, part_v, False, fat_v)
    warp_up = warp_height >= weft_height
    height = np.maximum(warp_height, weft_height)
    gap = height < -1.5
    relief = np.maximum(height, -0.8) * np.float32(pitch * 0.35)
    light = fields.random_light(rng, 0.5, 1.2)
    tone = fields.lit(relief, light, 0.25 + 1.6 * depth, shine, 15)
    tone *= np.clip(1 - 1.3 * depth + depth * height, 0.3, 1.2)
    if twist > 0 and pitch > 6:
        lay = np.where(warp_up, v * aspect * 3 + warp_off * 1.1, u / aspect * 3 + weft_off * 1.1)
        tone *= 1 + np.float32(twist) * np.sin(lay * np.float32(2 * np.pi))
    tone_u, tone_v = by_index(i, jitter_1d(rng, 0.06 * irregularity)), by_index(j, jitter_1d(rng, 0.06 * irregularity))
    tone *= 1 + np.where(warp_up, tone_u, tone_v)
    if hairiness > 0:
        tone *= 1 + np.float32(hairiness) * fields.spectral_noise(rng, size, 0.6)
    warp_rgb = warp_colours[i % len(warp_colours)]
    weft_rgb = weft_colours[j % len(weft_colours)]
    image = np.where(warp_up[..., None], warp_rgb, weft_rgb) * tone[..., None]
    under = (warp_colours[0] + weft_colours[0]) * np.float32(0.12) if behind is None else behind
    share = fields.blur(gap.astype(np.float32), 0.5) if gap.any() else gap.astype(np.float32)
    return mix(image, under, share)


def _yarns(rng: np.random.Generator, pattern: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str]:
    """Thread colours: one colour, two, stripes or checks; and their name."""
    first = colour(rng, "fabric")
    other = colour(rng, "fabric")
    near = np.clip(first * rng.uniform(0.8, 1.2), 0, 1).astype(np.float32)
    if pattern == "plain":
        return first[None], near[None], colour_name(first)
    if pattern == "two-tone":
        names = (colour_name(first), colour_name(other))
        return first[None], other[None], names[0] if names[0] == names[1] else f"{names[0]} and {names[1]}"
    bands = np.concatenate([np.repeat(c[None], int(rng.integers(2, 14)), 0) for c in (first, other)])
    if rng.random() < 0.4:
        bands = np.concatenate([bands, np.repeat(colour(rng, "fabric")[None], int(rng.integers(1, 8)), 0)])
    if pattern == "striped":
        return bands, near[None], f"striped {colour_name(first)}"
    return bands, bands, f"checked {colour_name(first)}"


def _cloth(rng: np.random.Generator, size: int, weave: Weave, noun: str, low: float = 3.2, high: float = 26) -> Picture:
    pattern = str(rng.choice(["plain", "two-tone", "striped", "checked"], p=[0.55, 0.2, 0.13, 0.12]))
    warp_colours, weft_colours, name = _yarns(rng, pattern)
    image = woven(
        rng,
        size,
        weave,
        log_uniform(rng, low, high),
        warp_colours,
        weft_colours,
        angle=any_angle(rng),
        aspect=rng.uniform(0.8, 1.4),
        fill=rng.uniform(0.8, 1.0),
        hairiness=rng.uniform(0.02, 0.12),
        irregularity=rng.uniform(0.3, 1.3),
        twist=rng.uniform(0, 0.15),
        shine=rng.uniform(0, 0.25),
        depth=rng.uniform(0.03, 0.24),
    )
    return surface(rng, image, f"{name} {noun}")


def plain(rng: np.random.Generator, size: int) -> Picture:
    """Plain or basket weave."""
    return _cloth(rng, size, plain_weave(1), pick(rng, ("plain woven fabric", "linen cloth", "cotton fabric")))


def basket(rng: np.random.Generator, size: int) -> Picture:
    """Basket weave: two or three threads together."""
    return _cloth(rng, size, plain_weave(int(rng.integers(2, 4))), "basket weave fabric", 3.2, 16)


def twill(rng: np.random.Generator, size: int) -> Picture:
    """Twill of any over and under."""
    weave = twill_weave(int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.choice([-1, 1])))
    return _cloth(rng, size, weave, "twill fabric", 3.2, 20)


def satin(rng: np.random.Generator, size: int) -> Picture:
    """Satin or sateen."""
    n, step = ((5, 2), (8, 3), (7, 2))[int(rng.integers(3))]
    weave = satin_weave(n, step)
    return _cloth(rng, size, weave if rng.random() < 0.6 else -weave.T, "satin fabric", 3.2, 14)


def herringbone(rng: np.random.Generator, size: int) -> Picture:
    """Herringbone twill."""
    return _cloth(rng, size, herringbone_weave(int(rng.integers(2, 6)) * 4), "herringbone fabric", 3.2, 14)


def denim(rng: np.random.Generator, size: int) -> Picture:
    """Denim: blue warp twill over a pale weft."""
    blue = fields.colourise(fields.normalise(jitter_1d(rng, 1, 24)[None])[0][None], fields.palette(rng, "silicon", 3))[
        0
    ]
    blue = np.clip(blue * rng.uniform(0.9, 1.8), 0, 1).astype(np.float32)
    pale = colour(rng, "paper")[None] * np.float32(rng.uniform(0.6, 1))
    image = woven(
        rng, size, twill_weave(2 + int(rng.integers(2)), 1), log_uniform(rng, 4.5, 14), blue, pale,
        angle=any_angle(rng), fill=0.97, hairiness=rng.uniform(0.05, 0.15), irregularity=rng.uniform(0.7, 1.4),
    )  # fmt: skip
    image *= (1 + 0.06 * fields.spectral_noise(rng, size, 2))[..., None]
    return surface(rng, image, f"{pick(rng, ('blue ', 'dark ', 'washed '))}denim cloth")


def canvas(rng: np.random.Generator, size: int) -> Picture:
    """Canvas, burlap or gauze: coarse plain weave with gaps."""
    word = pick(rng, ("canvas", "burlap", "jute sacking", "gauze"))
    base = colour(rng, "cardboard" if word != "gauze" else "light")
    fill = rng.uniform(0.45, 0.6) if word == "gauze" else rng.uniform(0.7, 0.95)
    image = woven(
        rng, size, plain_weave(1), log_uniform(rng, 5, 22), base[None], (base * np.float32(0.95))[None],
        angle=any_angle(rng), fill=fill, hairiness=rng.uniform(0.06, 0.16), irregularity=rng.uniform(1, 2), twist=0.12,
        behind=colour(rng, "dark" if rng.random() < 0.7 else "any"),
    )  # fmt: skip
    return surface(rng, image, f"{pick(rng, ('coarse ', 'natural ', ''))}{word} cloth")


def carbon(rng: np.random.Generator, size: int) -> Picture:
    """Carbon or glass fibre cloth: flat tows in twill whose sheen changes with their direction."""
    glass = rng.random() < 0.3
    base = colour(rng, "light" if glass else "iron") * np.float32(1 if glass else 0.8)
    other = base * np.float32(rng.uniform(0.35, 0.7))
    weave = twill_weave(2, 2) if rng.random() < 0.7 else plain_weave(1)
    image = woven(
        rng, size, weave, log_uniform(rng, 9, 44), base[None], other[None],
        angle=any_angle(rng), fill=0.98, hairiness=0.02, irregularity=0.25, twist=0, shine=0.3,
    )  # fmt: skip
    image *= (1 + 0.08 * fields.spectral_noise(rng, size, 0.8, 25, any_angle(rng)))[..., None]
    return surface(rng, image, f"{'glass' if glass else 'carbon'} fibre cloth")


def wire_mesh(rng: np.random.Generator, size: int) -> Picture:
    """Woven wire mesh or plastic screen before a plain ground."""
    metal = rng.random() < 0.75
    base = colour(rng, pick(rng, ("steel", "brass", "copper", "aluminium")) if metal else "plastic")
    weave = plain_weave(1) if rng.random() < 0.75 else twill_weave(2, 2)
    image = woven(
        rng, size, weave, log_uniform(rng, 8, 44), base[None], base[None], angle=any_angle(rng),
        fill=rng.uniform(0.25, 0.6), hairiness=0.02, irregularity=rng.uniform(0.05, 0.35), twist=0,
        shine=rng.uniform(0.2, 1) if metal else 0.2, behind=colour(rng, pick(rng, ("dark", "light", "any"))),
    )  # fmt: skip
    return surface(rng, image, f"{'metal wire' if metal else 'plastic'} {pick(rng, ('mesh', 'screen', 'grid'))}")


def knit(rng: np.random.Generator, size: int) -> Picture:
    """Jersey knit: columns of V-shaped stitches."""
    pitch = log_uniform(rng, 9, 44)
    v, u = pitches(rng, size, (pitch * rng.uniform(0.6, 0.9), pitch), any_angle(rng), rng.uniform(0.02, 0.09))
    column, part = split(u)
    side = np.abs(2 * part - 1)
    slant = rng.uniform(0.5, 1.1)
    row, leg = split(v + np.float32(slant) * side + by_index(column, jitter_1d(rng, 0.04)))
    leg = 2 * leg - 1
    arch = 1 - (2 * side - 1) ** 2
    height = np.sqrt(np.maximum(1 - leg * leg * 1.05, 0)) * np.sqrt(np.maximum(arch, 0.02))
    first, second, name = _yarns(rng, pick(rng, ("plain", "plain", "striped")))
    rgb = first[row % len(first)] if len(first) > 1 else first[0]
    tone = fields.lit(height * np.float32(pitch * 0.3), fields.random_light(rng, 0.6, 1.3), 0.7)
    tone *= 0.35 + 0.75 * height
    strand = np.sin((leg * 2 + side * rng.uniform(2, 5)) * 4) if pitch > 14 else np.float32(0)
    tone *= 1 + 0.08 * strand + rng.uniform(0.03, 0.12) * fields.spectral_noise(rng, size, 0.7)
    del second
    return surface(rng, rgb * tone[..., None], f"{name} {pick(rng, ('knitted', 'knit', 'jersey'))} fabric")


def carpet(rng: np.random.Generator, size: int) -> Picture:
    """Cut or loop pile: tufts in rough rows, each of its own tone."""
    cells = int(log_uniform(rng, 14, 64))
    near, _, cell = fields.worley(rng, size, cells, rng.uniform(0.4, 0.95))
    tuft = np.maximum(1 - near * near * 1.3, 0)
    fibre = fields.spectral_noise(rng, size, 0.5)
    height = tuft * np.float32(size / cells * 0.5) + rng.uniform(0.3, 0.9) * fibre
    colours = fields.palette(rng, pick(rng, ("fabric", "fabric", "grey", "any")), 5, rng.uniform(0.05, 0.5))
    picked = by_index(cell, np.asarray(rng.random(4096), np.float32))
    tone = fields.lit(height, rng, rng.uniform(0.4, 1)) * (0.55 + 0.5 * tuft)
    image = fields.warp(fields.colourise(picked, colours) * tone[..., None], rng, rng.uniform(0, 1.5), 1.5)
    return surface(
        rng, image, f"{colour_name(colours[2])} {pick(rng, ('carpet', 'loop pile carpet', 'rug', 'terry cloth'))}"
    )


def felt(rng: np.random.Generator, size: int) -> Picture:
    """Felt, nonwoven, fibre mat: fibres lying in all directions."""
    base = colour(rng, pick(rng, ("fabric", "light", "dark")))
    count = int(log_uniform(rng, 500, 1500))
    colours = np.clip(base * (1 + rng.normal(0, rng.uniform(0.1, 0.4), (count, 1))), 0, 1).astype(np.float32)
    start = np.broadcast_to(base, (size, size, 3))
    angle = (rng.uniform(0, np.pi), rng.uniform(0.2, 3))
    image = strokes(rng, start, colours, angle, (0.05, 0.4), (0.6, rng.uniform(1, 3)), rng.uniform(0.2, 2))
    tone = 1 + rng.uniform(0.03, 0.1) * fields.spectral_noise(rng, size, 1.2)
    noun = pick(rng, ("felt", "nonwoven fabric", "fibre mat", "fleece", "filter paper"))
    return surface(rng, image * tone[..., None], f"{colour_name(base)} {noun}")


def leather(rng: np.random.Generator, size: int) -> Picture:
    """Leather: creases between small plates of skin, pores, a soft shine."""
    cells = int(log_uniform(rng, 12, 50))
    first, second, _ = fields.worley(rng, size, cells, 1)
    coarse_first, coarse_second, _ = fields.worley(rng, size, max(cells // 3, 3), 1)
    crease = fields.smoothstep(0, 0.3, second - first) + rng.uniform(0, 0.8) * fields.smoothstep(
        0, 0.15, coarse_second - coarse_first
    )
    relief = fields.warp(crease, rng, rng.uniform(0.6, 2.5), 2.2)
    height = relief * np.float32(min(size / cells * 0.25, 3)) + 0.5 * fields.spectral_noise(rng, size, 1.6)
    base = colour(rng, "leather")
    tone = fields.lit(fields.blur(height, 0.6), rng, rng.uniform(0.25, 0.8), rng.uniform(0.05, 0.5), rng.uniform(8, 30))
    tone *= 0.8 + 0.15 * relief + 0.05 * fields.spectral_noise(rng, size, 2.4)
    return surface(rng, tinted(base, tone), f"{colour_name(base)} leather")


def net(rng: np.random.Generator, size: int) -> Picture:
    """Knotted net or lace ground: diagonal cords that meet in knots."""
    pitch = log_uniform(rng, 14, 60)
    turn, spread = any_angle(rng), rng.uniform(0.6, 0.95)
    _, a = pitches(rng, size, pitch, turn + spread, 0.08)
    _, b = pitches(rng, size, pitch, turn - spread, 0.08)
    i, a_part = split(a)
    j, b_part = split(b)
    da, db = np.abs(a_part - 0.5), np.abs(b_part - 0.5)
    cord = rng.uniform(0.06, 0.16) * (1 + jitter_1d(rng, 0.06, 4096)[hashed(i, j)])
    knot = np.sqrt(da * da + db * db) - cord * 1.8
    distance = np.minimum(np.minimum(da, db) - cord, knot)
    inside = ramp(distance * np.float32(pitch), 1.4)
    height = np.sqrt(np.maximum(-distance, 0)) * np.float32(pitch * 0.5)
    base, ground = colour(rng, "fabric"), colour(rng, pick(rng, ("dark", "light", "any")))
    tone = fields.lit(fields.blur(height, 0.7), rng, 0.8) * (1 + 0.08 * fields.spectral_noise(rng, size, 0.6))
    floor = tinted(ground, 1 - 0.35 * np.roll(fields.blur(inside, 2), rng.integers(-5, 6, 2), (0, 1)))
    return surface(
        rng, mix(floor, tinted(base, tone), inside), f"{colour_name(base)} {pick(rng, ('net', 'netting', 'lace mesh'))}"
    )


FAMILIES: dict[str, Draw] = {
    "plain_weave": plain,
    "basket_weave": basket,
    "twill": twill,
    "satin": satin,
    "herringbone": herringbone,
    "denim": denim,
    "canvas": canvas,
    "carbon_fibre": carbon,
    "wire_mesh": wire_mesh,
    "knit": knit,
    "carpet": carpet,
    "felt": felt,
    "leather": leather,
    "net": net,
}
"""Family name to drawing function."""
