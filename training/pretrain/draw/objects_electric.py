"""Electrical parts: circuit boards, chips, connectors, plugs, fuses, LEDs, batteries, transistors, switches."""

from __future__ import annotations

import math

import numpy as np

from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.fields import colour, colour_name
from edge_ad.training.pretrain.draw.layout import Item
from edge_ad.training.pretrain.draw.materials import TILE, Colour, metal, plain, shade
from edge_ad.training.pretrain.draw.mounted import GOLD, PRINT, SOLDER, block, round_can
from edge_ad.training.pretrain.draw.prints import Artwork, code, matrix
from edge_ad.training.pretrain.draw.scene import Paint
from edge_ad.training.pretrain.draw.shapes import Field


def board(rng: np.random.Generator) -> Item:
    """Printed circuit board: traces, vias, pads, chips, resistors, capacitors, silk-screen print."""
    mask = colour(rng, "board")
    trace = np.clip(mask * np.float32(rng.uniform(1.15, 1.5)) + np.float32(0.03), 0, 1)
    pads = GOLD if rng.random() < 0.4 else SOLDER
    hx = rng.uniform(0.6, 1.0)
    half = (0.97, hx)
    copper, pad, silk = (Artwork(half) for _ in range(3))
    tall = Artwork(half)
    bodies: list[tuple[float, float, float, float, Colour, float]] = []
    placed: list[tuple[float, float, float]] = []

    def free(r: float) -> tuple[float, float] | None:
        for _ in range(20):
            y, x = rng.uniform(-0.9 + r, 0.9 - r), rng.uniform(-hx + r + 0.05, hx - r - 0.05)
            if all(math.hypot(y - b, x - a) > r + c for b, a, c in placed):
                placed.append((y, x, r))
                return float(y), float(x)
        return None

    for _ in range(int(rng.integers(8, 40))):  # traces run at right angles and diagonals
        y, x = rng.uniform(-0.9, 0.9), rng.uniform(-hx, hx) * 0.9
        path, way = [copper.px(y, x)], int(rng.integers(8))
        for _ in range(int(rng.integers(2, 6))):
            step = rng.uniform(0.05, 0.5)
            y = float(np.clip(y + step * math.sin(way * math.pi / 4), -0.92, 0.92))
            x = float(np.clip(x + step * math.cos(way * math.pi / 4), -hx * 0.95, hx * 0.95))
            path.append(copper.px(y, x))
            way = (way + int(rng.choice([-1, 1]))) % 8
        copper.pen.line(path, fill=255, width=int(rng.integers(1, 5)), joint="curve")
        r = rng.uniform(0.014, 0.03)
        pad.pen.ellipse([*pad.px(y - r, x - r), *pad.px(y + r, x + r)], fill=255)
    for _ in range(int(rng.integers(1, 5))):  # chips with pins on two or four sides
        h, w = rng.uniform(0.1, 0.28), rng.uniform(0.1, 0.28)
        at = free(max(h, w) + 0.08)
        if at is None:
            continue
        y, x = at
        four = rng.random() < 0.5
        pitch = rng.uniform(0.035, 0.07)
        for k in np.arange(-int(w / pitch) + 1, int(w / pitch)) * pitch:
            for side in (-1, 1):
                a = y + side * h
                pad.pen.rectangle([*pad.px(a - 0.045, x + k - 0.011), *pad.px(a + 0.045, x + k + 0.011)], fill=255)
        if four:
            for k in np.arange(-int(h / pitch) + 1, int(h / pitch)) * pitch:
                for side in (-1, 1):
                    a = x + side * w
                    pad.pen.rectangle([*pad.px(y + k - 0.011, a - 0.045), *pad.px(y + k + 0.011, a + 0.045)], fill=255)
        bodies.append((y, x, h, w, colour(rng, "dark") * np.float32(0.8), 0.02))
        if rng.random() < 0.8:
            tall.text(code(rng), y, x, min(h, w) * 0.5)
    for _ in range(int(rng.integers(5, 30))):  # two-terminal parts
        r = rng.uniform(0.04, 0.08)
        at = free(r)
        if at is None:
            continue
        y, x = at
        lying = rng.random() < 0.5
        h, w = (r * 0.5, r * 0.55) if lying else (r * 0.55, r * 0.5)
        e = (h, r) if lying else (r, w)
        pad.pen.rectangle([*pad.px(y - e[0], x - e[1]), *pad.px(y + e[0], x + e[1])], fill=255)
        tint = colour(rng, str(rng.choice(["dark", "dark", "wood", "light", "stone"])))
        bodies.append((y, x, h, w, tint, 0.01))
        if rng.random() < 0.5:
            silk.text(code(rng), y + r + 0.04, x, 0.06)
    rounds: list[tuple[float, float, float, Colour]] = []
    for _ in range(int(rng.integers(0, 4))):  # electrolytic capacitors
        r = rng.uniform(0.08, 0.16)
        at = free(r)
        if at is not None:
            rounds.append((*at, r, colour(rng, str(rng.choice(["steel", "dark", "paint"])))))
    for _ in range(int(rng.integers(0, 3))):  # headers
        n, at = int(rng.integers(3, 10)), free(0.2)
        if at is not None:
            for k in range(n):
                for row in range(2):
                    y, x = at[0] + row * 0.07, at[1] + (k - n / 2) * 0.07
                    pad.pen.ellipse([*pad.px(y - 0.025, x - 0.025), *pad.px(y + 0.025, x + 0.025)], fill=255)
    silk.text(code(rng), rng.uniform(-0.85, 0.85), rng.uniform(-0.5, 0.5) * hx, 0.1)
    weave = rng.uniform(0.0, 0.04)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, 0.97, hx, 0.04)
        d = sh.cut(d, sh.disc(np.abs(y) - np.float32(0.88), np.abs(x) - np.float32(hx - 0.09), 0.045))
        inside = sh.cover(d, px)
        tone = mask * (1 + np.float32(weave) * np.sin(y * 180) * np.sin(x * 180))[..., None]
        paint.add(inside, tone, height=0.0, gloss=0.15)
        ink = copper.at(y, x)
        paint.add(ink, trace, height=ink * np.float32(0.004), gloss=0.15, extend=False)
        ink = pad.at(y, x)
        paint.add(ink, pads, height=ink * np.float32(0.02), gloss=0.6, metal=0.8, extend=False)
        paint.add(silk.at(y, x), PRINT, extend=False)
        for cy, cx, h, w, tint, rise in bodies:
            block(paint, y, x, px, (cy, cx), (h, w), tint, rise)
        for cy, cx, r, tint in rounds:
            round_can(paint, y, x, px, (cy, cx), r, tint)
        return paint.add(tall.at(y, x), PRINT * np.float32(0.75), extend=False)

    return Item(part, f"{colour_name(mask)} printed circuit board", "circuit boards", half=half, many=0.1,
                spin="square", thickness=0.04)  # fmt: skip


