"""Long parts: screws, bolts, nails, springs, keys, cables, zippers, brushes, candles, pasta, pencils."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.fields import colour, colour_name
from edge_ad.training.pretrain.draw.layout import Item
from edge_ad.training.pretrain.draw.materials import Material, metal, plain, shade
from edge_ad.training.pretrain.draw.scene import Paint
from edge_ad.training.pretrain.draw.shapes import Field


def _rod(y: Field, radius: float) -> Field:
    """Height of a round bar along x."""
    r = np.float32(radius)
    return np.sqrt(np.maximum(r * r - y * y, 0))


def _thread(
    paint: Paint, y: Field, x: Field, px: float, m: Material, span: tuple[float, float], r: float, pitch: float
) -> None:
    """Paint a threaded bar of radius r along x over a span; the thread's teeth show at its sides."""
    slant = x + y * np.float32(0.25 * pitch / r)
    wave = (np.abs(np.mod(slant / np.float32(pitch), 1) - np.float32(0.5)) * 2).astype(np.float32)
    depth = np.float32(0.45 * pitch)
    d = np.maximum(
        np.abs(y) - np.float32(r) + depth * wave, np.maximum(np.float32(span[0]) - x, x - np.float32(span[1]))
    )
    height = _rod(y, r) - depth * wave
    tone = m.texture(y, x) * (1 - np.float32(0.45) * wave)[..., None]
    paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss, metal=m.metal)


def screw(rng: np.random.Generator) -> Item:
    """Wood, machine or self-tapping screw from the side."""
    m = metal(rng, ("steel", "brass", "iron", "aluminium"), ("satin", "polished", "brushed"))
    r, head = rng.uniform(0.07, 0.14), rng.uniform(1.8, 2.4)
    pitch, pointed = rng.uniform(0.05, 0.1), rng.random() < 0.6
    kind = str(rng.choice(["countersunk", "pan head", "hex head"]))
    smooth = rng.uniform(-0.75, 0.2)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        shrink = np.clip((np.float32(0.98) - x) / np.float32(0.28), 0.02, 1) if pointed else np.float32(1)
        _thread(paint, y / shrink, x, px, m, (smooth, 0.98), r, pitch)
        shank = sh.box(y, x - np.float32((smooth - 0.8) / 2), r * 0.82, (smooth + 0.85) / 2)
        paint.add(sh.cover(shank, px), m.texture(y, x), height=_rod(y, r * 0.82), gloss=m.gloss, metal=m.metal)
        wide, long = r * head, 0.12
        if kind == "countersunk":
            d = np.maximum(np.abs(y) - wide + np.maximum(x + 0.95, 0) * 0.9, np.abs(x + 0.87) - long)
        else:
            d = sh.box(y, x + np.float32(0.87), wide, long, 0.09 if kind == "pan head" else 0.02)
        height = _rod(y, wide)
        if kind == "hex head":
            height = np.where(np.abs(y) < wide / 2, wide, (wide - np.abs(y)) * 1.6 + wide * 0.2).astype(np.float32)
        return paint.add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)

    noun = str(rng.choice(["screw", f"{kind} screw", "metal screw"]))
    half = (max(r * head, r) + 0.02, 1.0)
    return Item(part, f"{m.words} {noun}", f"{m.words} screws", half=half, many=0.5, thickness=0.12)


