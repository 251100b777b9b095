"""The products of the demo data set: one fixed design each, and what its flaws of construction are.

Pretraining never draws these. A design's numbers come from its own generator; each picture then varies what varies on
a real line: pose, light, and the instance of the material's grain. A flaw of construction (a part that was never
mounted, a hole that was never drilled) is drawn by the same code, from the same generator state, so that the two
pictures differ by the flaw only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_ad.training.pretrain.draw import defects as df
from edge_ad.training.pretrain.draw import shapes as sh
from edge_ad.training.pretrain.draw.fields import spectral_noise
from edge_ad.training.pretrain.draw.materials import TILE, Material
from edge_ad.training.pretrain.draw.mounted import PRINT, SOLDER, block, round_can
from edge_ad.training.pretrain.draw.picture import Picture
from edge_ad.training.pretrain.draw.prints import Artwork
from edge_ad.training.pretrain.draw.scene import Light, Paint, Part, Scene, relight
from edge_ad.training.pretrain.draw.shapes import Field

Flaw = str | None
"""Name of a flaw of construction, or None for a good product."""


@dataclass(frozen=True)
class Category:
    """A demo category.

    Attributes:
        draw: (rng, size, flaw) -> Picture; the same generator state with another flaw changes only the flaw.
        flaws: flaws of construction that `draw` knows.
        marks: defects drawn into the picture afterwards, by name.
        grey: whether its camera is monochrome.
    """

    draw: Callable[[np.random.Generator, int, Flaw], Picture]
    flaws: tuple[str, ...]
    marks: Mapping[str, df.Defect]
    grey: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all its defects, sorted."""
        return tuple(sorted((*self.flaws, *self.marks)))


def _light(rng: np.random.Generator, azimuth: float, elevation: float, ambient: float, shadow: float) -> Light:
    """The station's lamp, with the small drift that a real one has."""
    a, e = azimuth + rng.normal(0, 0.04), elevation + rng.normal(0, 0.02)
    lamp = (math.cos(e) * math.sin(a), math.cos(e) * math.cos(a), math.sin(e))
    return Light(*lamp, ambient * rng.uniform(0.95, 1.05), (1.2, -0.8, 0.6, 0.35), shadow)


def _ground(rng: np.random.Generator, size: int, tint: tuple[float, float, float], noise: float) -> Field:
    tone = 1 + np.float32(noise) * spectral_noise(rng, size, 0.8)
    return np.asarray(tone[..., None] * np.asarray(tint, np.float32), np.float32)


def _grain(rng: np.random.Generator, exponent: float) -> Field:
    return np.clip(spectral_noise(rng, TILE, exponent), -2.5, 2.5)


def _lay(rng: np.random.Generator, scene: Scene, part: Part, share: float, angle: float, thickness: float) -> Picture:
    size = scene.size
    centre = size / 2 + rng.normal(0, 0.012, 2) * size
    scale = share * size / 2 * (1 + rng.normal(0, 0.005))
    scene.place(part, (float(centre[0]), float(centre[1])), scale, angle, (1.0, 1.0), thickness)
    return Picture(np.clip(scene.image, 0, 1).astype(np.float32), "", scene.mask)