def chip(rng: np.random.Generator) -> Item:
    """Integrated circuit: body with a pin-1 mark and a printed type, pins on two or four sides."""
    body = plain(rng, "dark")
    ratio, n = rng.uniform(0.4, 0.85), int(rng.integers(4, 14))
    four = rng.random() < 0.4
    if four:
        ratio = 0.82
    hy, hx = ratio * 0.95 if not four else 0.8, 0.8 if four else 0.95
    pitch = 2 * hx * 0.92 / n
    art = Artwork((hy, hx))
    for k in range(int(rng.integers(1, 4))):
        art.text(code(rng), (k - 0.6) * hy * 0.5, 0.0, min(hy * 0.42, 0.3))
    if rng.random() < 0.3:
        matrix(rng, art, (hy * 0.3, hx * 0.45, hy * 0.85, hx * 0.45 + hy * 0.5))
    ink = np.float32(rng.uniform(0.35, 0.95))
    notch = rng.random() < 0.5
    lead = SOLDER * np.float32(rng.uniform(0.75, 1.1))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        legs = sh.box(np.abs(y) - np.float32(hy), sh.along(x, pitch, n), 0.17, pitch * 0.24, 0.01)
        if four:
            legs = sh.union(legs, sh.box(np.abs(x) - np.float32(hx), sh.along(y, pitch, n), 0.17, pitch * 0.24, 0.01))
        paint.add(sh.cover(legs, px), lead, height=sh.bevel(legs, pitch * 0.15), gloss=0.6, metal=0.9)
        d = sh.box(y, x, hy - 0.05, hx - (0.05 if four else 0), 0.02)
        mark = sh.disc(y - np.float32(hy * 0.7), x + np.float32(hx * 0.8), 0.06)
        if notch:
            mark = sh.disc(y, x + np.float32(hx), 0.12)
        height = np.float32(0.1) + sh.chamfer(d, 0.05) - np.clip(-mark, 0, np.float32(0.03))
        paint.add(sh.cover(d, px), body.texture(y, x), height=height, gloss=body.gloss * 0.4)
        return paint.add(art.at(y, x) * np.float32(0.85), ink * PRINT, extend=False)

    return Item(part, f"{colour_name(body.colour)} integrated circuit chip with pins", "chips",
                half=(hy + 0.18, hx + (0.18 if four else 0)), many=0.3, spin="square", thickness=0.1)  # fmt: skip


