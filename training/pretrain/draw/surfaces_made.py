"""Manufactured surfaces: plastic, rubber, glass, foam, prints, lattices, wafers, solar cells."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field, colour, colour_name
from edge_ad.training.pretrain.draw.picture import Draw, Picture
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
    ramp,
    split,
    surface,
    tinted,
)


def _two(rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two colours that can be told apart."""
    first = colour(rng, pick(rng, ("any", "light", "plastic")))
    for _ in range(4):
        second = colour(rng, pick(rng, ("any", "dark", "plastic")))
        if float(np.abs(first - second).max()) > 0.2:
            break
    return (first, second) if rng.random() < 0.5 else (second, first)


def foam(rng: np.random.Generator, size: int) -> Picture:
    """Foam or sponge: round pores of many sizes with a bright rim."""
    word = pick(rng, ("foam", "sponge", "expanded polystyrene", "porous plastic"))
    base = colour(rng, "light" if word == "expanded polystyrene" else "any")
    if word == "expanded polystyrene":
        cells = int(log_uniform(rng, 10, 40))
        first, second, _ = fields.worley(rng, size, cells, 0.7)
        height = fields.smoothstep(0, 0.25, second - first) * np.float32(size / cells * 0.2) - first * 2
        hole = np.zeros_like(height)
    else:
        height, hole = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
        coarse = log_uniform(rng, 6, 24)
        for scale in (1.0, 2.2):
            cells = int(coarse * scale)
            first, _, cell = fields.worley(rng, size, cells, 1)
            radius = by_index(cell, rng.uniform(0.05, 0.5, 4096).astype(np.float32))
            pore = fields.smoothstep(0.06, -0.12, first - radius)
            height -= pore * np.float32(size / cells * 0.4)
            np.maximum(hole, pore, out=hole)
    height = fields.warp(height, rng, 1.2, 2) + 0.5 * fields.spectral_noise(rng, size, 1)
    tone = fields.lit(fields.blur(height, 0.7), rng, rng.uniform(0.2, 0.6)) * (1 - rng.uniform(0.3, 0.75) * hole)
    return surface(rng, tinted(base, tone), f"{colour_name(base)} {word}")


def rubber(rng: np.random.Generator, size: int) -> Picture:
    """Rubber: dark, matt, smooth or with a moulded relief."""
    base = colour(rng, "rubber")
    pitch = log_uniform(rng, 12, 60)
    v, u = pitches(rng, size, pitch, any_angle(rng), 0.01)
    _, fv = split(v)
    _, fu = split(u)
    shape = pick(rng, ("plain", "ribbed", "studded"))
    if shape == "ribbed":
        relief = fields.smoothstep(0.35, 0.2, np.abs(fu - 0.5))
    elif shape == "studded":
        relief = fields.smoothstep(0.4, 0.25, np.sqrt((fu - 0.5) ** 2 + (fv - 0.5) ** 2))
    else:
        relief = np.zeros_like(fu)
    height = relief * np.float32(rng.uniform(1, 4)) + rng.uniform(0.1, 0.5) * fields.spectral_noise(rng, size, 0.8)
    tone = fields.lit(height, rng, 0.7, rng.uniform(0, 0.7), 8) * (1 + 0.05 * fields.spectral_noise(rng, size, 2.5))
    word = {"plain": "smooth", "ribbed": "ribbed", "studded": "studded"}[shape]
    return surface(rng, tinted(base, tone), f"{word} {colour_name(base)} rubber {pick(rng, ('mat', 'sheet', 'seal'))}")


def plastic(rng: np.random.Generator, size: int) -> Picture:
    """Moulded plastic: spark-eroded grain, leather grain or plain gloss."""
    base = colour(rng, "plastic")
    word = pick(rng, ("grained", "glossy", "matt", "spark-eroded"))
    if word == "grained":
        first, second, _ = fields.worley(rng, size, int(log_uniform(rng, 14, 50)))
        height = fields.warp(fields.smoothstep(0, 0.35, second - first), rng, 1, 2.2) * 1.2
    elif word == "glossy":
        height = fields.spectral_noise(rng, size, 4) * 3
    else:
        height = fields.band_noise(rng, size, size / log_uniform(rng, 2.3, 8), 0.6) * 0.4
    tone = fields.lit(height, rng, log_uniform(rng, 0.15, 0.9), rng.uniform(0.1, 0.7), rng.uniform(8, 50))
    shine = np.maximum(fields.spectral_noise(rng, size, 4.5) - 0.8, 0) * (
        rng.uniform(0, 0.3) if word == "glossy" else 0
    )
    image = tinted(base, tone + 0.015 * fields.spectral_noise(rng, size, 2)) + shine[..., None]
    return surface(rng, image, f"{word} {colour_name(base)} plastic {pick(rng, ('surface', 'housing', 'cover'))}")


