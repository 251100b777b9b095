"""Small goods: tablets, capsules, blister packs, biscuits, kernels, beans, fruit, labels, tiles of chocolate."""

from __future__ import annotations

import numpy as np

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.fields import colour, colour_name
from edge_ad.training.pretrain.draw.layout import Item
from edge_ad.training.pretrain.draw.materials import Colour, plain, shade
from edge_ad.training.pretrain.draw.prints import Artwork, barcode, code, lines_of_text, matrix
from edge_ad.training.pretrain.draw.scene import Paint
from edge_ad.training.pretrain.draw.shapes import Field


def tablet(rng: np.random.Generator) -> Item:
    """Round, oval or oblong tablet with a score line or an embossed code, sometimes speckled."""
    m = plain(rng, str(rng.choice(["light", "light", "ceramic", "plastic"])), name="tablet")
    kind = str(rng.choice(["round", "oval", "oblong"]))
    hy = {"round": 0.97, "oval": rng.uniform(0.55, 0.8), "oblong": rng.uniform(0.35, 0.5)}[kind]
    mark = str(rng.choice(["score", "code", "plain"]))
    art = Artwork((hy, 0.97), 192)
    art.text(code(rng), 0.0, 0.0, hy * 0.55)
    crown, speckled = rng.uniform(0.05, 0.3), rng.random() < 0.4
    specks = colour(rng, str(rng.choice(["plastic", "dark"])))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, hy, 0.97, hy) if kind == "oblong" else sh.disc(y / np.float32(hy), x / np.float32(0.97), 1.0)
        d = d * np.float32(hy if kind != "oblong" else 1)
        height = sh.chamfer(d, 0.05) + sh.dome(d, hy, crown)
        if mark == "score":
            height = height - np.clip(np.float32(0.05) - np.abs(x), 0, np.float32(0.05))
        tone = m.texture(y, x)
        if mark == "code":
            ink = art.at(y, x)
            height = height - np.float32(0.035) * ink
            tone = tone * (1 - np.float32(0.08) * ink)[..., None]
        if speckled:
            spots = np.clip(m.tone(y * 0.6, x * 0.6) - 1 - np.float32(1.2 * m.contrast), 0, 1)
            spots = np.clip(spots / np.float32(m.contrast), 0, 1) * np.float32(0.7)
            tone = tone + spots[..., None] * (specks - tone)
        return paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss * 0.5)

    tone = colour_name(m.colour)
    return Item(part, f"{kind} {tone} tablet", f"{tone} tablets", half=(hy, 0.97), many=0.45, thickness=0.15)


def capsule(rng: np.random.Generator) -> Item:
    """Hard capsule of two colours with a print."""
    left, right = (colour(rng, str(rng.choice(["plastic", "light", "ceramic"]))) for _ in range(2))
    hy, seam = rng.uniform(0.3, 0.42), rng.uniform(-0.2, 0.2)
    art = Artwork((hy, 1.0), 192)
    art.text(code(rng), 0.0, -0.45, hy * 0.6)
    art.text(code(rng), 0.0, 0.45, hy * 0.5)
    ink = shade(colour(rng, "dark"), 0.7)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, hy, 0.97, hy)
        height = sh.dome(d, hy, hy)
        cap = x > seam
        height = height + np.float32(0.03) * cap.astype(np.float32)
        paint.add(sh.cover(d, px), np.where(cap[..., None], right, left), height=height, gloss=0.7)
        return paint.add(np.float32(0.85) * art.at(y, x), ink, extend=False)

    words = f"{colour_name(left)} and {colour_name(right)} capsule"
    return Item(part, words, f"{words}s", half=(hy, 0.98), many=0.45, thickness=0.25)