def connector(rng: np.random.Generator) -> Item:
    """Plug connector or pin header: a housing with rows of contacts."""
    body = plain(rng, "plastic") if rng.random() < 0.7 else plain(rng, "dark")
    rows, n = int(rng.integers(1, 4)), int(rng.integers(3, 13))
    pitch = 1.7 / n
    hy = min(rows * pitch / 2 + 0.12, 0.9)
    female, r = rng.random() < 0.5, pitch * rng.uniform(0.22, 0.34)
    contact = GOLD if rng.random() < 0.5 else SOLDER
    round_pin, nose = rng.random() < 0.5, rng.uniform(0.1, 0.3)
    well = shade(body.colour, 0.35)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.union(sh.box(y, x, hy, 0.98, 0.05), sh.box(y + np.float32(hy), x, 0.1, nose, 0.02))
        v, u = sh.along(y, pitch, rows), sh.along(x, pitch, n)
        pin = sh.disc(v, u, r) if round_pin else sh.box(v, u, r, r, 0.01)
        if female:
            paint.add(sh.cover(d, px), body.texture(y, x), height=sh.bevel(d, 0.05), gloss=body.gloss)
            paint.add(sh.cover(pin, px), well, height=sh.bevel(d, 0.05) - sh.chamfer(pin, 0.06), gloss=0.05)
            spot = pin + np.float32(r * 0.55)
            return paint.add(sh.cover(spot, px), contact * np.float32(0.6), gloss=0.4, metal=0.7)
        height = sh.bevel(d, 0.05) - np.clip(-sh.box(y, x, hy - 0.06, 0.92, 0.03), 0, np.float32(0.05)) * 2
        floor = sh.cover(sh.box(y, x, hy - 0.07, 0.91, 0.03), px)
        tone = body.texture(y, x) * (1 - np.float32(0.4) * floor)[..., None]
        paint.add(sh.cover(d, px), tone, height=height, gloss=body.gloss)
        return paint.add(sh.cover(pin, px), contact, height=sh.dome(pin, r, r), gloss=0.7, metal=0.9)

    kind = "socket" if female else "pin header"
    noun = str(rng.choice(["connector", f"connector with {n * rows} pins", kind]))
    return Item(part, f"{colour_name(body.colour)} {noun}", "connectors", half=(hy + 0.1, 0.98), many=0.2,
                spin="square", thickness=0.2)  # fmt: skip