def glass(rng: np.random.Generator, size: int) -> Picture:
    """Glass before something blurred, with soft window-like reflections; or a patterned pane."""
    behind = fields.colourise(
        fields.normalise(fields.spectral_noise(rng, size, rng.uniform(3, 4.5))), fields.palette(rng, "glass", 4, 0.6)
    )
    relief = rng.random() < 0.5
    if relief:
        height = fields.band_noise(rng, size, size / log_uniform(rng, 8, 40), 0.5) * rng.uniform(1, 3)
        behind = fields.sample(behind, *_refracted(height, rng.uniform(4, 20)))
        tone = fields.lit(height, rng, 0.4, rng.uniform(0.5, 1.5), 40)
    else:
        tone = np.ones((size, size), np.float32)
    v, u = fields.turned(size, any_angle(rng))
    bars = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        centre, width, edge = rng.uniform(-1, 1), rng.uniform(0.03, 0.4), rng.uniform(0.01, 0.2)
        ends = fields.smoothstep(0, 0.3, rng.uniform(0.2, 1.2) - np.abs(v - np.float32(rng.uniform(-0.5, 0.5))))
        bars += (
            fields.smoothstep(width + edge, width, np.abs(u - np.float32(centre)))
            * ends
            * np.float32(rng.uniform(0.05, 0.4))
        )
    image = behind * tone[..., None] + bars[..., None]
    return surface(
        rng, image, f"{pick(rng, ('patterned', 'frosted', 'cathedral')) if relief else 'clear'} glass with reflections"
    )


def _refracted(height: Field, strength: float) -> tuple[Field, Field]:
    """Pixel positions seen through a wavy pane."""
    size = height.shape[0]
    y, x = fields.coords(size)
    gy, gx = np.gradient(height)
    half = np.float32(size / 2)
    return (
        ((y + 1) * half - 0.5 + gy * np.float32(strength)).astype(np.float32),
        ((x + 1) * half - 0.5 + gx * np.float32(strength)).astype(np.float32),
    )


def solar_cell(rng: np.random.Generator, size: int) -> Picture:
    """Solar cell: fine fingers, busbars, and either grains (poly) or an even blue-black (mono)."""
    base = colour(rng, "silicon")
    poly = rng.random() < 0.6
    image = tinted(base, 1 + 0.04 * fields.spectral_noise(rng, size, 2))
    if poly:
        _, _, cell = fields.worley(rng, size, int(log_uniform(rng, 6, 24)))
        tone = 1 + by_index(cell, jitter_1d(rng, rng.uniform(0.08, 0.25), 4096))
        image = (
            image * tone[..., None] * (1 + 0.05 * fields.spectral_noise(rng, size, 1, 10, rng.uniform(0, 3)))[..., None]
        )
    pitch, bar = log_uniform(rng, 5, 16), log_uniform(rng, 60, 200)
    v, u = pitches(rng, size, (bar, pitch), float(rng.integers(2)) * np.pi / 2 + rng.normal(0, 0.01))
    metal = colour(rng, "aluminium")
    finger = ramp((np.abs(split(u)[1] - 0.5) * np.float32(pitch)) - np.float32(rng.uniform(0.3, 0.8)), 1.2)
    rail = ramp((np.abs(split(v)[1] - 0.5) * np.float32(bar)) - np.float32(rng.uniform(1.5, 5)), 1.4)
    image = mix(image, metal * np.float32(rng.uniform(0.5, 0.9)), finger * np.float32(rng.uniform(0.3, 0.9)))
    image = mix(image, metal, rail)
    return surface(rng, image, f"{'poly' if poly else 'mono'}crystalline solar cell with busbars")


