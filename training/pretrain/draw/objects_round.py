"""Round parts: washers, rings, gaskets, nuts, gears, bearings, tubes, caps, coins, buttons, magnets."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.fields import colour, colour_name
from edge_ad.training.pretrain.draw.layout import Item
from edge_ad.training.pretrain.draw.materials import metal, plain, shade
from edge_ad.training.pretrain.draw.scene import Paint
from edge_ad.training.pretrain.draw.shapes import Field


def washer(rng: np.random.Generator) -> Item:
    """Flat, toothed or spring washer."""
    m = metal(rng) if rng.random() < 0.8 else plain(rng, "plastic")
    inner, edge = rng.uniform(0.3, 0.75), rng.uniform(0.02, 0.08)
    kind = str(rng.choice(["washer", "flat washer", "toothed washer", "spring washer"]))
    teeth = int(rng.integers(8, 20))

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.ring(y, x, inner, 0.99)
        if kind == "toothed washer":
            d = sh.cut(sh.gear(y, x, teeth, 0.99, 0.14), sh.disc(y, x, inner))
        elif kind == "spring washer":
            d = sh.cut(d, sh.box(y - x * np.float32(0.3), x - np.float32(0.8), 0.04, 0.5))
        paint = Paint(y.shape)
        height = sh.bevel(d, edge)
        return paint.add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)

    return Item(part, f"{m.words} {kind}", f"{m.words} {kind}s", many=0.4)


def o_ring(rng: np.random.Generator) -> Item:
    """Rubber o-ring or sealing ring with a round section."""
    m = plain(rng, "rubber")
    inner = rng.uniform(0.6, 0.88)
    wide = (0.99 - inner) / 2

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.ring(y, x, inner, 0.99)
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=sh.dome(d, wide, wide), gloss=m.gloss * 2)

    kind = str(rng.choice(["o-ring", "rubber ring", "sealing ring"]))
    return Item(part, f"{m.words} {kind}".replace("rubber rubber", "rubber"), f"{m.words} o-rings", many=0.4)


def gasket(rng: np.random.Generator) -> Item:
    """Flat gasket: an outline with a bore and bolt holes."""
    m = plain(rng, str(rng.choice(["rubber", "paper", "cardboard", "metal"])), name="gasket")
    hx, corner = rng.uniform(0.6, 0.97), rng.uniform(0.1, 0.4)
    bore, square = rng.uniform(0.3, 0.5), rng.random() < 0.3
    hole = rng.uniform(0.05, 0.1)

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.box(y, x, 0.97, hx, corner)
        d = sh.cut(d, sh.box(y, x, bore, bore * 0.9, 0.1) if square else sh.disc(y, x, bore))
        d = sh.cut(d, sh.disc(np.abs(y) - np.float32(0.8), np.abs(x) - np.float32(hx - 0.17), hole))
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=sh.bevel(d, 0.02), gloss=m.gloss)

    return Item(part, f"flat {m.words}", f"{m.words}s", half=(0.97, hx), thickness=0.03)


def nut(rng: np.random.Generator) -> Item:
    """Hexagon nut, flange nut or square nut from above."""
    m = metal(rng)
    kind = str(rng.choice(["hex nut", "flange nut", "square nut", "hexagon nut"]))
    bore = rng.uniform(0.35, 0.55)
    turns = rng.uniform(14, 30)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        body = sh.polygon(y, x, 4 if kind == "square nut" else 6, 0.68 if kind == "square nut" else 0.84)
        if kind == "flange nut":
            body = body + np.float32(0.2)
            rim = sh.disc(y, x, 0.97)
            paint.add(sh.cover(rim, px), m.texture(y, x), height=sh.dome(rim, 0.4, 0.15), gloss=m.gloss, metal=m.metal)
        crown = np.minimum(sh.chamfer(body, 0.12), sh.chamfer(sh.disc(y, x, 0.93), 0.25)) + np.float32(0.2)
        paint.add(sh.cover(body, px), m.texture(y, x), height=crown, gloss=m.gloss, metal=m.metal)
        r = np.hypot(y, x)
        thread = sh.cover(r - np.float32(bore * 1.12), px)
        groove = 0.5 + 0.3 * np.sin(r * np.float32(turns * 2 * math.pi) + np.arctan2(y, x))
        paint.add(thread, groove[..., None] * m.colour * np.float32(0.8), gloss=0.3, metal=0.5)
        return paint.pierce(sh.cover(r - np.float32(bore * 0.92), px))

    return Item(part, f"{m.words} {kind}", f"{m.words} {kind}s", many=0.45, thickness=0.3)


def gear(rng: np.random.Generator) -> Item:
    """Spur gear with hub, bore and sometimes spokes or lightening holes."""
    m = metal(rng) if rng.random() < 0.7 else plain(rng, "plastic")
    teeth, depth = int(rng.integers(10, 48)), rng.uniform(0.08, 0.2)
    hub, bore = rng.uniform(0.25, 0.4), rng.uniform(0.1, 0.2)
    holes, hole = int(rng.integers(0, 8)), rng.uniform(0.06, 0.13)
    groove = rng.random() < 0.6

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.cut(sh.gear(y, x, teeth, 0.99, depth), sh.disc(y, x, bore))
        if holes >= 3:
            d = sh.cut(d, sh.disc(*sh.around(y, x, holes, 0.57), hole))
        d = sh.cut(d, sh.box(y, x - np.float32(bore), 0.04, 0.06))
        height = sh.bevel(d, 0.03)
        if groove:
            height = height - np.float32(0.08) * np.clip(-sh.ring(y, x, hub, 0.97 - depth * 1.4) / 0.04, 0, 1)
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)

    return Item(part, f"{m.words} gear", f"{m.words} gear wheels", many=0.25, thickness=0.15)


def bearing(rng: np.random.Generator) -> Item:
    """Ball bearing: two steel rings with balls in a cage, or with a shield."""
    m = metal(rng, ("steel", "iron"), ("polished", "satin", "turned"))
    bore, shield = rng.uniform(0.3, 0.5), rng.random() < 0.4
    balls = int(rng.integers(7, 14))
    rim = (0.97 - bore) * rng.uniform(0.22, 0.3)
    cover_colour = colour(rng, str(rng.choice(["rubber", "steel", "brass"])))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        body = sh.ring(y, x, bore, 0.98)
        paint.add(sh.cover(body, px), cover_colour * np.float32(0.25), height=0.0)
        mid, wide = (bore + 0.98) / 2, (0.98 - bore) / 2 - rim
        if shield:
            plate = sh.ring(y, x, bore + rim * 1.1, 0.98 - rim * 1.1)
            paint.add(sh.cover(plate, px), cover_colour, height=sh.bevel(plate, 0.05), gloss=0.3, metal=0.4)
        else:
            cage = sh.ring(y, x, mid - wide * 0.35, mid + wide * 0.35)
            paint.add(sh.cover(cage, px), cover_colour, height=sh.bevel(cage, 0.03), gloss=0.3, metal=0.5)
            ball = sh.disc(*sh.around(y, x, balls, mid), wide * 0.9)
            paint.add(sh.cover(ball, px), m.colour, height=sh.dome(ball, wide * 0.9, wide * 0.8), gloss=0.9, metal=1)
        for a, b in ((bore, bore + rim), (0.98 - rim, 0.98)):
            race = sh.ring(y, x, a, b)
            height = sh.bevel(race, 0.04) + np.float32(0.1)
            paint.add(sh.cover(race, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)
        return paint

    return Item(part, f"{m.words} ball bearing", "ball bearings", many=0.2, thickness=0.25)


def tube(rng: np.random.Generator) -> Item:
    """Cross section of a pipe, hose or layered tube."""
    layers = int(rng.integers(1, 4))
    kinds = ["steel", "copper", "plastic", "rubber", "aluminium", "light"]
    stuff = [
        metal(rng, (k,)) if k in ("steel", "copper", "aluminium") else plain(rng, k) for k in rng.choice(kinds, layers)
    ]
    radii = np.sort(rng.uniform(0.45, 0.92, layers))[::-1].copy()
    radii[0] = 0.97
    bore = radii[-1] * rng.uniform(0.55, 0.9)
    inside = shade(stuff[-1].colour, rng.uniform(0.15, 0.5))
    squash = rng.uniform(0.96, 1.0)

    def part(y: Field, x: Field, px: float) -> Paint:
        x = x / np.float32(squash)
        paint = Paint(y.shape)
        for r, m in zip(radii, stuff):
            d = sh.disc(y, x, float(r))
            paint.add(sh.cover(d, px), m.texture(y, x), height=sh.bevel(d, 0.03), gloss=m.gloss, metal=m.metal)
        d = sh.disc(y, x, float(bore))
        wall = inside * np.clip(1 + d / np.float32(bore), 0, 1)[..., None]
        return paint.add(sh.cover(d, px), wall, height=-sh.bevel(d, 0.06), gloss=0.1)

    noun = str(rng.choice(["pipe end", "tube cross section", "hose end", "pipe"]))
    return Item(part, f"{stuff[0].words} {noun}", f"{stuff[0].words} tubes", many=0.4, thickness=0.3)


def bottle_neck(rng: np.random.Generator) -> Item:
    """Glass bottle seen from above: concentric rings of dark glass with bright reflections."""
    tint = colour(rng, str(rng.choice(["glass", "dark", "rust", "plant"])))
    rings = np.sort(rng.uniform(0.25, 0.97, int(rng.integers(5, 11))))
    tones = rng.uniform(0.1, 1.3, len(rings) + 1).astype(np.float32)
    soft = rng.uniform(0.01, 0.05)
    arcs = [(rng.uniform(0.3, 0.95), rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.9), rng.uniform(0.008, 0.04))
            for _ in range(int(rng.integers(3, 9)))]  # fmt: skip
    mouth, glow = rng.uniform(0.3, 0.6), rng.uniform(0.0, 1.0)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        r, angle = np.hypot(y, x), np.arctan2(y, x)
        # the rings depend on the radius only: a table of it is far cheaper than the pixels
        radii = np.linspace(0, 2, 1024, dtype=np.float32)
        table = np.full_like(radii, tones[0])
        for radius, (before, after) in zip(rings, pairwise(tones)):
            step = np.clip((radii - np.float32(radius)) / np.float32(max(soft, px)), -30, 30)
            table += (after - before) / (1 + np.exp(-step))
        tone = table[np.minimum(r * np.float32(511.5), 1023).astype(np.int32)]
        light = np.zeros_like(r)
        for radius, at, span, thick in arcs:
            near = np.abs(r - np.float32(radius)) < 3 * thick
            away = (angle[near] - np.float32(at) + np.float32(math.pi)) % np.float32(2 * math.pi) - np.float32(math.pi)
            light[near] += np.exp(-(((r[near] - np.float32(radius)) / np.float32(thick)) ** 2) - (away / span) ** 4)
        inside = sh.cover(r - np.float32(mouth), max(px, 0.02))
        tone = tone * (1 - inside) + inside * np.float32(0.1 + 0.9 * glow)
        face = tone[..., None] * tint + np.minimum(light, 1)[..., None] * np.float32(0.8)
        return paint.add(sh.cover(r - np.float32(0.98), px), face, height=0.0, gloss=0.0)

    return Item(part, f"{colour_name(tint)} glass bottle from above", "glass bottle necks", many=0.1, ground="white"
                if rng.random() < 0.6 else None, thickness=0.2)  # fmt: skip


def cap(rng: np.random.Generator) -> Item:
    """Bottle cap or jar lid from above, ribbed at the rim."""
    m = plain(rng, "plastic") if rng.random() < 0.65 else metal(rng)
    ribs, depth = int(rng.integers(20, 90)), rng.uniform(0.01, 0.05)
    step, mark = rng.uniform(0.6, 0.88), colour(rng)
    printed = rng.random() < 0.4
    sides, size = int(rng.integers(3, 8)), rng.uniform(0.15, 0.4)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.gear(y, x, ribs, 0.98, depth, 1.5)
        top = sh.disc(y, x, step)
        height = sh.bevel(d, 0.12) + np.float32(0.5) * sh.bevel(top, 0.06)
        paint.add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)
        if printed:
            sign = np.abs(sh.polygon(y, x, sides, size)) - np.float32(0.04)
            paint.add(sh.cover(sign, px), mark, gloss=0.1)
        return paint

    noun = str(rng.choice(["bottle cap", "screw cap", "lid", "jar lid"]))
    return Item(part, f"{m.words} {noun}", f"{m.words} {noun}s", many=0.4, thickness=0.25)


def can(rng: np.random.Generator) -> Item:
    """Drinks or food can from above: rim, panel and a pull tab."""
    m = metal(rng, ("aluminium", "steel", "brass"), ("polished", "satin", "turned", "brushed"))
    panel, tab = rng.uniform(0.68, 0.85), rng.random() < 0.7

    def part(y: Field, x: Field, px: float) -> Paint:
        d, inner = sh.disc(y, x, 0.98), sh.disc(y, x, panel)
        rim = sh.ring(y, x, panel + 0.02, 0.98)
        height = sh.dome(rim, 0.06, 0.07) + np.float32(0.6) * sh.bevel(inner, 0.03) - np.float32(0.04)
        if tab:
            mouth = sh.box(y - np.float32(0.3), x, 0.26, 0.3, 0.25)
            height = height - np.float32(0.03) * np.clip(-mouth / 0.02, 0, 1)
            lever = sh.box(y + np.float32(0.1), x, 0.28, 0.17, 0.17)
            lever = sh.cut(lever, sh.box(y + np.float32(0.2), x, 0.1, 0.1, 0.1))
            height = height + np.float32(0.7) * sh.bevel(lever, 0.05)
        return Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)

    return Item(part, f"{m.words} can from above", f"{m.words} cans", many=0.3, thickness=0.2)


def coin(rng: np.random.Generator) -> Item:
    """Coin or medal with a rim, beads and a raised figure."""
    m = metal(rng, ("brass", "copper", "steel"), ("satin", "polished", "cast"))
    beads, sides = int(rng.integers(30, 80)), int(rng.integers(3, 9))
    cosines, sines = rng.normal(0, 0.12, 6), rng.normal(0, 0.12, 6)
    core = rng.random() < 0.3
    second = metal(rng, ("steel", "brass"), ("satin",))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.disc(y, x, 0.98)
        figure = sh.outline(y, x, 0.42, cosines, sines)
        height = sh.bevel(d, 0.03) + np.float32(0.05) * np.clip(-sh.ring(y, x, 0.88, 1.2) / 0.04, 0, 1)
        height = height + sh.dome(sh.disc(*sh.around(y, x, beads, 0.8), 0.025), 0.03, 0.02)
        height = (
            height
            + sh.dome(figure, 0.2, 0.07)
            + np.float32(0.5) * sh.bevel(np.abs(sh.polygon(y, x, sides, 0.62)) - np.float32(0.02), 0.02)
        )
        paint.add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss, metal=m.metal)
        if core:
            paint.add(sh.cover(sh.disc(y, x, 0.66), px), second.texture(y, x), gloss=second.gloss, metal=second.metal)
        return paint

    return Item(part, f"{m.words} coin", f"{m.words} coins", many=0.4, thickness=0.06)


def button(rng: np.random.Generator) -> Item:
    """Garment button with two or four holes."""
    m = plain(rng, str(rng.choice(["plastic", "wood", "light", "dark"])), name="")
    holes, hole, at = int(rng.choice([2, 4])), rng.uniform(0.07, 0.13), rng.uniform(0.2, 0.32)
    rim = rng.uniform(0.08, 0.25)

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.disc(y, x, 0.98)
        height = sh.dome(d, rim, 0.12) - np.float32(0.6) * sh.dome(sh.disc(y, x, 0.98 - rim), 0.3, 0.1)
        paint = Paint(y.shape).add(sh.cover(d, px), m.texture(y, x), height=height, gloss=m.gloss)
        return paint.pierce(sh.cover(sh.disc(*sh.around(y, x, holes, at), hole), px))

    tone = colour_name(m.colour)
    return Item(part, f"{tone} button with {holes} holes", f"{tone} buttons", many=0.5, thickness=0.12)


def magnet(rng: np.random.Generator) -> Item:
    """Ring, disc, block or arc magnet of sintered material."""
    m = metal(rng, ("iron", "steel"), ("cast", "satin", "brushed"))
    kind = str(rng.choice(["ring magnet", "disc magnet", "block magnet", "arc magnet"]))
    inner, hx, edge = rng.uniform(0.3, 0.65), rng.uniform(0.4, 0.95), rng.uniform(0.02, 0.06)

    def part(y: Field, x: Field, px: float) -> Paint:
        d = sh.box(y, x, 0.97, hx, 0.05)
        if kind != "block magnet":
            d = sh.disc(y, x, 0.97)
        if kind in ("ring magnet", "arc magnet"):
            d = sh.cut(d, sh.disc(y, x, inner))
        if kind == "arc magnet":
            d = np.maximum(d, y + np.float32(0.2))
        return Paint(y.shape).add(
            sh.cover(d, px), m.texture(y, x), height=sh.chamfer(d, edge), gloss=m.gloss, metal=m.metal
        )

    return Item(part, f"grey {kind}", f"{kind}s", many=0.3, thickness=0.2)


def impeller(rng: np.random.Generator) -> Item:
    """Cast impeller: disc with curved vanes, hub and bore."""
    m = metal(rng, ("iron", "aluminium", "steel"), ("cast", "cast", "satin"))
    vanes, sweep, thick = int(rng.integers(5, 13)), rng.uniform(0.6, 2.2), rng.uniform(0.03, 0.07)
    hub, bore = rng.uniform(0.2, 0.32), rng.uniform(0.08, 0.15)
    sense = float(rng.choice([-1, 1]))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        r = np.hypot(y, x)
        d = sh.disc(y, x, 0.98)
        bent = np.arctan2(y, x) + np.float32(sense * sweep) * r
        sector = np.float32(2 * math.pi / vanes)
        vane = np.abs(np.mod(bent, sector) - sector / 2) * np.maximum(r, 0.2) * np.float32(0.75) - np.float32(thick)
        vane = np.maximum(vane, sh.ring(y, x, hub * 0.8, 0.93))
        boss = sh.disc(y, x, hub)
        height = sh.bevel(d, 0.06) + np.float32(2) * sh.bevel(sh.union(vane, boss), 0.05)
        # the floor between vanes lies in their shadow
        floor = np.float32(0.72) + np.float32(0.28) * np.clip(0.5 - sh.union(vane, boss) / np.float32(0.05), 0, 1)
        tone = m.texture(y, x) * floor[..., None]
        paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss, metal=m.metal)
        return paint.pierce(sh.cover(sh.disc(y, x, bore), px))

    return Item(part, f"{m.words} casting impeller", f"{m.words} impellers", many=0.15, thickness=0.25)


MAKERS = {
    f.__name__: f
    for f in (washer, o_ring, gasket, nut, gear, bearing, tube, bottle_neck, cap, can, coin, button, magnet, impeller)
}
"""Product designs by family name."""