def flange_cover(rng: np.random.Generator, size: int, flaw: Flaw = None) -> Picture:
    """Turned aluminium flange cover: six counterbored holes, an engraved ring, a bored collar; lies at any angle."""
    grain, axis, angle = _grain(rng, 0.9), rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
    skipped = int(rng.integers(6))
    light = _light(rng, 2.2, 1.05, 0.45, 0.5)
    scene = Scene(_ground(rng, size, (0.2, 0.21, 0.23), 0.04), light)
    tint = np.asarray([0.66, 0.67, 0.69], np.float32)
    metal = Material("turned aluminium", tint, "turned", 0.35, 0.6, grain, 0.03, 26.0, axis)

    def part(y: Field, x: Field, px: float) -> Paint:
        rim = sh.disc(y, x, 0.98)
        v, u = sh.around(y, x, 6, 0.74)
        bore, counter = sh.disc(v, u, 0.075), sh.disc(v, u, 0.125)
        if flaw == "undrilled_hole":
            sector = np.mod(np.round(np.arctan2(y, x) / np.float32(math.pi / 3)), 6)
            here = sector == skipped
            bore, counter = np.where(here, np.float32(1), bore), np.where(here, np.float32(1), counter)
        collar, middle = sh.disc(y, x, 0.36), sh.disc(y, x, 0.2)
        ring = sh.ring(y, x, 0.52, 0.56)
        height = sh.chamfer(rim, 0.04) + sh.chamfer(collar, 0.05) - np.clip(-ring, 0, np.float32(0.02))
        height = height - np.clip(-counter, 0, np.float32(0.04)) - np.clip(-middle, 0, np.float32(0.05))
        flat = sh.box(y, x - np.float32(0.98), 0.2, 0.07)  # the flat that tells its orientation
        tone = metal.texture(y, x)
        tone = tone * (1 - np.float32(0.25) * sh.cover(counter, px) - np.float32(0.35) * sh.cover(ring, px))[..., None]
        paint = Paint(y.shape)
        body = sh.cut(rim, flat)
        paint.add(sh.cover(body, px), tone, height=height, gloss=metal.gloss, metal=metal.metal)
        return paint.pierce(sh.cover(sh.union(bore, sh.disc(y, x, 0.15)), px))

    return _lay(rng, scene, part, 0.84, angle, 0.1)