def blister(rng: np.random.Generator) -> Item:
    """Blister pack: foil or film with rows of cavities holding tablets or capsules."""
    foil = rng.random() < 0.5
    base = plain(rng, "light" if not foil else "aluminium", name="foil")
    rows, columns = int(rng.integers(2, 4)), int(rng.integers(3, 7))
    pitch = 1.8 / columns
    hy = rows * pitch * 0.55 * rng.uniform(0.95, 1.15) + 0.08
    tall = min(rows * pitch / 2 + 0.08, 0.97) if hy > 1 else hy
    pill = plain(rng, str(rng.choice(["light", "plastic", "ceramic"])), name="tablet")
    other = colour(rng, "plastic")
    long = rng.random() < 0.4
    lattice = rng.uniform(60, 110)
    step = (2 * tall - 0.08) / rows

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, tall, 0.97, 0.08)
        knurl = np.float32(0.006) * np.sin((y + x) * np.float32(lattice)) * np.sin((y - x) * np.float32(lattice))
        paint.add(sh.cover(d, px), base.texture(y, x), height=knurl, gloss=0.6, metal=0.7 if foil else 0.1)
        v, u = sh.along(y, step, rows), sh.along(x, pitch, columns)
        hy_, hx_ = (0.42 * step, 0.26 * pitch) if long else (0.4 * min(step, pitch), 0.4 * min(step, pitch))
        cavity = sh.box(v, u, hy_, hx_, min(hy_, hx_))
        inner = cavity + np.float32(0.08 * pitch)
        paint.add(sh.cover(cavity, px), base.colour * np.float32(0.85), height=sh.dome(cavity, 0.1, 0.1), gloss=0.9)
        tone = np.where((v > 0)[..., None], other, pill.colour) if long else pill.texture(v, u)
        edge = np.float32(0.75) + np.float32(0.25) * np.clip(-inner / np.float32(0.05), 0, 1)
        return paint.add(sh.cover(inner, px), tone * edge[..., None], height=sh.dome(cavity, 0.1, 0.1), gloss=0.9)

    goods = "capsules" if long else "tablets"
    return Item(part, f"blister pack of {goods}", "blister packs", half=(tall, 0.97), many=0.15, spin="square")


def biscuit(rng: np.random.Generator) -> Item:
    """Biscuit, cookie or cracker: baked texture, holes, chips, scalloped edge."""
    base = np.asarray([rng.uniform(0.6, 0.92), rng.uniform(0.42, 0.68), rng.uniform(0.18, 0.42)], np.float32)
    m = plain(rng, "stone", tint=base, name="biscuit")
    kind = str(rng.choice(["biscuit", "chocolate chip cookie", "cracker", "sandwich biscuit"]))
    square, scallops = rng.random() < 0.35, int(rng.integers(12, 36))
    holes = int(rng.integers(2, 6))
    chips = [(*(rng.uniform(-0.7, 0.7, 2)), rng.uniform(0.05, 0.13)) for _ in range(int(rng.integers(8, 20)))]
    cosines, sines = rng.normal(0, 0.02, 5), rng.normal(0, 0.02, 5)
    rough, crumb = rng.uniform(0.02, 0.06), rng.uniform(0.1, 0.3)
    dark = np.asarray([0.22, 0.12, 0.06], np.float32) * np.float32(rng.uniform(0.6, 1.3))
    brown = rng.uniform(0.1, 0.5)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if kind == "chocolate chip cookie":
            d = sh.outline(y, x, 0.9, cosines, sines)
        elif square:
            d = sh.box(y, x, 0.9, 0.9, 0.1) + np.float32(0.03) * np.cos((y + x) * 30) * np.cos((y - x) * 30)
        else:
            d = sh.gear(y, x, scallops, 0.95, 0.06, 1.0)
        grain = (m.tone(y * 0.35, x * 0.35) - 1) / np.float32(m.contrast)
        height = sh.dome(d, 0.35, 0.16) + np.float32(rough) * grain * np.float32(0.4)
        bake = np.clip(1 + d / np.float32(0.3), 0, 1) * np.float32(brown)
        tone = m.colour * (1 - bake + np.float32(0.25 * crumb) * grain)[..., None] * np.asarray([1, 0.98, 0.95])
        if kind == "chocolate chip cookie":
            for cy, cx, r in chips:
                spot = sh.cover(sh.disc(y - np.float32(cy), x - np.float32(cx), r) + grain * 0.01, px)
                tone = tone + spot[..., None] * (dark - tone)
                height = height + np.float32(0.04) * spot
        else:
            v = sh.along(y, 1.2 / holes, holes)
            u = sh.along(x, 1.2 / holes, holes)
            dot = sh.disc(v, u, 0.035)
            height = height - np.float32(0.05) * np.clip(0.5 - dot / 0.03, 0, 1)
            tone = tone * (1 - np.float32(0.4) * sh.cover(dot, px * 2))[..., None]
        paint.add(sh.cover(d, px), tone, height=height, gloss=0.02)
        if kind == "sandwich biscuit":
            disc = sh.disc(y, x, 0.3)
            paint.add(
                sh.cover(disc, px), dark if base[0] > 0.7 else base * 1.2, height=-sh.bevel(disc, 0.05), gloss=0.2
            )
        return paint

    return Item(part, f"{colour_name(base)} {kind}", f"{kind}s".replace("cookys", "cookies"), many=0.35, thickness=0.2)