def plug(rng: np.random.Generator) -> Item:
    """Round or flat mains plug seen from the contacts."""
    body = plain(rng, "plastic") if rng.random() < 0.5 else plain(rng, str(rng.choice(["light", "dark"])))
    pins, round_body = int(rng.integers(2, 4)), rng.random() < 0.6
    flat, at = rng.random() < 0.4, rng.uniform(0.35, 0.5)
    contact = GOLD if rng.random() < 0.4 else SOLDER

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.disc(y, x, 0.97) if round_body else sh.box(y, x, 0.75, 0.97, 0.3)
        inner = d + np.float32(0.16)
        height = sh.bevel(d, 0.08) - np.clip(-inner, 0, np.float32(0.06))
        paint.add(sh.cover(d, px), body.texture(y, x), height=height, gloss=body.gloss)
        v, u = sh.around(y, x, pins, at)
        pin = sh.box(v, u, 0.05, 0.16, 0.01) if flat else sh.disc(v, u, 0.11)
        hole = pin - np.float32(0.03)
        paint.add(sh.cover(hole, px), shade(body.colour, 0.3), gloss=0.0)
        return paint.add(sh.cover(pin, px), contact, height=sh.dome(pin, 0.1, 0.1), gloss=0.7, metal=0.9)

    return Item(part, f"{colour_name(body.colour)} plug with {pins} contacts", "plugs", many=0.2, thickness=0.3)


def fuse(rng: np.random.Generator) -> Item:
    """Blade fuse or glass tube fuse."""
    tint = colour(rng, "plastic")
    glass = rng.random() < 0.5
    r, bend = rng.uniform(0.13, 0.2), rng.uniform(-0.06, 0.06)
    art = Artwork((0.3, 0.5), 96)
    rating = str(rng.choice(["5", "10", "15", "20", "30"]))
    art.text(rating, 0.0, 0.0, 0.36)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if glass:
            tube = sh.box(y, x, r, 0.9)
            sheen = np.float32(0.75) + np.float32(0.4) * np.exp(-(((y + r * 0.45) / (r * 0.15)) ** 2))
            paint.add(sh.cover(tube, px), sheen[..., None] * np.float32(0.8), height=_round(y, r), gloss=0.8)
            wire = np.abs(y - np.float32(bend) * np.cos(x * 2)) - np.float32(0.012)
            paint.add(sh.cover(np.maximum(wire, tube), px), np.full(3, 0.35, np.float32), gloss=0.3)
            ends = sh.box(y, np.abs(x) - np.float32(0.8), r * 1.06, 0.18, 0.02)
            return paint.add(sh.cover(ends, px), SOLDER, height=_round(y, r * 1.06), gloss=0.6, metal=1)
        legs = sh.box(y - np.float32(0.5), np.abs(x) - np.float32(0.42), 0.45, 0.13, 0.03)
        paint.add(sh.cover(legs, px), SOLDER, height=sh.bevel(legs, 0.03), gloss=0.5, metal=0.9)
        d = sh.box(y + np.float32(0.35), x, 0.45, 0.72, 0.06)
        height = np.float32(0.05) + sh.bevel(d, 0.05) - np.clip(-sh.box(y + 0.35, x, 0.3, 0.55, 0.04), 0, 0.02)
        paint.add(sh.cover(d, px), tint, height=height.astype(np.float32), gloss=0.4)
        return paint.add(art.at(y + np.float32(0.35), x), PRINT, extend=False)

    name = "glass tube fuse with metal caps" if glass else f"{colour_name(tint)} blade fuse"
    half = (r * 1.1, 0.99) if glass else (0.97, 0.75)
    return Item(part, name, "fuses", half=half, many=0.4, thickness=0.15)