def wafer(rng: np.random.Generator, size: int) -> Picture:
    """Wafer or chip: a repeating die of rectangles and lines between scribe lanes."""
    pitch_u, pitch_v = (int(log_uniform(rng, 32, 130)) for _ in range(2))
    die = np.empty((pitch_v, pitch_u, 3), np.float32)
    die[:] = colour(rng, "silicon")
    inks = [colour(rng, kind) for kind in ("silicon", "brass", "steel", "board", "any")]
    lane = max(2, pitch_u // 24)
    for _ in range(int(rng.integers(6, 40))):
        h, w = (max(2, int(rng.beta(1, 4) * p)) for p in (pitch_v, pitch_u))
        top, left = int(rng.integers(0, pitch_v)), int(rng.integers(0, pitch_u))
        ink = inks[int(rng.integers(5))] * np.float32(rng.uniform(0.6, 1.2))
        if rng.random() < 0.4:
            step = int(rng.integers(3, 7))
            die[top : top + h : step, left : left + w] = ink
        else:
            die[top : top + h, left : left + w] = ink
    die[:lane], die[:, :lane] = inks[2] * 0.6, inks[2] * 0.6
    again = np.tile(die, (size // pitch_v + 2, size // pitch_u + 2, 1))
    oy, ox = int(rng.integers(0, pitch_v)), int(rng.integers(0, pitch_u))
    image = again[oy : oy + size, ox : ox + size].copy()
    if rng.random() < 0.5:
        image = fields.rotate(image, rng.normal(0, 0.08), rng.uniform(1.02, 1.3))
    y, x = fields.coords(size)
    phase = np.float32(rng.uniform(0, 6)) + (x * np.float32(rng.normal()) + y * np.float32(rng.normal())) * 2
    rainbow = np.stack([np.cos(phase), np.cos(phase + 2.1), np.cos(phase + 4.2)], -1) * np.float32(rng.uniform(0, 0.12))
    return surface(
        rng,
        image + rainbow,
        f"{pick(rng, ('silicon wafer with dies', 'semiconductor chip', 'integrated circuit layout'))}",
    )


def printed(rng: np.random.Generator, size: int) -> Picture:
    """A printed repeat: stripes, dots, checks, triangles, rings, waves."""
    first, second = _two(rng)
    pitch = log_uniform(rng, 8, 90)
    v, u = pitches(rng, size, pitch, any_angle(rng), rng.uniform(0, 0.02))
    row, fv = split(v)
    kind = pick(rng, ("stripes", "dots", "checker", "triangles", "rings", "zigzags", "crosses", "waves"))
    column, fu = split(u + np.float32(0.5) * (row % 2) if kind in ("dots", "rings") and rng.random() < 0.5 else u)
    dv, du = np.abs(fv - 0.5), np.abs(fu - 0.5)
    width = rng.uniform(0.1, 0.4)
    print_size = np.float32(width) * (1 + jitter_1d(rng, 0.02, 4096)[hashed(row, column)])
    if kind == "stripes":
        distance = du - np.float32(width)
    elif kind == "dots":
        distance = np.sqrt(du * du + dv * dv) - print_size
    elif kind == "checker":
        edge = np.minimum(0.5 - du, 0.5 - dv)
        distance = np.where((row + column) % 2 == 0, edge, -edge)
    elif kind == "triangles":
        distance = np.maximum(2 * du - fv, fv - 0.9) * np.float32(0.5)
    elif kind == "rings":
        distance = np.abs(np.sqrt(du * du + dv * dv) - 0.3) - print_size * 0.3
    elif kind == "zigzags":
        distance = np.abs(split(v + np.abs(2 * fu - 1) * 0.5)[1] - 0.5) - np.float32(width * 0.7)
    elif kind == "crosses":
        distance = np.maximum(np.minimum(du, dv) - print_size * 0.3, np.maximum(du, dv) - 0.38)
    else:
        wave = v + np.float32(rng.uniform(0.1, 0.3)) * np.sin(u * np.float32(2 * np.pi))
        distance = np.abs(split(wave)[1] - 0.5) - np.float32(width * 0.6)
    ink = ramp(distance * np.float32(pitch), rng.uniform(1.2, 3)) * np.float32(rng.uniform(0.6, 1))
    tone = 1 + rng.uniform(0.005, 0.06) * fields.spectral_noise(rng, size, rng.uniform(0.3, 2))
    image = mix(np.broadcast_to(first, (size, size, 3)), second, ink) * tone[..., None]
    ground = pick(rng, ("print", "packaging paper", "film", "label", "fabric print"))
    return surface(rng, image, f"{ground} with {colour_name(second)} {kind} on {colour_name(first)}")


def halftone(rng: np.random.Generator, size: int) -> Picture:
    """Halftone print: dots whose size follows a tone, in one to three inks."""
    paper = colour(rng, "paper")
    image = np.broadcast_to(paper, (size, size, 3)).astype(np.float32)
    inks = ((0.0, 0.6, 0.85), (0.85, 0.1, 0.5), (0.97, 0.85, 0.1))[: int(rng.choice([1, 3]))]
    if len(inks) == 1:
        inks = (tuple(float(c) for c in colour(rng, "dark")),)  # type: ignore[assignment]
    pitch = log_uniform(rng, 5, 18)
    for k, ink in enumerate(inks):
        tone = fields.normalise(fields.spectral_noise(rng, size, 3.6))
        v, u = pitches(rng, size, pitch, 0.26 + k * 0.52)
        dv, du = split(v)[1] - 0.5, split(u)[1] - 0.5
        dot = ramp((np.sqrt(du * du + dv * dv) - tone * np.float32(0.68)) * np.float32(pitch), 1.4)
        image = image * mix(np.ones(3, np.float32), np.asarray(ink, np.float32), dot)
    grain = 1 + 0.03 * fields.spectral_noise(rng, size, 1)
    return surface(rng, image * grain[..., None], f"halftone print on {pick(rng, ('paper', 'cardboard', 'packaging'))}")


@lru_cache(maxsize=16)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


_SIGNS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789abcdefghikmnoprstuvz-/.+:#"


def text(rng: np.random.Generator, size: int) -> Picture:
    """Lines of printed, stamped or laser-marked signs, and now and then a bar or matrix code."""
    word = pick(rng, ("printed", "laser-marked", "embossed"))
    first, second = _two(rng)
    scale = 2 * size
    canvas = Image.new("L", (scale, scale), 0)
    pen = ImageDraw.Draw(canvas)
    top = int(rng.integers(-10, 30))
    align = int(rng.integers(4, 60))
    while top < scale:
        height = int(log_uniform(rng, 22, 110))
        roll = rng.random()
        if roll < 0.12:
            bars = rng.random(int(rng.integers(20, 60))) < 0.5
            wide = max(3, int(height / 12))
            for k in np.flatnonzero(bars):
                pen.rectangle((align + int(k) * wide, top, align + int(k + 1) * wide - 1, top + height), fill=255)
        elif roll < 0.2:
            side = int(rng.integers(10, 20))
            module = max(3, height // 12)
            for r, c in np.argwhere(rng.random((side, side)) < 0.5):
                x0, y0 = align + int(c) * module, top + int(r) * module
                pen.rectangle((x0, y0, x0 + module - 1, y0 + module - 1), fill=255)
            height = max(height, side * module)
        else:
            signs = "".join(_SIGNS[k] for k in rng.integers(0, len(_SIGNS), int(rng.integers(3, 24))))
            if rng.random() < 0.7:
                cut = int(rng.integers(1, 8))
                signs = signs[:cut] + " " + signs[cut:]
            pen.text((align, top), signs, fill=255, font=_font(height // 4 * 4))
        top += int(height * rng.uniform(1.2, 2.2))
    mark: Field = np.asarray(canvas.reduce(2), np.float32) / np.float32(255)
    if rng.random() < 0.5:
        mark = fields.rotate(mark, float(rng.choice([rng.normal(0, 0.05), np.pi / 2, np.pi])))
    ground = 1 + rng.uniform(0.01, 0.06) * fields.spectral_noise(
        rng, size, rng.uniform(0.5, 2), log_uniform(rng, 1, 20)
    )
    if word == "embossed":
        relief = fields.blur(mark, 1) * np.float32(rng.choice([-3, 3]))
        image = tinted(first, fields.lit(relief, rng, rng.uniform(0.4, 1), 0.3) * ground)
    else:
        image = mix(tinted(first, ground), second, mark * np.float32(rng.uniform(0.6, 1)))
    return surface(
        rng, image, f"{word} text and codes on a {colour_name(first)} {pick(rng, ('label', 'plate', 'housing', 'box'))}"
    )


def lattice(rng: np.random.Generator, size: int) -> Picture:
    """Grid, grille or honeycomb of walls with open cells."""
    pitch = log_uniform(rng, 12, 80)
    word = pick(rng, ("honeycomb", "square grid", "triangular lattice", "grating"))
    angle = any_angle(rng)
    wall = rng.uniform(0.05, 0.18)
    if word == "honeycomb":
        v, u = pitches(rng, size, pitch, angle, 0.006)
        distance = _hexagon(u, v)
    elif word == "square grid":
        v, u = pitches(rng, size, pitch, angle, 0.006)
        distance = np.minimum(0.5 - np.abs(split(u)[1] - 0.5), 0.5 - np.abs(split(v)[1] - 0.5))
    elif word == "grating":
        v, u = pitches(rng, size, (pitch * rng.uniform(2, 5), pitch), angle, 0.006)
        distance = np.minimum(0.5 - np.abs(split(u)[1] - 0.5), (0.5 - np.abs(split(v)[1] - 0.5)) * 3)
    else:
        parts = [pitches(rng, size, pitch, angle + k * np.pi / 3)[1] for k in range(3)]
        distance = np.minimum.reduce([0.5 - np.abs(split(p)[1] - 0.5) for p in parts])
    edge = (distance - np.float32(wall)) * np.float32(pitch)
    share = ramp(edge, 1.5)
    base = colour(rng, pick(rng, ("metal", "plastic", "cardboard", "any")))
    height = fields.smoothstep(0.5, -1.5, edge) * np.float32(rng.uniform(0.5, 3))
    tone = fields.lit(fields.blur(height, 0.8), rng, 0.8, rng.uniform(0, 0.6)) + 0.04 * fields.spectral_noise(
        rng, size, 1
    )
    # deep cells: darker towards the wall that stands in the light
    shift = rng.integers(-int(pitch / 4) - 1, int(pitch / 4) + 2, 2)
    inside = 1 - rng.uniform(0.2, 0.6) * np.roll(fields.blur(share, pitch / 12), shift, (0, 1))
    floor = tinted(colour(rng, pick(rng, ("dark", "any", "light"))), inside)
    return surface(
        rng,
        mix(floor, tinted(base, tone), share),
        f"{colour_name(base)} {word} {pick(rng, ('panel', 'structure', 'plate'))}",
    )


def _hexagon(u: Field, v: Field) -> Field:
    """Distance to the walls of a honeycomb of unit width: 0 on a wall, 0.5 in a cell's middle."""
    root = np.float32(np.sqrt(3))
    ax, ay = u % 1 - 0.5, v % root - root / 2
    bx, by = (u - 0.5) % 1 - 0.5, (v - root / 2) % root - root / 2
    first = ax * ax + ay * ay < bx * bx + by * by
    px, py = np.abs(np.where(first, ax, bx)), np.abs(np.where(first, ay, by))
    return (0.5 - np.maximum(px, px * 0.5 + py * root / 2)).astype(np.float32)


def display(rng: np.random.Generator, size: int) -> Picture:
    """Display pixels: red, green and blue bars behind a dark mask."""
    pitch = log_uniform(rng, 9, 40)
    v, u = pitches(rng, size, pitch, any_angle(rng))
    row, fv = split(v)
    _, fu = split(u + np.float32(0.5) * (row % 2) if rng.random() < 0.3 else u)
    which, part = split(fu * 3)
    window = ramp((np.abs(part - 0.5) - 0.36) * np.float32(pitch / 3), 1.2) * ramp(
        (np.abs(fv - 0.5) - 0.42) * np.float32(pitch), 1.4
    )
    level = (
        fields.normalise(fields.spectral_noise(rng, size, 4), 0.5, 1)
        if rng.random() < 0.5
        else np.float32(rng.uniform(0.4, 1))
    )
    inks = np.array([[1, 0.15, 0.1], [0.2, 0.9, 0.2], [0.15, 0.25, 1]], np.float32)
    image = inks[which % 3] * (window * level)[..., None] + 0.03
    return surface(rng, fields.blur(image, (0.5, 0.5, 0)), "display panel with red, green and blue pixels")


def keys(rng: np.random.Generator, size: int) -> Picture:
    """Rows of raised rounded pads: keys, buttons, blister cells, seat tufts."""
    pitch = log_uniform(rng, 26, 120)
    v, u = pitches(
        rng, size, (pitch * rng.uniform(0.6, 1), pitch), any_angle(rng) if rng.random() < 0.3 else rng.normal(0, 0.02)
    )
    row, fv = split(v)
    column, fu = split(u + np.float32(0.5) * (row % 2) if rng.random() < 0.3 else u)
    cell = hashed(row, column)
    power = rng.uniform(2, 8)
    body = (np.abs(2 * fu - 1) / rng.uniform(0.7, 0.92)) ** power + (
        np.abs(2 * fv - 1) / rng.uniform(0.7, 0.92)
    ) ** power
    pad = fields.smoothstep(1.15, 0.85, body)
    height = fields.smoothstep(1.1, rng.uniform(0, 0.8), body) * np.float32(rng.uniform(2, 8))
    base, ground = colour(rng, "plastic"), colour(rng, pick(rng, ("aluminium", "dark", "plastic")))
    tone = fields.lit(height, rng, 0.7, rng.uniform(0.1, 0.9), rng.uniform(8, 50)) * (
        1 + jitter_1d(rng, 0.015, 4096)[cell]
    )
    grain = 1 + rng.uniform(0, 0.04) * fields.spectral_noise(rng, size, 0.7)
    image = mix(tinted(ground, tone), tinted(base, tone), pad) * grain[..., None]
    noun = pick(rng, ("keypad", "blister pack", "button panel", "tufted pad"))
    return surface(rng, image, f"{colour_name(base)} {noun} with rows of raised cells")


def quilted(rng: np.random.Generator, size: int) -> Picture:
    """Quilted or padded sheet: diamonds between seams, with stitches."""
    pitch, spread, turn = log_uniform(rng, 30, 110), rng.uniform(0.6, 0.95), any_angle(rng)
    va, a = pitches(rng, size, pitch, turn + spread, 0.02)
    vb, b = pitches(rng, size, pitch, turn - spread, 0.02)
    da, db = 0.5 - np.abs(split(a)[1] - 0.5), 0.5 - np.abs(split(b)[1] - 0.5)
    height = np.sqrt(np.sqrt(np.maximum(da * db, 0))) * np.float32(pitch * 0.3) + 0.3 * fields.spectral_noise(
        rng, size, 1
    )
    base = colour(rng, pick(rng, ("leather", "fabric", "plastic")))
    tone = fields.lit(fields.blur(height, 1), rng, rng.uniform(0.3, 0.7), rng.uniform(0, 0.6), 12)
    seam = np.minimum(da, db) * np.float32(pitch)
    along = np.where(da < db, va, vb) * np.float32(pitch / rng.uniform(5, 9))
    stitch = ramp(seam - np.float32(rng.uniform(0.8, 1.6)), 1.2) * fields.smoothstep(
        0.42, 0.3, np.abs(split(along)[1] - 0.5)
    )
    image = mix(tinted(base, tone), colour(rng, pick(rng, ("light", "any"))), stitch * np.float32(rng.uniform(0, 1)))
    return surface(
        rng, image, f"{colour_name(base)} quilted {pick(rng, ('leather', 'fabric', 'cover'))} with stitched seams"
    )


def spheres(rng: np.random.Generator, size: int) -> Picture:
    """A layer of beads, balls or cells of nearly one size."""
    cells = int(log_uniform(rng, 6, 32))
    first, second, cell = fields.worley(rng, size, cells, rng.uniform(0.1, 0.55))
    radius = np.float32(rng.uniform(0.36, 0.5))
    scale = np.float32(size / cells)
    ball = ramp(np.maximum(first - radius, first - second) * scale, 1.5)
    height = np.sqrt(np.maximum(radius * radius - first * first, 0)) * scale
    colours = fields.palette(rng, pick(rng, ("plastic", "steel", "ceramic", "skin", "any")), 5, rng.uniform(0, 0.3))
    tone = fields.lit(height, fields.random_light(rng, 0.6, 1.3), 0.8, rng.uniform(0.1, 1.2), rng.uniform(8, 60))
    tone *= 0.5 + 0.5 * np.sqrt(np.maximum(1 - (first / radius) ** 2, 0))
    floor = tinted(colour(rng, pick(rng, ("dark", "any"))), 0.8 - 0.4 * fields.blur(ball, size / cells / 12))
    image = mix(floor, of_cell(rng, cell, colours) * tone[..., None], ball)
    return surface(
        rng, image, f"layer of {colour_name(colours[2])} {pick(rng, ('beads', 'balls', 'pellets', 'berries'))}"
    )


FAMILIES: dict[str, Draw] = {
    "foam": foam,
    "rubber": rubber,
    "plastic": plastic,
    "glass": glass,
    "solar_cell": solar_cell,
    "wafer": wafer,
    "printed": printed,
    "halftone": halftone,
    "text": text,
    "lattice": lattice,
    "display": display,
    "keys": keys,
    "quilted": quilted,
    "spheres": spheres,
}
"""Family name to drawing function."""
