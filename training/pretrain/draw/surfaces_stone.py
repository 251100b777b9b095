"""Stone, ceramics, building materials, wood and paper."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field, colour, colour_name
from edge_ad.training.pretrain.draw.picture import Draw, Picture
from edge_ad.training.pretrain.draw.strokes import strokes
from edge_ad.training.pretrain.draw.surfaces_common import (
    any_angle,
    by_index,
    hashed,
    jitter_1d,
    log_uniform,
    mix,
    of_cell,
    pick,
    pitches,
    profile,
    ramp,
    split,
    surface,
    tinted,
)


def _laid(
    rng: np.random.Generator, size: int, pitch: float, aspect: float, angle: float, shift: float, joint: float
) -> tuple[Field, npt.NDArray[np.int32], Field, Field]:
    """Rows of rectangles: distance to the joint in pixels (negative inside a joint), cell numbers, (v, u) inside."""
    height = pitch / aspect
    v, u = pitches(rng, size, (height, pitch), angle, 0.008)
    row, part_v = split(v)
    column, part_u = split(u + np.float32(shift) * row)
    cell = hashed(row, column)
    loose = jitter_1d(rng, 0.25 * joint, 4096)[cell]
    from_v = (0.5 - np.abs(part_v - 0.5)) * np.float32(height)
    from_u = (0.5 - np.abs(part_u - 0.5)) * np.float32(pitch)
    distance = np.minimum(from_v, from_u) - np.float32(joint / 2) + loose * 0.3
    return distance, cell, part_v, part_u


def tiles(rng: np.random.Generator, size: int) -> Picture:
    """Ceramic tiles with grout: squares, oblongs, in line or in bond."""
    pitch = log_uniform(rng, 24, 220)
    aspect = float(rng.choice([1, 1, 2, 3]))
    joint = max(pitch * rng.uniform(0.015, 0.06), 1.5)
    shift = float(rng.choice([0, 0.5, 0.33]))
    distance, cell, _, _ = _laid(rng, size, pitch, aspect, any_angle(rng), shift, joint)
    tile = ramp(-distance, 1.5)
    glaze = colour(rng, "ceramic")
    colours = fields.palette(rng, "ceramic", 4, rng.uniform(0, 0.15)) if rng.random() < 0.3 else glaze[None]
    rgb = of_cell(rng, cell, colours) if len(colours) > 1 else colours[0]
    tone = 1 + jitter_1d(rng, rng.uniform(0.005, 0.06), 4096)[cell]
    edge = fields.smoothstep(0, max(joint * 0.8, 2), distance) * np.float32(rng.uniform(1, 4))
    marble = rng.uniform(0, 0.08) * fields.spectral_noise(rng, size, 2.4)
    tone = tone * fields.lit(edge, rng, 0.6, rng.uniform(0.1, 0.8), 20) + marble
    grout = tinted(colour(rng, "stone"), 0.9 + 0.08 * fields.spectral_noise(rng, size, 0.8))
    form = "square" if aspect == 1 else "rectangular"
    name = f"{colour_name(colours[0])} {form} ceramic tiles with grout"
    return surface(rng, mix(grout, rgb * tone[..., None], tile), f"wall of {name}" if rng.random() < 0.4 else name)


def brick(rng: np.random.Generator, size: int) -> Picture:
    """Brick wall."""
    pitch = log_uniform(rng, 44, 180)
    joint = pitch * rng.uniform(0.03, 0.08)
    aspect = rng.uniform(2.2, 3.4)
    distance, cell, _, _ = _laid(rng, size, pitch, aspect, rng.normal(0, 0.03), 0.5, joint)
    rough = fields.spectral_noise(rng, size, 1.6)
    ragged = distance + rng.uniform(0, 1.4) * rough
    share = ramp(-ragged, 2)
    colours = fields.palette(rng, "brick", 6, rng.uniform(0.1, 0.45))
    rgb = of_cell(rng, cell, colours)
    relief = np.clip(ragged, 0, joint * 0.8) * rng.uniform(0.4, 1) + rng.uniform(0.3, 0.9) * rough
    tone = fields.lit(fields.blur(relief, 0.5), rng, rng.uniform(0.3, 0.8)) * (1 + 0.06 * rough)
    mortar = colour(rng, "stone")
    image = mix(tinted(mortar, 1 + 0.06 * rough), rgb * np.ones((size, size, 1), np.float32), share) * tone[..., None]
    light = "light" if mortar.mean() > 0.5 else "dark"
    return surface(rng, image, f"{colour_name(colours[2])} brick wall with {light} mortar")


def mosaic(rng: np.random.Generator, size: int) -> Picture:
    """Irregular stones or mosaic pieces with joints between."""
    cells = int(log_uniform(rng, 4, 20))
    first, second, cell = fields.worley(rng, size, cells, rng.uniform(0.3, 1))
    scale = np.float32(size / cells)
    distance = (second - first) * scale - np.float32(rng.uniform(1.5, 4))
    share = ramp(-distance, 1.5)
    colours = fields.palette(rng, pick(rng, ("stone", "ceramic", "any", "brick")), 6, rng.uniform(0.1, 0.6))
    rough = fields.spectral_noise(rng, size, 1.8)
    relief = np.minimum(np.maximum(distance, 0), rng.uniform(1, 6)) + 0.5 * rough
    tone = fields.lit(fields.blur(relief, 0.6), rng, rng.uniform(0.3, 0.8), rng.uniform(0, 0.5)) * (1 + 0.05 * rough)
    grout = tinted(colour(rng, pick(rng, ("stone", "dark"))), 1 + 0.06 * rough)
    image = mix(grout, of_cell(rng, cell, colours) * tone[..., None], share)
    return surface(
        rng,
        image,
        f"{colour_name(colours[3])} {pick(rng, ('stone pavement', 'mosaic', 'crazy paving', 'cobblestones'))}",
    )


def concrete(rng: np.random.Generator, size: int) -> Picture:
    """Concrete, plaster, stucco, asphalt."""
    word = pick(rng, ("concrete", "plaster", "stucco", "asphalt", "cement"))
    base = colour(rng, "iron" if word == "asphalt" else "stone")
    cloud, rough = (
        fields.spectral_noise(rng, size, rng.uniform(2, 3)),
        fields.spectral_noise(rng, size, rng.uniform(0.5, 1.7)),
    )
    height = rough * (2.0 if word in ("stucco", "asphalt") else 0.8)
    pores = fields.band_noise(rng, size, size / log_uniform(rng, 4, 14), 0.5)
    pit = fields.smoothstep(rng.uniform(1.6, 2.6), 3, pores)
    height = height - 3 * pit
    tone = fields.lit(height, rng, log_uniform(rng, 0.04, 0.4)) * (1 - 0.4 * pit)
    tone += rng.uniform(0.02, 0.1) * cloud + rng.uniform(0.01, 0.06) * rough
    return surface(rng, tinted(base, tone), f"{colour_name(base)} {word} {pick(rng, ('surface', 'wall', 'floor'))}")


def terrazzo(rng: np.random.Generator, size: int) -> Picture:
    """Terrazzo: stone chips of several sizes in a plain ground, polished."""
    image = np.broadcast_to(colour(rng, "stone" if rng.random() < 0.7 else "any"), (size, size, 3)).astype(np.float32)
    chips = fields.palette(rng, "stone", 6, 0.7)
    if rng.random() < 0.5:
        chips[::2] = fields.palette(rng, "any", 3, 0.4)
    for _ in range(int(rng.integers(2, 4))):
        cells = int(log_uniform(rng, 9, 50))
        first, second, cell = fields.worley(rng, size, cells, 1)
        shown = jitter_1d(rng, 1, 4096)[cell % 4096] > rng.uniform(-0.6, 0.8)
        distance = (np.float32(rng.uniform(0.08, 0.3)) - (second - first)) * np.float32(size / cells)
        share = ramp(distance, 1.5) * shown
        image = mix(image, of_cell(rng, cell, chips), share)
    tone = (
        1 + rng.uniform(0.01, 0.05) * fields.spectral_noise(rng, size, 1) + 0.03 * fields.spectral_noise(rng, size, 2.5)
    )
    return surface(rng, image * tone[..., None], "terrazzo floor with stone chips")


def marble(rng: np.random.Generator, size: int) -> Picture:
    """Marble: clouds and thin warped veins."""
    cloud = fields.spectral_noise(rng, size, rng.uniform(2.2, 3.2), rng.uniform(1, 4), rng.uniform(0, 3.1))
    base = fields.colourise(fields.normalise(cloud), fields.palette(rng, "stone", 4, rng.uniform(0.05, 0.4)))
    vein = colour(rng, pick(rng, ("stone", "dark", "light")))
    for _ in range(int(rng.integers(1, 4))):
        line = np.abs(fields.spectral_noise(rng, size, rng.uniform(2.4, 3.4), rng.uniform(1, 4), rng.uniform(0, 3.1)))
        width = rng.uniform(0.03, 0.2)
        patch = fields.smoothstep(-1, 1.5, fields.spectral_noise(rng, size, 3))
        base = mix(base, vein, np.exp(-line / np.float32(width)) * patch * np.float32(rng.uniform(0.4, 1)))
    gloss = fields.spectral_noise(rng, size, 4) * 0.03
    return surface(rng, base + gloss[..., None], f"polished {colour_name(base.mean((0, 1)))} marble with veins")


def granite(rng: np.random.Generator, size: int) -> Picture:
    """Granite: speckles of three or four minerals."""
    fine = fields.band_noise(rng, size, size / log_uniform(rng, 3, 14), 0.7)
    coarse = fields.band_noise(rng, size, size / log_uniform(rng, 6, 24), 0.7)
    minerals = [colour(rng, "stone"), colour(rng, "stone"), colour(rng, "dark"), colour(rng, "light")]
    image = mix(minerals[0], minerals[1], fields.smoothstep(-0.2, 0.2, coarse))
    image = mix(image, minerals[2], fields.smoothstep(0.8, 1.2, fine + 0.3 * coarse))
    image = mix(image, minerals[3], fields.smoothstep(0.9, 1.3, -fine) * np.float32(rng.uniform(0, 1)))
    tone = 1 + 0.05 * fields.spectral_noise(rng, size, 1) + 0.03 * fields.spectral_noise(rng, size, 2.5)
    return surface(rng, image * tone[..., None], f"speckled {colour_name(image.mean((0, 1)))} granite")


def gravel(rng: np.random.Generator, size: int) -> Picture:
    """Gravel, pebbles, granulate or beads: rounded grains lying on each other."""
    word = pick(rng, ("gravel", "pebbles", "plastic granulate", "crushed stone"))
    cells = int(log_uniform(rng, 6, 40))
    under, _, under_cell = fields.worley(rng, size, int(cells * 1.4), 0.9)
    first, second, cell = fields.worley(rng, size, cells, rng.uniform(0.85, 1))
    colours = fields.palette(rng, "plastic" if "plastic" in word else "stone", 6, rng.uniform(0.1, 0.5))
    scale = np.float32(size / cells)
    sharp = second - first if word == "crushed stone" else np.minimum(second - first, 1 - first * 1.1)
    top = sharp > 0.06
    height = np.where(top, np.sqrt(np.maximum(sharp, 0)) * scale * 0.5, np.maximum(0.7 - under, 0) * scale * 0.3)
    rough = fields.spectral_noise(rng, size, 1.3)
    height = fields.blur(height.astype(np.float32), 0.8) + (0.1 if "plastic" in word else 0.5) * rough
    tone = fields.lit(height, rng, rng.uniform(0.4, 0.9), rng.uniform(0, 0.5)) * (
        0.45 + 0.55 * fields.normalise(height)
    )
    rgb = np.where(top[..., None], of_cell(rng, cell, colours), of_cell(rng, under_cell, colours) * np.float32(0.5))
    return surface(rng, rgb * tone[..., None] * 1.2, f"heap of {colour_name(colours[3])} {word}")


def sand(rng: np.random.Generator, size: int) -> Picture:
    """Sand, salt, powder or abrasive paper: loose fine grains."""
    word = pick(rng, ("sand", "salt", "powder", "sandpaper", "sandstone"))
    base = colour(rng, {"salt": "light", "powder": "light"}.get(word, "stone"))
    grain = fields.band_noise(rng, size, size / rng.uniform(2.1, 4), 0.8)
    height = grain + rng.uniform(0, 4) * fields.spectral_noise(rng, size, rng.uniform(2.5, 3.5))
    tone = fields.lit(height, rng, rng.uniform(0.2, 0.7)) * (1 + rng.uniform(0.02, 0.12) * grain)
    spots = jitter_1d(rng, 0.05, 3)
    image = tinted(base, tone) + spots * fields.spectral_noise(rng, size, 0.2)[..., None] * np.float32(0.7)
    return surface(rng, image, f"{pick(rng, ('fine ', 'coarse ', ''))}{colour_name(base)} {word}")


def magnetic_tile(rng: np.random.Generator, size: int) -> Picture:
    """Ground ferrite or ceramic plate: dark even grey with faint stripes from grinding and a slow shade."""
    level = log_uniform(rng, 0.12, 0.7)
    base = np.float32(level) * (np.float32(1) + jitter_1d(rng, 0.02, 3))
    angle = any_angle(rng)
    _, u = fields.turned(size, angle, size / 2)
    lines = profile(rng, u / np.float32(log_uniform(rng, 1, 6)) + 900, rng.uniform(0.3, 1.8))
    broken = fields.spectral_noise(rng, size, rng.uniform(0.3, 1), log_uniform(rng, 10, 60), angle + np.pi / 2)
    y, x = fields.coords(size)
    shade = rng.uniform(-0.25, 0.25) * x + rng.uniform(-0.25, 0.25) * y
    band = rng.uniform(0, 0.3) * np.exp(-(((u / size * 2 - rng.uniform(-1, 1)) / rng.uniform(0.2, 0.8)) ** 2))
    tone = 1 + shade + band + log_uniform(rng, 0.01, 0.1) * lines + log_uniform(rng, 0.01, 0.1) * broken
    tone = tone + rng.uniform(0.01, 0.06) * fields.spectral_noise(rng, size, 0.5)
    noun = pick(rng, ("magnetic tile", "ferrite plate", "ground ceramic plate", "grey metal plate with faint stripes"))
    return surface(rng, tinted(base.astype(np.float32), tone), noun if noun.startswith("grey") else f"grey {noun}")


def wood(rng: np.random.Generator, size: int) -> Picture:
    """Flat-sawn wood: the rings of a trunk cut along its length, fibres and pores."""
    angle = any_angle(rng)
    v, u = fields.turned(size, angle)
    stretch = log_uniform(rng, 4, 16)
    bend = fields.spectral_noise(rng, size, 3.2, stretch, _fibre(angle))
    ring_count = log_uniform(rng, 5, 30)
    off = rng.uniform(-0.8, 0.8)
    taper = rng.uniform(0, 1.2)
    radius = np.sqrt((u - np.float32(off)) ** 2 + (v * np.float32(taper / 3) + np.float32(rng.uniform(0, 0.5))) ** 2)
    radius = radius + np.float32(rng.uniform(0.02, 0.12)) * bend
    at = radius * np.float32(ring_count) + 50
    at = at + 0.25 * profile(rng, at, 1)
    _, ring = split(at)
    ring = np.where(ring < 0.85, (ring / 0.85) ** 2, (1 - ring) / 0.15).astype(np.float32)
    fibre = fields.spectral_noise(rng, size, 0.8, 25, _fibre(angle))
    pores = fields.smoothstep(1.3, 2.4, fields.spectral_noise(rng, size, 0.3, 18, _fibre(angle)))
    tone = 0.65 - rng.uniform(0.15, 0.5) * ring + rng.uniform(0.03, 0.1) * fibre
    tone += 0.08 * fields.spectral_noise(rng, size, 2.4, 4, _fibre(angle))
    colours = fields.palette(rng, "wood", 5, rng.uniform(0.2, 0.5))
    image = fields.colourise(tone, colours) * (1 - rng.uniform(0, 0.5) * pores)[..., None]
    return surface(rng, image, f"{colour_name(colours[2])} wood with {pick(rng, ('straight', 'wavy', 'fine'))} grain")


def _fibre(angle: float) -> float:
    """The direction (for `spectral_noise`) along the v axis of `turned(size, angle)`."""
    return float((np.pi / 2 + angle) % np.pi)


def planks(rng: np.random.Generator, size: int) -> Picture:
    """Boards or parquet: each plank with its own tone and its own grain."""
    pitch = log_uniform(rng, 60, 420)
    distance, cell, part_v, part_u = _laid(
        rng, size, pitch, rng.uniform(3, 9), 0.0, rng.uniform(0.2, 0.7), rng.uniform(1, 3)
    )
    # one grain, read at a different place for each plank
    y, x = fields.coords(size)
    half = np.float32(size / 2)
    cloud = fields.spectral_noise(rng, size, 2.4, log_uniform(rng, 5, 14), 0.0)
    shift_y, shift_x = jitter_1d(rng, size, 4096)[cell], jitter_1d(rng, size, 4096)[cell]
    grain = fields.sample(cloud, np.floor((y + 1) * half + shift_y), np.floor((x + 1) * half + shift_x))
    rings = np.sin(grain * np.float32(rng.uniform(2, 9)))
    fibre = fields.spectral_noise(rng, size, 0.8, 25, 0.0)
    colours = fields.palette(rng, "wood" if rng.random() < 0.85 else "any", 5, rng.uniform(0.2, 0.5))
    tone = 0.5 + rng.uniform(0.08, 0.25) * rings + jitter_1d(rng, rng.uniform(0.03, 0.15), 4096)[cell] + 0.06 * fibre
    image = fields.colourise(tone, colours) * (1 - ramp(distance, 1.6) * np.float32(rng.uniform(0.4, 0.9)))[..., None]
    if rng.random() < 0.4:
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
    del part_v, part_u
    return surface(
        rng, image, f"{colour_name(colours[2])} {pick(rng, ('wooden planks', 'parquet floor', 'wooden boards'))}"
    )


def end_grain(rng: np.random.Generator, size: int) -> Picture:
    """Cross-cut wood: rings round the pith and rays."""
    v, u = fields.turned(size, 0, 1, (rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2)))
    v, u = v + 0.06 * fields.spectral_noise(rng, size, 3.4), u + 0.06 * fields.spectral_noise(rng, size, 3.4)
    radius = np.sqrt(u * u + v * v)
    at = radius * np.float32(log_uniform(rng, 6, 34))
    _, ring = split(at + 0.3 * profile(rng, at, 1.2) + 50)
    rays = profile(rng, np.arctan2(v, u) * np.float32(2048 / (2 * np.pi) * 0.2) + 5000, 0.4)
    tone = 0.65 - rng.uniform(0.2, 0.5) * ring**3 + 0.05 * rays + 0.06 * fields.spectral_noise(rng, size, 0.7)
    colours = fields.palette(rng, "wood", 5, 0.45)
    return surface(
        rng, fields.colourise(tone, colours), f"{colour_name(colours[2])} end grain of wood with annual rings"
    )


def chipboard(rng: np.random.Generator, size: int) -> Picture:
    """Strand board, cork, wood chips: flat flakes lying over each other."""
    word = pick(rng, ("chipboard", "oriented strand board", "cork", "bark mulch"))
    count = int(log_uniform(rng, 400, 1600))
    colours = fields.palette(rng, "wood", 8, rng.uniform(0.2, 0.55))[rng.integers(0, 8, count)]
    ground = np.broadcast_to(colours[0] * np.float32(0.5), (size, size, 3)).astype(np.float32)
    long = 0.02 if word == "cork" else rng.uniform(0.04, 0.25)
    wide = rng.uniform(4, 14)
    image = strokes(rng, ground, colours, (0.0, 3.0), (long * 0.4, long), (wide * 0.4, wide), 0.3)
    tone = 1 + 0.06 * fields.spectral_noise(rng, size, 1)
    return surface(rng, image * tone[..., None], f"{colour_name(colours[3])} {word}")


def paper(rng: np.random.Generator, size: int) -> Picture:
    """Paper or board: fibres, cockle, faint flutes of corrugated board."""
    word = pick(rng, ("paper", "cardboard", "corrugated cardboard", "kraft paper"))
    base = colour(rng, "paper" if word == "paper" else "cardboard")
    angle = any_angle(rng)
    fibre = fields.spectral_noise(rng, size, 1.0, rng.uniform(1, 4), angle)
    tone = 1 + rng.uniform(0.01, 0.06) * fibre + 0.03 * fields.spectral_noise(rng, size, 3)
    height = 0.5 * fibre + rng.uniform(0, 6) * fields.spectral_noise(rng, size, 4)
    if word == "corrugated cardboard":
        height = height + rng.uniform(0.3, 3) * fields.stripes(size, log_uniform(rng, 8, 40), angle)
    tone *= fields.lit(height, rng, rng.uniform(0.1, 0.4))
    count = int(rng.integers(30, 300))
    image = tinted(base, tone)
    if rng.random() < 0.4:
        specks = np.clip(base * (1 + rng.normal(0, 0.25, (count, 1))), 0, 1).astype(np.float32)
        image = strokes(rng, image, specks, (0, 3), (0.005, 0.05), (0.5, 1.5), 1)
    return surface(rng, image, f"sheet of {colour_name(base)} {word}")


def flutes(rng: np.random.Generator, size: int) -> Picture:
    """The edge of corrugated board: wavy paper between flat liners, layer on layer."""
    pitch = log_uniform(rng, 18, 70)
    v, u = pitches(rng, size, (pitch * rng.uniform(0.5, 0.9), pitch), float(rng.integers(2)) * np.pi / 2, 0.03)
    layer, part = split(v)
    wave = 0.5 + 0.42 * np.sin((u + by_index(layer, jitter_1d(rng, 1))) * np.float32(2 * np.pi))
    thick = rng.uniform(0.04, 0.09)
    paper_part = np.minimum(np.abs(part - wave) * 0.75, 0.5 - np.abs(part - 0.5)) - thick
    share = ramp(paper_part * np.float32(pitch * 0.7), 1.5)
    base = colour(rng, "cardboard")
    fibre = fields.spectral_noise(rng, size, 0.8)
    image = mix(
        tinted(base * np.float32(rng.uniform(0.15, 0.4)), 1 + 0.1 * fibre), tinted(base, 1 + 0.07 * fibre), share
    )
    return surface(rng, image, "stack of corrugated cardboard seen on edge")


def grass(rng: np.random.Generator, size: int) -> Picture:
    """Blades of grass, straw, needles."""
    word, kind = (("grass", "plant"), ("straw", "wood"), ("hay", "cardboard"), ("pine needles", "plant"))[
        int(rng.integers(4))
    ]
    count = int(log_uniform(rng, 600, 1600))
    shades = fields.palette(rng, kind, 8, 0.6)
    depth = np.sort(rng.random(count))
    colours = shades[np.clip(depth * 5 + rng.normal(1, 1.2, count), 0, 7).astype(int)]
    colours = colours * (0.35 + 0.65 * depth[:, None]).astype(np.float32)
    ground = np.broadcast_to(shades[0] * np.float32(0.3), (size, size, 3)).astype(np.float32)
    wide = log_uniform(rng, 1.5, 8)
    image = strokes(
        rng, ground, colours, (rng.uniform(0, 6.3), rng.uniform(0.2, 2)), (0.08, 0.4), (wide * 0.5, wide), 0.5, True
    )
    return surface(rng, image, f"{colour_name(shades[4])} {word}")


def cracked_glaze(rng: np.random.Generator, size: int) -> Picture:
    """Crackle glaze or dried coating: fine lines between plates, on an even colour."""
    cells = int(log_uniform(rng, 5, 18))
    first, second, cell = fields.worley(rng, size, cells, 1)
    gap = fields.warp((second - first) * np.float32(size / cells), rng, 1.5, 2.6)
    line = ramp(gap - np.float32(rng.uniform(0.5, 1.6)), 1.5)
    base = colour(rng, "ceramic")
    tone = 1 + jitter_1d(rng, 0.02, 1024)[cell % 1024] + 0.03 * fields.spectral_noise(rng, size, 2.5)
    image = mix(tinted(base, tone), base * np.float32(rng.uniform(0.3, 0.8)), line)
    return surface(rng, image, f"{colour_name(base)} crackle glaze ceramic")


FAMILIES: dict[str, Draw] = {
    "tiles": tiles,
    "brick": brick,
    "mosaic": mosaic,
    "concrete": concrete,
    "terrazzo": terrazzo,
    "marble": marble,
    "granite": granite,
    "gravel": gravel,
    "sand": sand,
    "magnetic_tile": magnetic_tile,
    "wood": wood,
    "planks": planks,
    "end_grain": end_grain,
    "chipboard": chipboard,
    "paper": paper,
    "corrugated_edge": flutes,
    "grass": grass,
    "crackle_glaze": cracked_glaze,
}
"""Family name to drawing function."""