def bolt(rng: np.random.Generator) -> Item:
    """Screw or bolt head from above with its drive: slot, cross, hexagon socket, star."""
    m = metal(rng)
    drive = str(rng.choice(["slotted", "cross", "hex socket", "star", "hexagon"]))
    collar = rng.random() < 0.4
    turn = rng.uniform(0, math.pi)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if collar:
            d = sh.disc(y, x, 0.98)
            paint.add(sh.cover(d, px), m.texture(y, x), height=sh.bevel(d, 0.04), gloss=m.gloss, metal=m.metal)
        r = 0.72 if collar else 0.97
        d = sh.polygon(y, x, 6, r * 0.87) if drive == "hexagon" else sh.disc(y, x, r)
        height = np.float32(0.1) + (sh.chamfer(d, 0.1) if drive == "hexagon" else sh.dome(d, 0.5 * r, 0.25 * r))
        v, u = sh.turned(y, x, turn)
        holes: dict[str, Callable[[], Field]] = {
            "slotted": lambda: sh.box(v, u, 0.1 * r, 1.2 * r),
            "cross": lambda: sh.union(sh.box(v, u, 0.1 * r, 0.5 * r), sh.box(u, v, 0.1 * r, 0.5 * r)),
            "hex socket": lambda: sh.polygon(v, u, 6, 0.42 * r),
            "star": lambda: sh.gear(v, u, 6, 0.5 * r, 0.16 * r, 1.0),
            "hexagon": lambda: np.abs(sh.disc(y, x, 0.45 * r)) - np.float32(0.02),
        }
        hole = holes[drive]()
        deep = 0.02 if drive == "hexagon" else 0.12
        height = height - np.clip(-hole, 0, np.float32(deep))
        tone = m.texture(y, x) * (1 - np.float32(0.55) * sh.cover(hole, px * 2))[..., None]
        return paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss, metal=m.metal)

    return Item(part, f"{m.words} {drive} bolt head", f"{m.words} bolts", many=0.4, thickness=0.2)


def nail(rng: np.random.Generator) -> Item:
    """Nail or pin from the side."""
    m = metal(rng, ("steel", "iron", "copper"), ("satin", "brushed", "cast"))
    r, head = rng.uniform(0.03, 0.06), rng.uniform(1.8, 3)

    def part(y: Field, x: Field, px: float) -> Paint:
        taper = np.clip((np.float32(0.98) - x) / np.float32(0.16), 0, 1)
        d = np.maximum(np.abs(y) - np.float32(r) * taper, np.abs(x) - np.float32(0.98))
        d = sh.union(d, sh.box(y, x + np.float32(0.96), r * head, 0.025, 0.02))
        return Paint(y.shape).add(
            sh.cover(d, px), m.texture(y, x), height=_rod(y, r * 1.2), gloss=m.gloss, metal=m.metal
        )

    return Item(part, f"{m.words} nail", f"{m.words} nails", half=(r * head + 0.02, 1.0), many=0.7, thickness=0.06)


def spring(rng: np.random.Generator) -> Item:
    """Coil spring from the side."""
    m = metal(rng, ("steel", "iron", "brass"), ("polished", "satin"))
    turns, r = int(rng.integers(6, 18)), rng.uniform(0.18, 0.4)
    pitch = 1.8 / turns
    wire = pitch * rng.uniform(0.2, 0.38)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        inside = np.maximum(np.abs(x) - np.float32(0.9 + wire), np.abs(y) - np.float32(r))
        for back in (True, False):
            # the rear half of the coils slants the other way, and lies in shade
            slant = np.arcsin(np.clip(y / np.float32(r), -1, 1)) * np.float32(pitch / (2 * math.pi))
            u = x - slant if not back else x + slant - np.float32(pitch / 2)
            away = (u + 0.9) / np.float32(pitch)
            off = np.abs(away - np.round(away)) * np.float32(pitch)
            d = np.maximum(off - np.float32(wire), inside)
            height = _rod(off, wire) + (np.float32(0) if back else _rod(y, r) * np.float32(0.6) + np.float32(wire))
            tone = m.texture(y, x) * np.float32(0.45 if back else 1.0)
            paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss, metal=m.metal)
        return paint

    return Item(part, f"{m.words} coil spring", f"{m.words} springs", half=(r + 0.03, 1.0), many=0.35, thickness=0.2)