def _round(y: Field, radius: float) -> Field:
    r = np.float32(radius)
    return np.sqrt(np.maximum(r * r - y * y, 0))


def led(rng: np.random.Generator) -> Item:
    """Light-emitting diode, from above or from the side with its leads."""
    tint = colour(rng, "plastic") if rng.random() < 0.8 else colour(rng, "light")
    above = rng.random() < 0.4
    lead = SOLDER * np.float32(rng.uniform(0.8, 1.0))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if above:
            d, lens = np.maximum(sh.disc(y, x, 0.97), x - np.float32(0.88)), sh.disc(y, x, 0.8)
            paint.add(sh.cover(d, px), tint * np.float32(0.8), height=sh.bevel(d, 0.05), gloss=0.3)
            core = np.clip(1 - np.hypot(y, x) / np.float32(0.8), 0, 1)
            tone = tint * (np.float32(0.65) + np.float32(0.6) * core)[..., None]
            paint.add(sh.cover(lens, px), tone, height=sh.dome(lens, 0.8, 0.6), gloss=0.9)
            die = sh.box(y, x, 0.14, 0.18, 0.02)
            return paint.add(sh.cover(die, px * 3), np.asarray([0.6, 0.58, 0.5]), gloss=0.9)
        legs = sh.box(np.abs(y) - np.float32(0.12), x - np.float32(0.4), 0.025, 0.58)
        paint.add(sh.cover(legs, px), lead, height=sh.bevel(legs, 0.025), gloss=0.6, metal=1)
        d = sh.union(sh.box(y, x + np.float32(0.6), 0.27, 0.36, 0.26), sh.box(y, x + np.float32(0.4), 0.27, 0.16))
        flange = sh.box(y, x + np.float32(0.24), 0.32, 0.04)
        cup = sh.box(y, x + np.float32(0.45), 0.11, 0.12, 0.03)
        tone = tint * (1 - np.float32(0.35) * sh.cover(cup, px * 3))[..., None]
        paint.add(sh.cover(d, px), tone, height=_round(y, 0.28), gloss=0.9)
        return paint.add(sh.cover(flange, px), tint, height=_round(y, 0.33), gloss=0.5)

    half = (1.0, 1.0) if above else (0.33, 1.0)
    return Item(part, f"{colour_name(tint)} LED", "LEDs", half=half, many=0.45, thickness=0.2)


def battery(rng: np.random.Generator) -> Item:
    """Cylindrical or button battery."""
    flat = rng.random() < 0.35
    sleeve, second = colour(rng, "paint"), colour(rng, str(rng.choice(["dark", "copper", "light"])))
    m = metal(rng, ("steel",), ("satin", "polished", "brushed"))
    r, split = rng.uniform(0.2, 0.32), rng.uniform(-0.3, 0.5)
    art = Artwork((0.95, 0.95) if flat else (r, 0.9))
    art.text(code(rng), 0.0, -0.2, 0.3 if flat else r * 0.8)
    art.text("+", 0.45 if flat else 0.0, 0.0 if flat else 0.72, 0.5 if flat else r * 1.2)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        if flat:
            d = sh.disc(y, x, 0.97)
            height = sh.bevel(d, 0.06) - np.clip(-sh.ring(y, x, 0.84, 0.9), 0, np.float32(0.03))
            mark = art.at(y, x)
            height = height - np.float32(0.015) * mark
            tone = m.texture(y, x) * (1 - np.float32(0.4) * mark)[..., None]
            return paint.add(sh.cover(d, px), tone, height=height, gloss=m.gloss, metal=m.metal)
        nub = sh.box(y, x - np.float32(0.95), r * 0.35, 0.05, 0.02)
        paint.add(sh.cover(nub, px), m.texture(y, x), height=_round(y, r * 0.35), gloss=m.gloss, metal=1)
        d = sh.box(y, x + np.float32(0.03), r, 0.95, 0.03)
        paint.add(sh.cover(d, px), m.texture(y, x), height=_round(y, r), gloss=m.gloss, metal=1)
        wrap = sh.box(y, x + np.float32(0.03), r, 0.91)
        tone = np.where((x > split)[..., None], second, sleeve)
        paint.add(sh.cover(wrap, px), tone, height=_round(y, r), gloss=0.4, metal=0.2)
        return paint.add(art.at(np.arcsin(np.clip(y / np.float32(r), -1, 1)) * np.float32(r), x), PRINT, extend=False)

    name = f"{m.words} button cell battery" if flat else f"{colour_name(sleeve)} cylindrical battery"
    return Item(part, name, "batteries", half=(1.0, 1.0) if flat else (r + 0.01, 1.0), many=0.35, thickness=0.2)


