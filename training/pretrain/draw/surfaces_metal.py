"""Metal surfaces: finished, cast, coated, perforated."""

from __future__ import annotations

import numpy as np

from edge_ad.training.pretrain.draw import fields
from edge_ad.training.pretrain.draw.fields import Field, colour
from edge_ad.training.pretrain.draw.picture import Draw, Picture
from edge_ad.training.pretrain.draw.surfaces_common import (
    any_angle,
    by_index,
    hashed,
    jitter_1d,
    log_uniform,
    mix,
    pick,
    pitches,
    profile,
    ramp,
    split,
    surface,
    tinted,
)

_METALS = {
    "steel": "steel",
    "stainless steel": "steel",
    "aluminium": "aluminium",
    "brass": "brass",
    "copper": "copper",
    "metal": "metal",
    "iron": "iron",
}


def _metal(rng: np.random.Generator, *allowed: str) -> tuple[str, np.ndarray]:
    name = pick(rng, allowed or tuple(_METALS))
    return name, colour(rng, _METALS[name])


def _sheen(rng: np.random.Generator, size: int, angle: float, strength: float) -> Field:
    """A broad bright band: the stretched highlight of a surface brushed across `angle`."""
    _, u = fields.turned(size, angle)
    centre, width = rng.uniform(-1, 1), rng.uniform(0.4, 1.2)
    band: Field = np.exp(-(((u - np.float32(centre)) / np.float32(width)) ** 2)) * np.float32(strength)
    return band


def brushed(rng: np.random.Generator, size: int) -> Picture:
    """Brushed or ground sheet: fine streaks along one direction."""
    name, base = _metal(rng)
    angle = any_angle(rng)
    streak = fields.spectral_noise(rng, size, rng.uniform(0.3, 1.3), log_uniform(rng, 8, 60), angle)
    long = fields.spectral_noise(rng, size, 2, 20, angle)
    contrast = log_uniform(rng, 0.03, 0.16)
    tone = (
        0.85 + contrast * streak + 0.4 * contrast * long + _sheen(rng, size, rng.uniform(0, np.pi), rng.uniform(0, 0.4))
    )
    verb = "ground" if contrast > 0.1 else "brushed"
    return surface(rng, tinted(base, tone), f"{verb} {name} {pick(rng, ('surface', 'plate', 'sheet'))}")


def turned(rng: np.random.Generator, size: int) -> Picture:
    """Turned face: concentric grooves and the two opposite bright sectors of their highlight."""
    name, base = _metal(rng)
    far = rng.random() < 0.5
    v, u = fields.turned(
        size, 0.0, 1.0, (rng.uniform(-2, 2), rng.uniform(-2, 2)) if far else tuple(rng.normal(0, 0.3, 2))
    )
    radius = np.sqrt(u * u + v * v) * np.float32(size / 2)
    step = log_uniform(rng, 1.0, 5.0)
    groove = profile(rng, radius / np.float32(step), rng.uniform(0, 1))
    if rng.random() < 0.5:
        groove = groove * 0.5 + np.sin(radius * np.float32(2 * np.pi / max(step * 1.5, 3)))
    sector = np.cos(2 * np.arctan2(v, u) + np.float32(rng.uniform(0, 6.3)))
    shine = rng.uniform(0.05, 0.3)
    tone = 0.8 + log_uniform(rng, 0.03, 0.12) * groove * (1 + sector * 0.5) + shine * sector
    return surface(rng, tinted(base, tone), f"turned {name} face with concentric grooves")