def key(rng: np.random.Generator) -> Item:
    """Flat key with a bow and a toothed blade."""
    m = metal(rng, ("steel", "brass"), ("satin", "brushed", "polished"))
    cuts = rng.uniform(0.02, 0.14, int(rng.integers(4, 8)))
    round_bow, bow = rng.random() < 0.5, rng.uniform(0.28, 0.36)

    def part(y: Field, x: Field, px: float) -> Paint:
        blade = sh.box(y, x - np.float32(0.25), 0.15, 0.73, 0.05)
        place = np.clip((x - np.float32(0.1)) / np.float32(0.85) * len(cuts), 0, len(cuts) - 1e-3)
        whole = place.astype(np.int32)
        tooth = cuts.astype(np.float32)[whole] * (x > 0.1) * (1 - np.abs(place - whole - np.float32(0.5)))
        d = np.maximum(blade, np.float32(-0.15) + tooth - y)
        head = sh.disc(y, x + np.float32(0.64), bow) if round_bow else sh.box(y, x + np.float32(0.64), bow, bow, 0.12)
        d = sh.union(d, head)
        d = sh.cut(d, sh.disc(y, x + np.float32(0.82), 0.07))
        height = sh.bevel(d, 0.03) - np.float32(0.04) * sh.cover(
            sh.box(y - np.float32(0.04), x - np.float32(0.2), 0.03, 0.8), 0.02
        )
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)

    return Item(part, f"{m.words} key", f"{m.words} keys", half=(0.38, 1.0), many=0.3)


def cable(rng: np.random.Generator) -> Item:
    """Cable cross section: a jacket, insulated wires, stranded copper."""
    jacket = plain(rng, str(rng.choice(["plastic", "rubber", "light"])))
    filler = plain(rng, str(rng.choice(["light", "grey", "plastic"])))
    count = int(rng.choice([2, 3, 3, 3, 4, 5, 7]))
    skins = [colour(rng, "plastic") for _ in range(count)]
    wall = rng.uniform(0.07, 0.16)
    space = 0.97 - wall
    r = space * math.sin(math.pi / count) / (1 + math.sin(math.pi / count)) * rng.uniform(0.85, 0.97)
    core, strand = rng.uniform(0.5, 0.75) * r, rng.uniform(0.12, 0.3) * r
    wire = colour(rng, str(rng.choice(["copper", "copper", "steel"])))
    jitter = rng.normal(0, 0.03 * r, (count, 2))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.disc(y, x, 0.97)
        paint.add(sh.cover(d, px), jacket.texture(y, x), height=sh.bevel(d, 0.04), gloss=jacket.gloss)
        paint.add(sh.cover(sh.disc(y, x, space), px), filler.texture(y, x) * np.float32(0.7), gloss=0.05)
        for i, skin in enumerate(skins):
            at = 2 * math.pi * i / count
            cy, cx = (space - r) * math.sin(at) + jitter[i, 0], (space - r) * math.cos(at) + jitter[i, 1]
            v, u = y - np.float32(cy), x - np.float32(cx)
            d = sh.disc(v, u, r)
            paint.add(sh.cover(d, px), skin, height=sh.bevel(d, 0.04) + np.float32(0.03), gloss=0.25)
            # strands on a hexagonal lattice
            row = np.round(v / np.float32(strand * 0.87))
            u2 = u + np.mod(row, 2) * np.float32(strand / 2)
            dv, du = v - row * np.float32(strand * 0.87), u2 - np.round(u2 / np.float32(strand)) * np.float32(strand)
            off = np.hypot(dv, du)
            tone = wire * (np.float32(1.15) - off / np.float32(strand))[..., None]
            paint.add(sh.cover(sh.disc(v, u, core), px), tone, height=_rod(off, strand * 0.55), gloss=0.5, metal=0.6)
        return paint

    number = {2: "two", 3: "three", 4: "four", 5: "five", 7: "seven"}[count]
    return Item(part, f"{jacket.words} cable with {number} wires", "cable cross sections", many=0.12, thickness=0.2)