def _nature(rng: np.random.Generator) -> tuple[str, Colour, float, float]:
    """Name, colour, elongation and roughness of a natural product."""
    name = str(rng.choice(["hazelnut", "bean", "coffee bean", "almond", "pea", "lentil", "potato", "grape", "olive",
                           "tomato", "orange", "walnut", "peanut", "cherry"]))  # fmt: skip
    tints: dict[str, tuple[tuple[float, float, float], float, float]] = {
        "hazelnut": ((0.55, 0.36, 0.2), 1.1, 0.2), "bean": ((0.6, 0.3, 0.22), 1.7, 0.05),
        "coffee bean": ((0.3, 0.18, 0.1), 1.4, 0.15), "almond": ((0.6, 0.38, 0.22), 1.7, 0.3),
        "pea": ((0.45, 0.6, 0.2), 1.0, 0.03), "lentil": ((0.6, 0.4, 0.2), 1.0, 0.05),
        "potato": ((0.7, 0.57, 0.35), 1.4, 0.35), "grape": ((0.35, 0.15, 0.3), 1.2, 0.05),
        "olive": ((0.35, 0.4, 0.15), 1.3, 0.05), "tomato": ((0.8, 0.15, 0.08), 1.0, 0.03),
        "orange": ((0.95, 0.55, 0.1), 1.0, 0.35), "walnut": ((0.65, 0.48, 0.3), 1.15, 0.8),
        "peanut": ((0.78, 0.6, 0.38), 2.0, 0.6), "cherry": ((0.6, 0.05, 0.1), 1.0, 0.02),
    }  # fmt: skip
    tint, long, rough = tints[name]
    jitter = np.asarray(tint, np.float32) * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    return name, np.clip(jitter, 0, 1), long * rng.uniform(0.92, 1.08), rough * rng.uniform(0.6, 1.3)