def milled(rng: np.random.Generator, size: int) -> Picture:
    """Milled face: lanes of arcs left by a cutter."""
    name, base = _metal(rng, "steel", "aluminium", "metal", "brass")
    lane = log_uniform(rng, 0.2, 2) * size
    feed = log_uniform(rng, 3.5, 14)
    v, u = pitches(rng, size, (lane, 1.0), any_angle(rng))
    number, across = split(v)
    across = 2 * across - 1
    curve = lane * rng.uniform(0.15, 0.5) * np.sqrt(np.maximum(1 - 0.9 * across * across, 0))
    direction = np.where(number % 2 == 0, np.float32(1), np.float32(-1 if rng.random() < 0.5 else 1))
    at = (u + direction * curve) / np.float32(feed) + by_index(number, jitter_1d(rng, 3))
    arc = np.sin(at * np.float32(2 * np.pi)) + 0.7 * profile(rng, at * 4, 0.5)
    contrast = log_uniform(rng, 0.03, 0.12)
    tone = 0.85 + contrast * arc + by_index(number, jitter_1d(rng, 0.06))
    tone = tone + 0.03 * fields.spectral_noise(rng, size, 1) + _sheen(rng, size, rng.uniform(0, 3.1), 0.2)
    return surface(rng, tinted(base, tone), f"milled {name} surface with cutter marks")


def cast(rng: np.random.Generator, size: int) -> Picture:
    """Cast skin: rounded grains of a mould over a slow relief."""
    name, base = _metal(rng, "iron", "aluminium", "steel", "metal")
    grain = fields.band_noise(rng, size, size / log_uniform(rng, 3, 12), 0.5)
    height = grain + rng.uniform(0.5, 3) * fields.spectral_noise(rng, size, rng.uniform(2, 3.2))
    tone = fields.lit(height, rng, log_uniform(rng, 0.15, 0.6), rng.uniform(0, 0.4), rng.uniform(6, 30))
    tone = tone * (1 + 0.06 * fields.spectral_noise(rng, size, 2))
    return surface(rng, tinted(base, tone), f"{pick(rng, ('rough ', 'sand-', 'die-', ''))}cast {name} surface")


def blasted(rng: np.random.Generator, size: int) -> Picture:
    """Sand-blasted or etched: fine even grain with a few glints."""
    name, base = _metal(rng)
    grain = fields.band_noise(rng, size, size / rng.uniform(2.2, 5), 0.6)
    tone = fields.lit(grain, rng, log_uniform(rng, 0.08, 0.4), rng.uniform(0.1, 0.6), 20)
    tone = tone + rng.uniform(0, 0.25) * np.maximum(grain - 2.2, 0) + 0.02 * fields.spectral_noise(rng, size, 2.5)
    word = pick(rng, ("sand-blasted", "bead-blasted", "matt", "etched"))
    return surface(rng, tinted(base, tone), f"{word} {name} surface")


def rusted(rng: np.random.Generator, size: int) -> Picture:
    """Iron under an even or patchy coat of rust."""
    base = colour(rng, "iron") * 1.4
    patches = fields.spectral_noise(rng, size, rng.uniform(1.8, 2.8))
    fine = fields.spectral_noise(rng, size, rng.uniform(0.8, 1.5))
    share = fields.smoothstep(-0.4, 0.6, patches + 0.4 * fine + rng.uniform(-0.5, 2))
    rust = fields.colourise(fields.normalise(patches * 0.7 + fine), fields.palette(rng, "rust", 5, 0.5))
    tone = fields.lit(patches + fine * share, rng, log_uniform(rng, 0.2, 0.8))
    picture = mix(tinted(base, 1 + 0.08 * fine), rust, share) * tone[..., None]
    return surface(rng, picture, f"rusted {pick(rng, ('iron', 'steel', 'metal'))} plate")


def painted(rng: np.random.Generator, size: int) -> Picture:
    """Painted or powder-coated sheet: orange peel and a soft gloss."""
    base = colour(rng, "paint" if rng.random() < 0.7 else "grey")
    peel = fields.band_noise(rng, size, size / log_uniform(rng, 4, 16), 0.5)
    tone = fields.lit(peel, rng, log_uniform(rng, 0.03, 0.25), rng.uniform(0.1, 0.7), rng.uniform(10, 60))
    gloss = _sheen(rng, size, rng.uniform(0, 3.1), rng.uniform(0, 0.35))
    picture = tinted(base, tone) + gloss[..., None]
    word = pick(rng, ("painted", "powder-coated", "lacquered", "enamelled"))
    return surface(rng, picture, f"{fields.colour_name(base)} {word} metal panel")