def filter_cloth(rng: np.random.Generator, size: int, flaw: Flaw = None) -> Picture:
    """Technical filter cloth: plain weave with doubled reinforcing threads and a blue tracer; fills the picture."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    angle = rng.normal(0, 0.015)
    v, u = sh.turned(y - 0.5, x - 0.5, angle)
    sway = spectral_noise(rng, size, 3.5) * np.float32(0.0012)
    count, offset = 26.0, rng.uniform(0, 8, 2)
    u = (u + sway) * np.float32(count) + np.float32(offset[0] + 40)
    v = (v + spectral_noise(rng, size, 3.5) * np.float32(0.0012)) * np.float32(count) + np.float32(offset[1] + 40)
    i, j = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    wide = (1 + 0.05 * rng.normal(0, 1, (2, 128))).astype(np.float32)
    tone_of = (1 + 0.035 * rng.normal(0, 1, (2, 128))).astype(np.float32)
    rib_u, rib_v = i % 8 == 0, j % 8 == 0
    across_u = (u - i - np.float32(0.5)) * 2 / (np.where(rib_u, 1.0, 0.84) * wide[0][i % 128]).astype(np.float32)
    across_v = (v - j - np.float32(0.5)) * 2 / (np.where(rib_v, 1.0, 0.84) * wide[1][j % 128]).astype(np.float32)
    over = np.where((i + j) % 2 == 0, np.float32(1), np.float32(-1))
    lift = np.float32(0.32) * over
    warp = np.sqrt(np.maximum(1 - across_u**2, 0)) * np.where(rib_u, 1.25, 1) + lift * np.cos(
        np.float32(math.pi) * (v - j - np.float32(0.5))
    )
    weft = np.sqrt(np.maximum(1 - across_v**2, 0)) * np.where(rib_v, 1.25, 1) - lift * np.cos(
        np.float32(math.pi) * (u - i - np.float32(0.5))
    )
    warp, weft = np.where(np.abs(across_u) < 1, warp, -1), np.where(np.abs(across_v) < 1, weft, -1)
    top = np.maximum(warp, weft)
    base, tracer = np.asarray([0.74, 0.72, 0.66], np.float32), np.asarray([0.3, 0.42, 0.6], np.float32)
    warp_tint = np.where((i % 16 == 8)[..., None], tracer, base) * tone_of[0][i % 128][..., None]
    weft_tint = base * np.float32(0.94) * tone_of[1][j % 128][..., None]
    tint = np.where((warp >= weft)[..., None], warp_tint, weft_tint)
    # twist of the yarn, fine and slanting along each thread
    twist = np.where(warp >= weft, np.sin(v * 14 + across_u * 2.2), np.sin(u * 14 + across_v * 2.2))
    fibre = 1 + np.float32(0.06) * twist + np.float32(0.03) * spectral_noise(rng, size, 0.4)
    deep = np.clip(np.float32(0.45) + np.float32(0.5) * top, np.float32(0.12), 1)
    paint = Paint((size, size))
    height = (np.maximum(top, -0.4) * np.float32(0.3 / count)).astype(np.float32)
    paint.add(np.ones((size, size), np.float32), tint * (fibre * deep)[..., None], height=height, gloss=0.03)
    light = _light(rng, 0.7, 1.0, 0.5, 0.0)
    image = relight(paint, light, 1 / size)
    return Picture(np.clip(image, 0, 1).astype(np.float32), "", np.ones((size, size), bool))


@dataclass(frozen=True)
class _Mount:
    """A mounted component: place, half sides, colour, kind, its print, and a factor on its colour."""

    y: float
    x: float
    half_y: float
    half_x: float
    tint: tuple[float, float, float]
    kind: str = "block"
    words: str = ""
    shade: float = 1.0


_BLACK, _BROWN, _WHITE = (0.07, 0.07, 0.08), (0.5, 0.4, 0.3), (0.86, 0.85, 0.82)
_BOARD = (
    _Mount(-0.12, -0.18, 0.24, 0.24, _BLACK, "chip", "EA7"),
    _Mount(0.58, -0.52, 0.12, 0.2, _BLACK, "chip", "F2"),
    _Mount(-0.62, 0.5, 0.2, 0.3, (0.12, 0.28, 0.55), "block", "24V"),
    _Mount(0.1, 0.62, 0.15, 0.15, (0.35, 0.36, 0.38), "round"),
    _Mount(0.5, 0.62, 0.15, 0.15, (0.35, 0.36, 0.38), "round"),
    _Mount(-0.72, -0.62, 0.07, 0.035, _BROWN),
    _Mount(-0.72, -0.46, 0.07, 0.035, _BROWN),
    _Mount(-0.72, -0.3, 0.07, 0.035, _BLACK),
    _Mount(-0.72, -0.14, 0.07, 0.035, _BLACK),
    _Mount(-0.2, -0.72, 0.035, 0.07, _BLACK),
    _Mount(-0.05, -0.72, 0.035, 0.07, _BLACK),
    _Mount(0.1, -0.72, 0.035, 0.07, _BROWN),
    _Mount(0.34, 0.02, 0.035, 0.07, _WHITE),
    _Mount(0.34, 0.3, 0.035, 0.07, _BROWN),
    _Mount(-0.2, 0.28, 0.07, 0.035, _BLACK),
    _Mount(0.0, 0.28, 0.07, 0.035, _BLACK),
)


def _copper(size: int) -> tuple[Artwork, Artwork, Artwork]:
    """The board's fixed artwork: traces, pads, print."""
    long_side = max(2 * size, 128)
    half = (0.95, 0.95)
    traces, pads, silk = (Artwork(half, long_side) for _ in range(3))
    wire = max(round(0.022 * long_side / 2), 1)

    def run(*points: tuple[float, float]) -> None:
        traces.pen.line([traces.px(*p) for p in points], fill=255, width=wire, joint="curve")

    for k in range(6):
        y = -0.3 + 0.07 * k
        run((y, -0.42), (y, -0.52 - 0.01 * k), (y + 0.06, -0.6), (y + 0.06, -0.72))
        run((y, 0.06), (y, 0.14), (y * 0.6 + 0.05, 0.28), (y * 0.6 + 0.05, 0.5))
        run((-0.36, -0.35 + 0.07 * k), (-0.5, -0.4 + 0.08 * k), (-0.66, -0.4 + 0.08 * k))
        run((0.12, -0.35 + 0.07 * k), (0.3, -0.4 + 0.09 * k), (0.84, -0.4 + 0.09 * k))
    run((-0.42, 0.4), (-0.1, 0.4), (0.1, 0.55))
    run((-0.42, 0.7), (-0.2, 0.84), (0.5, 0.84))

    def pad(y: float, x: float, half_y: float, half_x: float) -> None:
        pads.pen.rectangle([*pads.px(y - half_y, x - half_x), *pads.px(y + half_y, x + half_x)], fill=255)

    for m in _BOARD:
        if m.kind == "chip":
            n = 7 if m.half_y > 0.2 else 5
            for k in range(n):
                t = (k - (n - 1) / 2) * 2 * m.half_x * 0.88 / n
                pad(m.y - m.half_y, m.x + t, 0.045, 0.016)
                pad(m.y + m.half_y, m.x + t, 0.045, 0.016)
                if m.half_y > 0.2:
                    pad(m.y + t, m.x - m.half_x, 0.016, 0.045)
                    pad(m.y + t, m.x + m.half_x, 0.016, 0.045)
        elif m.half_y > m.half_x and m.half_y < 0.1:
            pad(m.y - m.half_y, m.x, 0.035, 0.045)
            pad(m.y + m.half_y, m.x, 0.035, 0.045)
        elif m.half_x < 0.1:
            pad(m.y, m.x - m.half_x, 0.045, 0.035)
            pad(m.y, m.x + m.half_x, 0.045, 0.035)
        elif m.kind == "round":
            pad(m.y, m.x - 0.07, 0.03, 0.03)
            pad(m.y, m.x + 0.07, 0.03, 0.03)
            box = [*silk.px(m.y - 0.17, m.x - 0.17), *silk.px(m.y + 0.17, m.x + 0.17)]
            silk.pen.ellipse(box, outline=255, width=max(wire // 2, 1))
        else:
            for side in (-0.2, 0.0, 0.2):
                pad(m.y, m.x + side, 0.05, 0.04)
            box = [*silk.px(m.y - 0.22, m.x - 0.32), *silk.px(m.y + 0.22, m.x + 0.32)]
            silk.pen.rectangle(box, outline=255, width=max(wire // 2, 1))
    for k in range(7):
        box = [*pads.px(0.84 - 0.035, -0.4 + 0.09 * k - 0.035), *pads.px(0.84 + 0.035, -0.4 + 0.09 * k + 0.035)]
        pads.pen.ellipse(box, fill=255)
    silk.text("CTRL 4", 0.6, 0.05, 0.13)
    silk.text("R1 R2 C1 C2", -0.86, -0.38, 0.09)
    silk.text("+  -", 0.86, 0.62, 0.12)
    return traces, pads, silk


def control_board(rng: np.random.Generator, size: int, flaw: Flaw = None) -> Picture:
    """A small control board with a fixed layout, seen nearly square."""
    light = _light(rng, -2.3, 1.0, 0.55, 0.45)
    scene = Scene(_ground(rng, size, (0.78, 0.79, 0.8), 0.008), light)
    angle = float(rng.normal(0, 0.012))
    # placement tolerance, and the batch's colour of each body, vary on good boards too
    slack = rng.normal(0, 0.004, (len(_BOARD), 2))
    tone = rng.normal(1, 0.05, len(_BOARD))
    solder = rng.uniform(0.9, 1.08)
    victim = int(rng.integers(len(_BOARD)))
    shove = rng.uniform(0.05, 0.09, 2) * rng.choice([-1, 1], 2)
    traces, pads, silk = _copper(size)
    prints = Artwork((0.95, 0.95), max(2 * size, 128))
    mounts = []
    for k, m in enumerate(_BOARD):
        if k == victim and flaw == "missing_component":
            continue
        dy, dx = slack[k] + (shove if k == victim and flaw == "shifted_component" else 0)
        mounts.append(replace(m, y=m.y + dy, x=m.x + dx, shade=float(tone[k])))
        if m.words:
            prints.text(m.words, m.y + dy, m.x + dx, min(m.half_y * 0.8, 0.17))
    mask = np.asarray([0.05, 0.27, 0.17], np.float32)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        d = sh.box(y, x, 0.95, 0.95, 0.06)
        d = sh.cut(d, sh.disc(np.abs(y) - np.float32(0.86), np.abs(x) - np.float32(0.86), 0.05))
        paint.add(sh.cover(d, px), mask, height=0.0, gloss=0.12)
        ink = traces.at(y, x)
        paint.add(ink, mask * np.float32(1.55), height=ink * np.float32(0.004), gloss=0.12, extend=False)
        ink = pads.at(y, x)
        paint.add(ink, SOLDER * np.float32(solder), height=ink * np.float32(0.02), gloss=0.5, metal=0.7, extend=False)
        paint.add(silk.at(y, x), PRINT * np.float32(0.9), extend=False)
        for m in mounts:
            tint = np.asarray(m.tint, np.float32) * np.float32(m.shade)
            if m.kind == "round":
                round_can(paint, y, x, px, (m.y, m.x), m.half_y, tint)
            else:
                block(paint, y, x, px, (m.y, m.x), (m.half_y, m.half_x), tint, 0.04 if m.half_x > 0.1 else 0.015)
        return paint.add(prints.at(y, x), PRINT * np.float32(0.7), extend=False)

    return _lay(rng, scene, part, 0.88, angle, 0.04)


def gel_pod(rng: np.random.Generator, size: int, flaw: Flaw = None) -> Picture:
    """A sealed film pod with two chambers of gel, blue and orange, divided by a curved seam."""
    light = _light(rng, -0.9, 0.95, 0.5, 0.3)
    scene = Scene(_ground(rng, size, (0.9, 0.9, 0.89), 0.006), light)
    angle = float(rng.normal(0, 0.04))
    waves = rng.normal(0, 1, (5, 4)).astype(np.float32)
    bubbles = [(*rng.uniform(-0.55, 0.55, 2), rng.uniform(0.012, 0.035)) for _ in range(int(rng.integers(3, 9)))]
    fill = rng.normal(0, 0.012, 2)
    which, level = int(rng.integers(2)), rng.uniform(0.12, 0.26)
    if flaw == "underfilled":
        fill[which] += level
    tones = rng.normal(1, 0.025, 2).astype(np.float32)
    blue, orange = np.asarray([0.12, 0.32, 0.72], np.float32), np.asarray([0.93, 0.5, 0.12], np.float32)

    def part(y: Field, x: Field, px: float) -> Paint:
        paint = Paint(y.shape)
        film = sh.box(y, x, 0.96, 0.96, 0.12)
        creases = np.zeros_like(y)
        for a, b, c, phase in waves:
            creases += np.float32(0.004) * np.sin((a * y + b * x) * 8 + phase * 3 + c * np.sin(5 * x + phase))
        knurl = np.float32(0.004) * np.sin(y * 70) * np.sin(x * 70)
        paint.add(sh.cover(film, px), np.full(3, 0.86, np.float32), height=creases + knurl, gloss=0.5)
        pillow = sh.box(y, x, 0.76, 0.76, 0.3)
        seam = x - np.float32(0.16) * np.sin(y * np.float32(3.2)) + np.float32(0.1)
        paint.add(sh.cover(pillow, px), np.full(3, 0.8, np.float32), height=sh.dome(pillow, 0.4, 0.2), gloss=0.6)
        for k, (side, tint) in enumerate(((-1.0, blue), (1.0, orange))):
            gel = np.maximum(pillow, np.float32(0.045) - np.float32(side) * seam)
            # a chamber is filled from below: a short fill leaves a clear edge at the top
            gel = np.maximum(gel, -y - np.float32(0.76) + np.float32(max(fill[k], 0) * 2))
            depth = np.float32(0.72) + np.float32(0.28) * np.clip(-gel / np.float32(0.3), 0, 1)
            height = sh.dome(gel, 0.38, 0.24) + creases * np.float32(0.8)
            paint.add(sh.cover(gel, px * 1.5), tint * (depth * tones[k])[..., None], height=height, gloss=0.8)
        for cy, cx, r in bubbles:
            d = sh.disc(y - np.float32(cy), x - np.float32(cx), r)
            paint.add(np.float32(0.4) * sh.cover(np.abs(d) - np.float32(0.006), px), np.full(3, 0.95), extend=False)
        return paint

    return _lay(rng, scene, part, 0.86, angle, 0.1)


DEMO: dict[str, Category] = {
    "flange_cover": Category(
        flange_cover,
        ("undrilled_hole",),
        {"scratch": df.scratch, "dent": df.dent, "stain": df.stain, "chip": df.chip},
        grey=True,
    ),
    "filter_cloth": Category(
        filter_cloth,
        (),
        {
            "thread_pull": df.thread_pull,
            "misweave": df.misweave,
            "hole": df.hole,
            "stain": df.stain,
            "contamination": df.contamination,
        },
        grey=False,
    ),
    "control_board": Category(
        control_board,
        ("missing_component", "shifted_component"),
        {"solder_bridge": df.solder_bridge, "scratch": df.scratch},
        grey=False,
    ),
    "gel_pod": Category(
        gel_pod,
        ("underfilled",),
        {"contamination": df.contamination, "colour_fault": df.colour_fault, "bend": df.bend, "smear": df.smear},
        grey=False,
    ),
}
"""Category name -> its product. None of them is a family that pretraining draws."""