def kernel(rng: np.random.Generator) -> Item:
    """Nut, bean, pea, potato or fruit: a rounded body with its own skin."""
    name, tint, long, rough = _nature(rng)
    m = plain(rng, "skin", tint=tint, name=name)
    fade = 0.03 / np.arange(1, 5)  # higher waves are lower, or the body gets corners
    cosines, sines = rng.normal(0, fade), rng.normal(0, fade)
    hy = 1 / long
    streaks, blush = rng.uniform(0.02, 0.14), rng.uniform(-0.3, 0.3)
    crease = name in ("coffee bean", "peanut", "walnut")
    eye = name in ("hazelnut", "orange", "tomato", "cherry", "olive")
    eye_at = rng.uniform(-0.5, 0.5, 2)
    waist = 0.25 if name == "peanut" else 0.0
    gloss = 0.7 if name in ("grape", "olive", "tomato", "cherry", "pea") else 0.15
    pale = np.clip(tint * np.float32(1.35) + np.float32(0.08), 0, 1)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        narrow = np.float32(hy) * (1 - np.float32(waist) * np.exp(-((x / np.float32(0.3)) ** 2)))
        v = y / narrow
        d = sh.outline(v, x, 0.93, cosines, sines) * np.float32(hy)
        grain = np.clip((m.tone(v * 0.15, x * 0.15) - 1) / np.float32(m.contrast), -2.5, 2.5)
        height = sh.dome(d, hy, hy * 0.9) + np.float32(rough * 0.035) * grain
        longwise = np.clip((m.tone(v * 0.5, x * 0.04) - 1) / np.float32(m.contrast), -2.5, 2.5)
        tone = m.colour * (1 + np.float32(streaks) * longwise + np.float32(blush) * v * np.float32(0.4))[..., None]
        if crease:
            seam = np.abs(v - np.float32(0.1) * np.sin(x * 3)) - np.float32(0.03)
            height = height - np.float32(0.08) * np.clip(0.5 - seam / 0.08, 0, 1)
            tone = tone * (1 - np.float32(0.5) * sh.cover(seam, 0.05))[..., None]
        if eye:
            cy, cx = (np.float32(e) for e in eye_at)
            spot = sh.cover(sh.disc(v - cy, x - cx, 0.25), 0.12)
            tone = tone + np.float32(0.6) * spot[..., None] * (pale - tone)
            height = height - np.float32(0.05) * spot
        return paint.add(sh.cover(d, px), tone, height=height, gloss=gloss)

    plural = f"{name}es" if name in ("potato", "tomato") else "cherries" if name == "cherry" else f"{name}s"
    return Item(part, f"{colour_name(tint)} {name}", plural, half=(hy * 1.05, 1.03), many=0.5, thickness=0.35)


def label(rng: np.random.Generator) -> Item:
    """Printed label: lines of text-like marks, a barcode or a matrix code, a coloured band."""
    paper = plain(rng, str(rng.choice(["paper", "paper", "plastic", "light"])), name="label")
    hy = rng.uniform(0.35, 0.95)
    art, block = Artwork((hy, 0.97)), Artwork((hy, 0.97))
    ink = colour(rng, "dark") if paper.colour.mean() > 0.35 else np.full(3, 0.95, np.float32)
    band = colour(rng, "paint")
    style = rng.random()
    top = -hy + 0.06
    if rng.random() < 0.6:
        cut = top + hy * rng.uniform(0.3, 0.6)
        block.pen.rectangle([*block.px(-hy, -0.97), *block.px(cut, 0.97)], fill=255)
        top = cut + 0.06
    if style < 0.7:
        low = hy - 0.08
        barcode(rng, art, (low - min(hy * 0.5, low - top), -0.85, low, rng.uniform(0.1, 0.85)))
        lines_of_text(rng, art, (top, -0.88, low - hy * 0.5, 0.88), rng.uniform(0.07, 0.15))
    else:
        side = min(hy - 0.06, hy * 0.9)
        matrix(rng, art, (hy - side - 0.06, 0.9 - side, hy - 0.06, 0.9))
        lines_of_text(rng, art, (top, -0.88, hy - 0.08, 0.85 - side), rng.uniform(0.07, 0.14))
    art.pen.rectangle([2, 2, art.shape[1] - 3, art.shape[0] - 3], outline=255 if rng.random() < 0.4 else 0)
    corner = rng.uniform(0, 0.12)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, hy, 0.97, corner)
        paint.add(sh.cover(d, px), paper.texture(y, x), height=np.float32(0) * d, gloss=paper.gloss * 0.3)
        paint.add(block.at(y, x), band, extend=False)
        return paint.add(np.float32(0.92) * art.at(y, x), ink, extend=False)

    words = f"{colour_name(paper.colour)} label with "
    words += "a barcode and text" if style < 0.7 else "a matrix code and text"
    return Item(part, words, "printed labels", half=(hy, 0.97), many=0.15, spin="square", thickness=0.015)