def hammered(rng: np.random.Generator, size: int) -> Picture:
    """Hammered plate: overlapping round dents."""
    name, base = _metal(rng, "copper", "brass", "steel", "iron", "aluminium")
    cells = int(log_uniform(rng, 5, 22))
    near, _, _ = fields.worley(rng, size, cells, rng.uniform(0.6, 1))
    height = fields.blur(near * near, 0.8) * np.float32(size / cells) + 0.2 * fields.spectral_noise(rng, size, 2)
    tone = fields.lit(height, rng, rng.uniform(0.25, 0.8), rng.uniform(0.2, 0.9), rng.uniform(8, 40))
    return surface(rng, tinted(base, tone), f"hammered {name} plate")


def knurled(rng: np.random.Generator, size: int) -> Picture:
    """Knurled grip: rows of small pyramids or ribs."""
    name, base = _metal(rng, "steel", "brass", "aluminium", "metal")
    pitch, angle, spread = log_uniform(rng, 7, 36), any_angle(rng), rng.uniform(0.5, 0.85)
    _, a = pitches(rng, size, pitch, angle + spread, 0.02)
    _, b = pitches(rng, size, pitch, angle - spread, 0.02)
    ridge_a = 1 - np.abs(2 * split(a)[1] - 1)
    ridge_b = 1 - np.abs(2 * split(b)[1] - 1)
    height = np.minimum(np.minimum(ridge_a, ridge_b), rng.uniform(0.5, 1)) * np.float32(pitch / 2)
    height = height + 0.3 * fields.spectral_noise(rng, size, 1.5)
    tone = fields.lit(fields.blur(height, 0.6), rng, rng.uniform(0.4, 1), rng.uniform(0.1, 0.6), 20)
    return surface(rng, tinted(base, tone), f"{name} knurl with a diamond pattern")


def tread_plate(rng: np.random.Generator, size: int) -> Picture:
    """Tread (chequer) plate: raised lozenges in two directions by turns."""
    name, base = _metal(rng, "steel", "aluminium", "iron")
    pitch = log_uniform(rng, 22, 80)
    v, u = pitches(rng, size, pitch, any_angle(rng), 0.01)
    i, fv = split(v)
    j, fu = split(u)
    fv, fu = fv - 0.5, fu - 0.5
    odd = (i + j) % 2 == 0
    slant = np.float32(np.sqrt(0.5))
    a, b = slant * (fu + fv), slant * (fu - fv)
    along, across = np.where(odd, a, b), np.where(odd, b, a)
    body = 1 - (along / np.float32(0.46)) ** 2 - (np.abs(across) / np.float32(rng.uniform(0.1, 0.18)))
    height = np.clip(body, 0, 0.6) * np.float32(pitch * 0.18) + 0.2 * fields.spectral_noise(rng, size, 1.2)
    tone = fields.lit(fields.blur(height, 0.8), rng, rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.8), 15)
    tone = tone * (1 + 0.06 * fields.spectral_noise(rng, size, 2.2))
    return surface(rng, tinted(base, tone), f"{name} tread plate with a raised lozenge pattern")


def perforated(rng: np.random.Generator, size: int) -> Picture:
    """Sheet with rows of round, square or slotted holes."""
    name, base = _metal(rng)
    if rng.random() < 0.2:
        base = colour(rng, "paint")
        name = f"{fields.colour_name(base)} metal"
    pitch, staggered = log_uniform(rng, 12, 64), rng.random() < 0.6
    v, u = pitches(rng, size, (pitch * (0.866 if staggered else 1), pitch), any_angle(rng), 0.004)
    row, fv = split(v)
    column, fu = split(u + np.float32(0.5) * (row % 2) if staggered else u)
    cell = hashed(row, column)
    print_y, print_x = jitter_1d(rng, 0.012, 4096)[cell], jitter_1d(rng, 0.012, 4096)[cell]
    dy, dx = np.abs(fv - 0.5 + print_y) * np.float32(0.866 if staggered else 1), np.abs(fu - 0.5 + print_x)
    shape = pick(rng, ("round", "square", "slotted"))
    radius = rng.uniform(0.2, 0.4)
    if shape == "round":
        distance = np.sqrt(dx * dx + dy * dy) - radius
    elif shape == "square":
        distance = np.maximum(dx, dy) - radius * 0.9
    else:
        distance = np.sqrt(np.maximum(dx - 0.25, 0) ** 2 + dy * dy) - radius * 0.5
    hole = ramp(distance * np.float32(pitch), 1.5)
    rim = -fields.blur(hole, rng.uniform(0.8, 2.5)) * np.float32(rng.uniform(0.5, 3))
    grain = fields.spectral_noise(rng, size, 1, rng.choice([1.0, 20.0]), any_angle(rng))
    tone = fields.lit(rim, rng, 1.0, 0.3, 15) * (0.9 + 0.04 * grain)
    behind = colour(rng, "dark" if rng.random() < 0.75 else "any")
    under = tinted(behind, 0.8 + 0.4 * np.roll(1 - hole, rng.integers(-6, 7, 2), (0, 1)))
    return surface(rng, mix(tinted(base, tone), under, hole), f"perforated {name} sheet with {shape} holes")