def transistor(rng: np.random.Generator) -> Item:
    """Transistor or regulator: black body, metal tab with a hole, three leads."""
    body = plain(rng, "dark")
    art = Artwork((0.35, 0.5), 128)
    art.text(code(rng), -0.1, 0.0, 0.2)
    art.text(code(rng), 0.12, 0.0, 0.16)
    tab, spread = rng.random() < 0.7, rng.uniform(0.24, 0.34)
    lead = SOLDER * np.float32(rng.uniform(0.7, 1.0))

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        legs = sh.box(y - np.float32(0.55), sh.along(x, spread, 3), 0.42, 0.045)
        paint.add(sh.cover(legs, px), lead, height=sh.bevel(legs, 0.03), gloss=0.5, metal=1)
        if tab:
            plate = sh.cut(sh.box(y + np.float32(0.55), x, 0.43, 0.48, 0.03), sh.disc(y + np.float32(0.74), x, 0.13))
            paint.add(sh.cover(plate, px), SOLDER, height=sh.bevel(plate, 0.02), gloss=0.4, metal=0.8)
        d = sh.box(y + np.float32(0.17), x, 0.36, 0.5, 0.02 if tab else 0.3)
        height = np.float32(0.05) + sh.chamfer(d, 0.06)
        paint.add(sh.cover(d, px), body.texture(y, x), height=height, gloss=body.gloss * 0.4)
        return paint.add(art.at(y + np.float32(0.17), x), np.full(3, 0.7), extend=False)

    return Item(part, "black transistor with three leads", "transistors", half=(0.99, 0.52), many=0.35, thickness=0.12)


def switch(rng: np.random.Generator) -> Item:
    """Rocker, slide or push switch."""
    frame, knob = plain(rng, str(rng.choice(["dark", "light", "plastic"]))), plain(rng, "plastic")
    kind = str(rng.choice(["rocker switch", "slide switch", "push button"]))
    hx = rng.uniform(0.5, 0.95)
    on = float(rng.choice([-1, 1]))
    art = Artwork((0.6, 0.6), 128)
    art.text("I", -0.35, 0.0, 0.35)
    art.text("O", 0.35, 0.0, 0.35)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, 0.97, hx, 0.08)
        paint.add(sh.cover(d, px), frame.texture(y, x), height=sh.bevel(d, 0.06), gloss=frame.gloss)
        if kind == "push button":
            well, top = sh.disc(y, x, hx * 0.8), sh.disc(y, x, hx * 0.7)
            height = np.float32(0.1) + sh.dome(top, 0.3, 0.1)
        elif kind == "slide switch":
            well = sh.box(y, x, 0.65, hx * 0.4, 0.03)
            top = sh.box(y - np.float32(on * 0.3), x, 0.32, hx * 0.38, 0.03)
            height = np.float32(0.1) + np.float32(0.02) * np.sin(y * 60) + sh.bevel(top, 0.03)
        else:
            well, top = sh.box(y, x, 0.8, hx * 0.8, 0.03), sh.box(y, x, 0.76, hx * 0.76, 0.03)
            height = np.float32(0.1) + np.float32(0.18) * np.abs(y + np.float32(on * 0.12)) + sh.bevel(top, 0.03)
        paint.add(sh.cover(well, px), frame.colour * np.float32(0.25), height=np.float32(0) * d, gloss=0)
        paint.add(sh.cover(top, px), knob.texture(y, x), height=height, gloss=knob.gloss)
        if kind == "rocker switch":
            paint.add(art.at(y, x), PRINT, extend=False)
        return paint

    name = f"{colour_name(frame.colour)} {kind}"
    return Item(part, name, f"{kind}es" if kind.endswith("ch") else f"{kind}s", half=(0.97, hx), many=0.25,
                spin="square", thickness=0.2)  # fmt: skip