def zipper(rng: np.random.Generator) -> Item:
    """Zipper: two tapes of fabric with a row of interlocked teeth, sometimes the slider."""
    tape = plain(rng, "fabric")
    m = metal(rng, ("steel", "brass", "aluminium"), ("satin",)) if rng.random() < 0.6 else plain(rng, "plastic")
    pitch, reach = rng.uniform(0.05, 0.11), rng.uniform(0.08, 0.16)
    wide, weave = rng.uniform(0.3, 0.55), rng.uniform(60, 120)
    slider, at = rng.random() < 0.35, rng.uniform(-0.6, 0.6)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, wide, 1.6)
        wavy = np.float32(0.12) * np.sin(x * np.float32(weave)) * np.sin((y + x * np.float32(0.5)) * np.float32(weave))
        tone = tape.texture(y, x) * (1 + wavy)[..., None]
        paint.add(sh.cover(d, px), tone, height=np.float32(0.0) * d, gloss=0.02)
        for side in (-1.0, 1.0):
            u = x / np.float32(pitch) + np.float32(0.25 * side)
            u = (u - np.round(u)) * np.float32(pitch)
            tooth = sh.box(y - np.float32(side * reach * 0.35), u, reach * 0.62, pitch * 0.22, pitch * 0.12)
            height = sh.bevel(tooth, pitch * 0.15)
            paint.add(sh.cover(tooth, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)
        if slider:
            u = x - np.float32(at)
            body = sh.box(y, u, reach * 1.6, 0.2, 0.08)
            tab = sh.cut(sh.box(y, u - np.float32(0.4), reach, 0.3, 0.08), sh.box(y, u - 0.5, reach * 0.4, 0.1, 0.05))
            d = sh.union(body, tab)
            paint.add(sh.cover(d, px), m.texture(y, x), height=sh.bevel(d, 0.06) + 0.1, gloss=m.gloss, metal=m.metal)
        return paint

    tone = colour_name(tape.colour)
    return Item(part, f"{tone} zipper with {m.words} teeth", f"{tone} zippers", half=(wide, 1.6), many=0.2,
                spin="square", thickness=0.03)  # fmt: skip


def brush(rng: np.random.Generator) -> Item:
    """Toothbrush-like head: tufts of bristles in rows on a plastic body."""
    body = plain(rng, "plastic")
    rows, columns = int(rng.integers(3, 5)), int(rng.integers(7, 12))
    tints = np.stack([colour(rng, str(rng.choice(["light", "plastic", "plastic"]))) for _ in range(3)])
    wide = rng.uniform(0.3, 0.42)
    which = rng.integers(0, 3, (rows, columns))
    which = which[:, :1].repeat(columns, 1) if rng.random() < 0.5 else which[:1].repeat(rows, 0)
    phase = rng.uniform(0, 6.28, (rows, columns)).astype(np.float32)
    fibre = body.grain

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, wide, 0.97, wide * 0.9)
        paint.add(sh.cover(d, px), body.texture(y, x), height=sh.bevel(d, 0.08), gloss=body.gloss)
        gap_y, gap_x = 2 * wide / (rows + 0.4), 1.8 / (columns + 0.4)
        i = np.clip(np.round(y / gap_y + (rows - 1) / 2), 0, rows - 1).astype(np.int32)
        j = np.clip(np.round(x / gap_x + (columns - 1) / 2), 0, columns - 1).astype(np.int32)
        v = (y - (i - np.float32((rows - 1) / 2)) * np.float32(gap_y)).astype(np.float32)
        u = (x - (j - np.float32((columns - 1) / 2)) * np.float32(gap_x)).astype(np.float32)
        p = phase[i, j]
        r = np.float32(0.47 * min(gap_y, gap_x)) * (1 + np.float32(0.1) * np.sin(3 * np.arctan2(v, u) + p))
        d = np.maximum(np.hypot(v, u) - r, sh.box(y, x, wide - 0.02, 0.96, wide * 0.9))
        n = (np.abs(v * 300 + p * 50).astype(np.int32) % 128, np.abs(u * 300 + p * 80).astype(np.int32) % 128)
        tone = np.clip(0.85 + 0.22 * fibre[n] - 0.35 * np.hypot(v, u) / r, 0.2, 1.3)
        return paint.add(sh.cover(d, px), tone[..., None] * tints[which[i, j]], height=0.3 + 0 * d, gloss=0.05)

    return Item(part, f"{colour_name(body.colour)} brush head with bristles", "brush heads", half=(wide, 1.0),
                many=0.15, thickness=0.25)  # fmt: skip