def galvanised(rng: np.random.Generator, size: int) -> Picture:
    """Zinc spangle: crystals of different brightness, each with its own grain."""
    base = colour(rng, "steel")
    noise_y, noise_x = (fields.spectral_noise(rng, size, 2.2) for _ in range(2))
    _, _, cell = fields.worley(rng, size, int(log_uniform(rng, 5, 26)))
    y, x = fields.coords(size)
    half = np.float32(size / 2)
    cells = by_index(cell, jitter_1d(rng, 1.0, 1024))
    tone = fields.sample(cells, (y + 1) * half + 2 * noise_y, (x + 1) * half + 2 * noise_x)
    grain = fields.spectral_noise(rng, size, 1, 12, rng.uniform(0, 3.1))
    tone = 0.85 + rng.uniform(0.05, 0.18) * tone + 0.05 * grain * np.abs(tone)
    return surface(
        rng, tinted(base, tone), f"galvanised steel sheet with {pick(rng, ('zinc', 'large', 'fine'))} spangle"
    )


def ribbed(rng: np.random.Generator, size: int) -> Picture:
    """Parallel round or flat ribs: wire winding, corrugated sheet, heat sink fins, threads."""
    kind = pick(rng, ("wire winding", "corrugated sheet", "heat sink fins", "screw thread"))
    name, base = _metal(rng, *(("copper", "brass") if kind == "wire winding" else ("steel", "aluminium", "metal")))
    pitch = log_uniform(rng, 5, 40)
    v, u = pitches(rng, size, (size, pitch), any_angle(rng), rng.uniform(0, 0.06))
    number, part = split(u)
    part = 2 * part - 1
    if kind == "wire winding":
        width = 0.96 + by_index(number, jitter_1d(rng, 0.02))
        height = np.sqrt(np.maximum(1 - (part / width) ** 2, 0))
    elif kind == "corrugated sheet":
        height = 0.5 + 0.5 * np.cos(part * np.float32(np.pi))
    elif kind == "heat sink fins":
        height = 2 * fields.smoothstep(rng.uniform(0.5, 0.7), 0.35, np.abs(part))
    else:
        height = 1 - np.abs(part)
    relief = fields.blur(height * np.float32(pitch / 2) + 0.2 * fields.spectral_noise(rng, size, 1, 15, 0), 0.5)
    light = fields.random_light(rng)
    tone = fields.lit(relief, light, rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.8), rng.uniform(6, 40))
    tone = tone * (0.55 + 0.45 * np.minimum(height, 1)) * (1 + by_index(number, jitter_1d(rng, 0.05)))
    return surface(rng, tinted(base, tone + 0.02 * np.sin(v * 40)), f"{name} {kind}")