def resistor(rng: np.random.Generator) -> Item:
    """Resistor with colour bands and wire leads."""
    body = plain(rng, "skin", tint=colour(rng, str(rng.choice(["wood", "paint", "cardboard"]))), name="resistor")
    bands = [colour(rng, "paint") for _ in range(int(rng.integers(4, 6)))]
    r = rng.uniform(0.12, 0.18)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        lead = sh.box(y, x, 0.022, 0.98)
        paint.add(sh.cover(lead, px), SOLDER, height=_round(y, 0.022), gloss=0.5, metal=1)
        waist = np.float32(r) * (np.float32(0.86) + np.float32(0.14) * np.clip((np.abs(x) - 0.2) * 12, -1, 1))
        d = np.maximum(np.abs(y) - waist, sh.box(y, x, 1, 0.42, 0.12))
        tone = np.broadcast_to(body.colour, (*y.shape, 3)).copy()
        for k, band in enumerate(bands):
            at = -0.32 + 0.6 * k / (len(bands) - 1)
            tone[np.abs(x - np.float32(at)) < 0.035] = band
        return paint.add(sh.cover(d, px), tone, height=_round(y, r), gloss=0.4)

    return Item(part, f"{colour_name(body.colour)} resistor with colour bands", "resistors", half=(r + 0.01, 1.0),
                many=0.4, thickness=0.1)  # fmt: skip


def winding(rng: np.random.Generator) -> Item:
    """Toroidal inductor: copper wire wound about a ring core."""
    core, wire = plain(rng, str(rng.choice(["dark", "paint"]))), colour(rng, "copper")
    turns, inner = int(rng.integers(16, 60)), rng.uniform(0.35, 0.5)
    span, start = rng.uniform(0.75, 1.0), rng.uniform(0, 6.28)
    tile = core.grain[0]

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.ring(y, x, inner + 0.06, 0.9)
        paint.add(sh.cover(d, px), core.texture(y, x), height=sh.dome(d, 0.2, 0.2), gloss=0.1)
        turn = np.mod(np.arctan2(y, x) + np.float32(start), np.float32(2 * math.pi)) / np.float32(2 * math.pi)
        u = turn * turns
        off = np.abs(u - np.floor(u) - np.float32(0.5)) * 2
        wide = np.hypot(y, x) * np.float32(math.pi / turns)
        wound = sh.ring(y, x, inner, 0.97)
        gap = np.maximum(np.maximum((off - np.float32(0.9)) * wide, wound), (turn - np.float32(span)))
        height = np.float32(0.1) + sh.dome(wound, 0.25, 0.25) + _round(off, 0.9) * wide
        tone = (1 + np.float32(0.08) * tile[np.floor(u).astype(np.int32) % TILE])[..., None] * wire
        return paint.add(sh.cover(gap, px), tone, height=height, gloss=0.5, metal=0.7)

    return Item(part, "toroidal coil of copper wire", "toroidal coils", many=0.2, thickness=0.25)


MAKERS = {
    f.__name__: f for f in (board, chip, connector, plug, fuse, led, battery, transistor, switch, resistor, winding)
}
"""Product designs by family name."""