def candle(rng: np.random.Generator) -> Item:
    """Candle from above: wax with a wick, in a cup or free."""
    wax = plain(rng, str(rng.choice(["light", "plastic", "ceramic", "paint"])), name="wax")
    cup, sides = rng.random() < 0.6, int(rng.integers(6, 9))
    m = metal(rng, ("aluminium",), ("satin", "brushed"))
    turn, bend = rng.uniform(0, 6.28), rng.uniform(-0.1, 0.1)
    squared = rng.random() < 0.2

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, 0.96, 0.96, 0.1) if squared else sh.disc(y, x, 0.98)
        if cup:
            ribs = sh.gear(y, x, sides * 4, 0.98, 0.015, 1.0)
            paint.add(sh.cover(d, px), m.texture(y, x), height=sh.bevel(ribs, 0.05), gloss=m.gloss, metal=m.metal)
            d = d + np.float32(0.1)
        height = sh.bevel(d, 0.05) - np.float32(0.15) * sh.dome(sh.disc(y, x, 0.4), 0.4, 0.3)
        paint.add(sh.cover(d, px), wax.texture(y, x), height=height, gloss=wax.gloss * 0.5)
        v, u = sh.turned(y, x, turn)
        wick = sh.segment(v, u, (0, 0), (bend, 0.3), 0.035)
        fray = np.float32(0.8) + np.float32(0.2) * np.sin(u * 120 + v * 60)
        tone = fray[..., None] * np.asarray([0.85, 0.82, 0.75], np.float32)
        return paint.add(sh.cover(wick, px), tone, height=sh.bevel(wick, 0.035) + np.float32(0.1), gloss=0.05)

    return Item(part, f"{colour_name(wax.colour)} wax candle", "candles", many=0.4, thickness=0.25)


def pasta(rng: np.random.Generator) -> Item:
    """Dry pasta: ridged tube, bow tie, spiral or elbow."""
    base = np.asarray([rng.uniform(0.8, 0.97), rng.uniform(0.6, 0.82), rng.uniform(0.2, 0.5)], np.float32)
    m = plain(rng, "skin", tint=base, name="pasta")
    kind = str(rng.choice(["penne", "spiral", "elbow macaroni", "shell"]))
    ridges, r = int(rng.integers(5, 12)), rng.uniform(0.2, 0.32)
    twist = rng.uniform(5, 9)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if kind == "penne":
            d = np.maximum(np.abs(y) - np.float32(r), np.abs(x + y * np.float32(0.8)) - np.float32(0.7))
            height = _rod(y, r) + np.float32(0.02) * np.cos(np.arcsin(np.clip(y / r, -1, 1)) * ridges * 2)
        elif kind == "spiral":
            wave = np.sin(x * np.float32(twist * 2) + y * 6)
            d = np.maximum(np.abs(y) - np.float32(r) * (np.float32(0.85) + np.float32(0.15) * wave), np.abs(x) - 0.9)
            height = _rod(y, r) * (np.float32(0.8) + np.float32(0.5) * wave)
        elif kind == "elbow macaroni":
            d = np.maximum(sh.ring(y + np.float32(0.5), x, 0.5, 0.97), -y - np.float32(0.5))
            height = sh.dome(d, 0.23, 0.23)
        else:
            d = sh.outline(y, x, 0.62, [0.0, 0.25], [0.0, 0.0])
            height = sh.dome(d, 0.4, 0.35) + np.float32(0.04) * np.cos(np.arctan2(y + 0.9, x) * ridges * 4)
        return paint.add(sh.cover(d, px), m.texture(y, x), height=height.astype(np.float32), gloss=0.12)

    return Item(part, f"piece of {kind} pasta", f"{kind} pasta", half=(0.7, 0.95), many=0.65, thickness=0.2)


def pencil(rng: np.random.Generator) -> Item:
    """Pencil or crayon from the side: painted hexagonal body, wood cone, lead, ferrule."""
    coat, wood, lead = plain(rng, "paint"), plain(rng, "wood"), colour(rng, str(rng.choice(["dark", "plastic"])))
    m = metal(rng, ("aluminium", "brass"), ("satin",))
    r, ferrule = rng.uniform(0.06, 0.1), rng.random() < 0.5

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        taper = np.clip((np.float32(0.98) - x) / np.float32(0.26), 0.06, 1)
        d = np.maximum(np.abs(y) - np.float32(r) * taper, np.abs(x) - np.float32(0.98))
        face = np.where(np.abs(y) < r * 0.5, r, r * 1.5 - np.abs(y)).astype(np.float32)
        paint.add(sh.cover(d, px), wood.texture(y, x), height=_rod(y, r), gloss=0.05)
        scallop = np.float32(0.72) + np.float32(0.03) * np.cos(y * np.float32(3.14 / r * 2))
        painted = np.maximum(d, x - scallop)
        paint.add(sh.cover(painted, px), coat.texture(y, x), height=face, gloss=coat.gloss)
        paint.add(sh.cover(np.maximum(d, np.float32(0.9) - x), px), lead, gloss=0.2)
        if ferrule:
            end = np.maximum(d, x + np.float32(0.78))
            crimp = _rod(y, r) + np.float32(0.01) * np.sin(x * np.float32(90))
            paint.add(sh.cover(end, px), m.texture(y, x), height=crimp, gloss=m.gloss, metal=m.metal)
        return paint

    return Item(part, f"{colour_name(coat.colour)} pencil", "pencils", half=(r + 0.01, 1.0), many=0.5, thickness=0.12)