def bar(rng: np.random.Generator) -> Item:
    """Chocolate, soap or pressed block divided into bevelled squares."""
    tint = colour(rng, str(rng.choice(["leather", "wood", "light", "plastic"])))
    m = plain(rng, "plastic", tint=tint, name="block")
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(2, 7))
    hy = min(rows / columns * 0.97, 0.97)
    step_y, step_x = 2 * hy / rows, 1.94 / columns
    sides, sign = int(rng.integers(3, 9)), rng.random() < 0.5

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.box(y, x, hy, 0.97, 0.04)
        v, u = sh.along(y, step_y, rows), sh.along(x, step_x, columns)
        cell = sh.box(v, u, step_y * 0.46, step_x * 0.46, 0.02)
        height = sh.chamfer(d, 0.02) + sh.chamfer(cell, 0.06)
        if sign:
            height = height - np.clip(-sh.polygon(v, u, sides, 0.22 * min(step_y, step_x)), 0, np.float32(0.02))
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss * 0.6)

    return Item(part, f"{colour_name(tint)} bar of {rows * columns} squares", "moulded bars", half=(hy, 0.97), many=0.2,
                thickness=0.15)  # fmt: skip


def egg(rng: np.random.Generator) -> Item:
    """Egg, pearl, ball or polished stone: a smooth solid with a clear highlight."""
    m = plain(rng, str(rng.choice(["ceramic", "cardboard", "light", "stone", "glass"])), name="")
    noun, pointed = str(rng.choice(["egg", "ball", "pearl", "pebble", "sweet"])), rng.uniform(0.0, 0.25)
    hy = 0.96 if noun in ("ball", "pearl") else rng.uniform(0.6, 0.85)
    pointed = pointed if noun == "egg" else 0.0

    def part(y: Field, x: Field, px: float) -> Paint:
        v = y / (np.float32(hy) * (1 - np.float32(pointed) * x))
        d = sh.disc(v, x, 0.97) * np.float32(hy)
        height = sh.dome(d, hy, hy)
        deep = np.float32(0.75) + np.float32(0.25) * np.sqrt(np.clip(-d / np.float32(hy), 0, 1))
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x) * deep[..., None], height=height, gloss=m.gloss)

    words = colour_name(m.colour)
    return Item(part, f"{words} {noun}", f"{words} {noun}s", half=(1.0, 1.0), many=0.4, thickness=0.4)


def sachet(rng: np.random.Generator) -> Item:
    """Sealed sachet or wrapped sweet: a cushion of film with crimped ends and a print."""
    film = colour(rng, "paint")
    hy, crimp = rng.uniform(0.45, 0.8), rng.uniform(0.08, 0.15)
    art = Artwork((hy, 0.97), 192)
    for k in range(int(rng.integers(1, 4))):
        art.text(code(rng), (k - 0.7) * 0.3, 0.0, rng.uniform(0.15, 0.35))
    ink = colour(rng)
    waves = rng.normal(0, 1, (6, 4)).astype(np.float32)
    teeth = rng.uniform(40, 90)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        edge = np.float32(0.012) * np.abs(np.mod(y * np.float32(teeth / 6.28), 1) - np.float32(0.5))
        d = np.maximum(np.abs(y) - np.float32(hy), np.abs(x) - np.float32(0.97) + edge)
        pillow = np.maximum(np.abs(y) - np.float32(hy), np.abs(x) - np.float32(0.97 - crimp))
        height = sh.dome(pillow, 0.5, 0.25)
        for a, b, c, phase in waves:  # creases of the film
            height = height + np.float32(0.006) * np.sin((a * y + b * x) * 9 + phase * 3 + c * np.sin(7 * y + phase))
        ends = sh.cover(np.float32(0.97 - crimp) - np.abs(x), px)
        height = height + np.float32(0.01) * ends * np.sin(y * np.float32(teeth))
        paint.add(sh.cover(d, px), film, height=height, gloss=0.6, metal=0.3)
        return paint.add(art.at(y, x), ink, gloss=0.4, extend=False)

    return Item(part, f"{colour_name(film)} sealed sachet", "sachets", half=(hy, 0.98), many=0.25, spin="free",
                thickness=0.12)  # fmt: skip


MAKERS = {f.__name__: f for f in (tablet, capsule, blister, biscuit, kernel, label, bar, egg, sachet)}
"""Product designs by family name."""