def stamped(rng: np.random.Generator, size: int) -> Picture:
    """Pressed relief: a regular grid of bosses or dimples on a sheet."""
    name, base = _metal(rng, "steel", "aluminium", "metal", "brass")
    pitch = log_uniform(rng, 14, 70)
    v, u = pitches(rng, size, pitch, any_angle(rng), 0.006)
    row, fv = split(v)
    _, fu = split(u + np.float32(0.5) * (row % 2) if rng.random() < 0.5 else u)
    distance = np.sqrt((fv - 0.5) ** 2 + (fu - 0.5) ** 2)
    radius = rng.uniform(0.2, 0.42)
    boss = fields.smoothstep(radius, radius * rng.uniform(0.1, 0.7), distance)
    height = boss * np.float32(pitch * rng.uniform(0.06, 0.2) * rng.choice([-1, 1]))
    grain = fields.spectral_noise(rng, size, 0.8, log_uniform(rng, 1, 30), any_angle(rng))
    tone = fields.lit(height, rng, 1.0, rng.uniform(0.2, 0.9), rng.uniform(8, 40)) + 0.04 * grain
    return surface(rng, tinted(base, tone), f"stamped {name} sheet with rows of {pick(rng, ('bosses', 'dimples'))}")


def scaled_oxide(rng: np.random.Generator, size: int) -> Picture:
    """Hot-rolled strip: dark mill scale, long streaks along the rolling direction."""
    base = colour(rng, "iron") * rng.uniform(1, 1.8)
    angle = any_angle(rng)
    streak = fields.spectral_noise(rng, size, 1.8, log_uniform(rng, 3, 14), angle)
    cloud = fields.spectral_noise(rng, size, 2.4)
    tone = 1 + rng.uniform(0.05, 0.15) * streak + rng.uniform(0.03, 0.12) * cloud
    tone = tone + 0.03 * fields.spectral_noise(rng, size, 0.3)
    return surface(rng, tinted(base, tone), f"hot-rolled {pick(rng, ('steel', 'iron'))} strip")


def grid_of_pins(rng: np.random.Generator, size: int) -> Picture:
    """Solder balls or contact pins on a dark carrier, in rows."""
    pitch = log_uniform(rng, 14, 60)
    v, u = pitches(rng, size, pitch, any_angle(rng) if rng.random() < 0.3 else rng.normal(0, 0.02))
    row, fv = split(v)
    column, fu = split(u)
    cell = hashed(row, column)
    dy, dx = fv - 0.5 + jitter_1d(rng, 0.012, 4096)[cell], fu - 0.5 + jitter_1d(rng, 0.012, 4096)[cell]
    radius = rng.uniform(0.22, 0.4) * (1 + jitter_1d(rng, 0.02, 4096)[cell])
    distance = np.sqrt(dx * dx + dy * dy)
    ball = ramp((distance - radius) * np.float32(pitch), 1.5)
    height = np.sqrt(np.maximum(radius**2 - distance**2, 0)) * np.float32(pitch)
    light = fields.random_light(rng, 0.6, 1.3)
    metal = colour(rng, pick(rng, ("steel", "brass", "aluminium", "copper")))
    shine = fields.lit(height, light, 0.7, rng.uniform(0.4, 1.2), rng.uniform(8, 40))
    shade = 1 - 0.5 * np.roll(
        fields.blur(ball, pitch * 0.06), (-int(light[1] * pitch * 0.12), -int(light[0] * pitch * 0.12)), (0, 1)
    )
    floor = colour(rng, pick(rng, ("board", "dark", "grey")))
    ground = tinted(floor, shade * (1 + 0.06 * fields.spectral_noise(rng, size, 1)))
    return surface(
        rng,
        mix(ground, tinted(metal, shine), ball),
        f"grid array of {pick(rng, ('solder balls', 'contact pins', 'metal balls'))}",
    )


FAMILIES: dict[str, Draw] = {
    "brushed_metal": brushed,
    "turned_metal": turned,
    "milled_metal": milled,
    "cast_metal": cast,
    "blasted_metal": blasted,
    "rusted_metal": rusted,
    "painted_metal": painted,
    "hammered_metal": hammered,
    "knurled_metal": knurled,
    "tread_plate": tread_plate,
    "perforated_metal": perforated,
    "galvanised_metal": galvanised,
    "ribbed_metal": ribbed,
    "stamped_metal": stamped,
    "rolled_steel": scaled_oxide,
    "grid_of_pins": grid_of_pins,
}
"""Family name to drawing function."""