def plate(rng: np.random.Generator) -> Item:
    """Machined or stamped plate with drilled holes, slots and engraved lines."""
    m = metal(rng)
    hx, corner = rng.uniform(0.5, 0.97), rng.uniform(0.02, 0.3)
    holes = [(rng.uniform(-0.75, 0.75), rng.uniform(-0.75, 0.75) * hx, rng.uniform(0.04, 0.16)) for _ in range(6)]
    slots = [(rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6) * hx, rng.uniform(0.1, 0.4)) for _ in range(2)]
    circle, bolts = rng.random() < 0.5, int(rng.integers(3, 9))
    pocket = rng.random() < 0.4

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, 0.97, hx, corner)
        height = sh.chamfer(d, 0.04)
        if pocket:
            height = height - np.float32(0.08) * np.clip(-sh.box(y, x, 0.6, hx * 0.6, 0.1) / 0.03, 0, 1)
        if circle:
            bore = sh.disc(y, x, 0.3)
            open_ = sh.union(bore, sh.disc(*sh.around(y, x, bolts, 0.42), 0.05))
        else:
            open_ = sh.union(*(sh.disc(y - np.float32(a), x - np.float32(b), c) for a, b, c in holes))
            for a, b, c in slots:
                open_ = sh.union(open_, sh.segment(y, x, (a, b - c), (a, b + c), 0.05))
        height = height - np.clip(np.float32(0.03) - open_, 0, np.float32(0.03))
        paint.add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)
        corners = sh.disc(np.abs(y) - np.float32(0.8), np.abs(x) - np.float32(hx - 0.15), 0.06)
        return paint.pierce(sh.cover(sh.union(open_, corners), px))

    return Item(part, f"{m.words} plate with drilled holes", f"{m.words} plates", half=(0.98, hx), many=0.15)


def wound(rng: np.random.Generator) -> Item:
    """Wound coil or thread spool from the side."""
    wire, flange = plain(rng, str(rng.choice(["copper", "fabric", "plastic"]))), plain(rng, "plastic")
    pitch, wide = rng.uniform(0.03, 0.08), rng.uniform(0.35, 0.6)
    tone_of = shade(wire.colour, 0.55)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        ends = sh.box(y, np.abs(x) - np.float32(0.9), wide + 0.1, 0.08, 0.04)
        paint.add(sh.cover(ends, px), flange.texture(y, x), height=_rod(y, wide + 0.15), gloss=flange.gloss)
        u = (x + y * np.float32(pitch * 0.4)) / np.float32(pitch)
        off = np.abs(u - np.round(u)) * 2
        d = sh.box(y, x, wide, 0.83)
        tone = wire.colour + off[..., None] * (tone_of - wire.colour)
        height = _rod(y, wide + 0.05) + np.float32(pitch * 0.4) * np.sqrt(np.maximum(1 - off * off, 0))
        return paint.add(sh.cover(d, px), tone, height=height, gloss=0.3, metal=0.2)

    noun = str(rng.choice(["wound coil", "thread spool", "bobbin"]))
    return Item(
        part, f"{colour_name(wire.colour)} {noun}", f"{noun}s", half=(wide + 0.1, 1.0), many=0.25, thickness=0.3
    )


MAKERS = {
    f.__name__: f for f in (screw, bolt, nail, spring, key, cable, zipper, brush, candle, pasta, pencil, plate, wound)
}
"""Product designs by family name."""
