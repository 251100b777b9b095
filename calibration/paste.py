"""Synthetic defects pasted into good pictures, each with its exact mask: no real defect is needed to choose settings.

- `cut_paste`: a part of the picture put elsewhere, as a patch or a thin scar (Li et al., CutPaste, CVPR 2021).
- `noise_texture`: a region of thresholded Perlin noise in another texture (Zavrtanik et al., DRAEM, ICCV 2021, eq. 1).
- `scratch`: a bent line, brighter or darker.

Each takes (image uint8 H,W,3, foreground bool H,W, generator) and returns (image, mask): a new image, and a bool H,W
mask of the pixels that changed visibly. Outside the mask the pixels are the input's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from edge_ad.images import Mask, Picture

Floats = NDArray[np.float32]
Paste = Callable[[Picture, Mask, np.random.Generator], tuple[Picture, Mask]]

#: Smallest change of a channel, of 255, that counts as visible.
VISIBLE = 12
#: Smallest share of the picture that a defect covers; 50 pixels of a million.
SMALLEST = 1e-4


def foreground(image: Picture) -> Mask:
    """Where the product is: bool H,W; everything where the border is not of one colour, as on textures.

    A plain background shows as a border that varies little; the product is what differs from its median colour by more
    than Otsu's threshold (1979) of that difference.
    """
    height, width = image.shape[:2]
    edge = max(min(height, width) // 32, 1)
    border = np.ones((height, width), bool)
    border[edge:-edge, edge:-edge] = False
    pixels = image.astype(np.float32)
    distance = np.linalg.norm(pixels - np.median(pixels[border], axis=0), axis=2)
    everything = np.ones((height, width), bool)
    if np.quantile(distance[border], 0.9) > 0.5 * np.quantile(distance[~border], 0.9):
        return everything
    counts, edges = np.histogram(distance, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    low = np.cumsum(counts * middles) / np.maximum(below, 1)
    high = (np.cumsum((counts * middles)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (low[:-1] - high[1:]) ** 2
    product = distance > edges[1:][int(np.argmax(between))]
    return product if product.mean() > 0.02 else everything


def perlin(shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Gradient noise (Perlin, SIGGRAPH 1985; fade curve of 2002): float32 H,W, roughly in ±0.7.

    cells: (rows, columns) of the lattice of random gradients.
    """
    angle = rng.uniform(0, 2 * math.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    y = np.linspace(0, cells[0], shape[0], endpoint=False, dtype=np.float32)
    x = np.linspace(0, cells[1], shape[1], endpoint=False, dtype=np.float32)
    row, column = y.astype(np.int64), x.astype(np.int64)
    dy, dx = (y - row)[:, None], (x - column)[None, :]

    def corner(down: int, right: int) -> Floats:
        turn = angle[(row + down)[:, None], (column + right)[None, :]]
        product: Floats = np.cos(turn) * (dx - right) + np.sin(turn) * (dy - down)
        return product

    fy, fx = (t * t * t * (t * (6 * t - 15) + 10) for t in (dy, dx))
    top = corner(0, 0) + fx * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fx * (corner(1, 1) - corner(1, 0))
    noise: Floats = (top + fy * (bottom - top)).astype(np.float32)
    return noise


def cut_paste(image: Picture, where: Mask, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A patch of the picture, slightly recoloured and turned, put onto the product."""
    height, width = where.shape
    side = min(height, width)
    if rng.random() < 0.5:  # a scar
        size = (rng.uniform(0.015, 0.05) * side, rng.uniform(0.1, 0.3) * side)
    else:
        size = (rng.uniform(0.04, 0.16) * side, rng.uniform(0.04, 0.16) * side)
    h, w = (max(int(length), 2) for length in size)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    patch = image[top : top + h, left : left + w].astype(np.float32)
    patch = np.clip(patch * rng.uniform(0.8, 1.25) + rng.normal(0, 18, 3), 0, 255).astype(np.uint8)
    alpha = (perlin((h, w), (2, 2), rng) > -0.25).astype(np.uint8) * np.uint8(255)
    angle = float(rng.uniform(-180, 180))
    turned = Pillow.fromarray(np.dstack([patch, alpha])).rotate(angle, Pillow.Resampling.BILINEAR, expand=True)
    piece = np.asarray(turned)[:height, :width].astype(np.float32)
    y, x = _place(where, rng)
    y, x = (int(np.clip(p - n // 2, 0, limit - n)) for p, n, limit in zip((y, x), piece.shape, (height, width)))
    after = image.astype(np.float32)
    spot = after[y : y + piece.shape[0], x : x + piece.shape[1]]
    opacity = piece[:, :, 3:] / 255
    spot += opacity * (piece[:, :, :3] - spot)
    return _settled(image, after, where)


def noise_texture(image: Picture, where: Mask, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """Perlin blobs in another texture: coloured noise, or the picture itself shifted and recoloured; see-through."""
    height, width = where.shape
    blobs = perlin((height, width), _cells(rng), rng)
    y, x = _place(where, rng)
    rows, columns = np.mgrid[0:height, 0:width]
    reach = rng.uniform(0.05, 0.2) * min(height, width)
    near = np.hypot(rows - y, columns - x) < reach
    inside = blobs[near & where]
    if not len(inside):
        return image, np.zeros_like(where)
    region = near & (blobs > np.quantile(inside, rng.uniform(0.3, 0.75)))
    if rng.random() < 0.5:
        shift = (int(rng.integers(height // 4, 3 * height // 4 + 1)), int(rng.integers(width // 4, 3 * width // 4 + 1)))
        texture = np.roll(image, shift, axis=(0, 1)).astype(np.float32) * rng.uniform(0.5, 1.5) + rng.normal(0, 30, 3)
    else:
        grain = perlin((height, width), (max(height // 8, 2), max(width // 8, 2)), rng)
        texture = rng.uniform(20, 235, 3) + 80 * grain[:, :, None]
    opacity = rng.uniform(0.3, 0.9)
    after = image.astype(np.float32)
    return _settled(image, np.where(region[:, :, None], after + opacity * (texture - after), after), where)


def scratch(image: Picture, where: Mask, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A bent line, one to a few pixels wide, brighter or darker than what it crosses."""
    height, width = where.shape
    side = min(height, width)
    count = 24
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.12, count))
    step = rng.uniform(0.1, 0.4) * side / count
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step, axis=0)
    y, x = _place(where, rng)
    points += np.array([x, y]) - points.mean(axis=0)
    line = Pillow.new("L", (4 * width, 4 * height))
    thick = max(round(4 * rng.uniform(0.004, 0.012) * side), 4)
    ImageDraw.Draw(line).line([tuple(4 * point) for point in points], fill=255, width=thick, joint="curve")
    cover = np.asarray(line.filter(ImageFilter.GaussianBlur(2)).resize((width, height), Pillow.Resampling.BOX))
    depth = rng.choice([-1.0, 1.0]) * rng.uniform(25, 110)
    after = image.astype(np.float32) + cover[:, :, None].astype(np.float32) / 255 * depth
    return _settled(image, after, where)


PASTES: dict[str, Paste] = {"cut_paste": cut_paste, "noise_texture": noise_texture, "scratch": scratch}


def pasted(image: Picture, kind: str, seed: int) -> tuple[Picture, Mask]:
    """A defect of a kind in `PASTES` pasted onto a product, uint8 H,W,3; the same seed gives the same one.

    One that turns out too faint or too small to see is drawn again.
    """
    rng, product = np.random.default_rng([seed, len(kind)]), foreground(image)
    for _ in range(50):
        after, mask = PASTES[kind](image, product, rng)
        if mask.mean() >= SMALLEST:
            return after, mask
    # a picture on which nothing shows (say, all of it far over-exposed): a plain block does
    y, x = _place(product, rng)
    side = max(min(image.shape[:2]) // 16, 2)
    mask = np.zeros(product.shape, bool)
    mask[max(y - side, 0) : y + side, max(x - side, 0) : x + side] = True
    block = np.uint8(0 if image[mask].mean() > 127 else 255)
    return np.where(mask[:, :, None], block, image), mask


def _place(where: Mask, rng: np.random.Generator) -> tuple[int, int]:
    places = np.flatnonzero(where)
    return divmod(int(places[int(rng.integers(len(places)))]), where.shape[1])


def _cells(rng: np.random.Generator) -> tuple[int, int]:
    rows, columns = (int(2 ** rng.integers(2, 6)) for _ in range(2))
    return rows, columns


def _settled(before: Picture, after: Floats, where: Mask) -> tuple[Picture, Mask]:
    """The visible change on the product only: elsewhere the picture stays as it was."""
    pixels = np.clip(np.rint(after), 0, 255).astype(np.uint8)
    mask = (np.abs(pixels.astype(np.int16) - before).max(axis=2) >= VISIBLE) & where
    return np.where(mask[:, :, None], pixels, before), mask
