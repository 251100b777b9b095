"""Many small strokes on a ground: fibres, blades of grass, straw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from edge_ad.training.pretrain.draw.picture import FloatImage


def strokes(
    rng: np.random.Generator,
    ground: npt.NDArray[np.float32],
    colours: npt.NDArray[np.float32],
    angle: tuple[float, float],
    length: tuple[float, float],
    width: tuple[float, float],
    bend: float = 0.5,
    taper: bool = False,
) -> FloatImage:
    """Draw one bent stroke for each colour, in order, the last on top.

    Args:
        rng: the generator.
        ground: float32 H,W,3 in [0, 1], square; not changed.
        colours: float32 (n, 3), one a stroke.
        angle: mean and standard deviation of the direction, radians.
        length: least and greatest, as a share of the side.
        width: least and greatest, in pixels.
        bend: the standard deviation of the turn along a stroke, radians.
        taper: a blade that narrows to a point, rather than a line of even width.

    Returns:
        float32 H,W,3 in [0, 1].
    """
    size, count = ground.shape[0], len(colours)
    # twice the size, so that thin strokes have smooth edges
    scale = 2 * size
    canvas = Image.fromarray((np.clip(ground, 0, 1) * 255).astype(np.uint8)).resize((scale, scale))
    pen = ImageDraw.Draw(canvas)
    start = rng.uniform(-0.15, 1.15, (count, 2)) * scale
    direction = rng.normal(angle[0], angle[1], count)
    turn = rng.normal(0, bend, count)
    reach = rng.uniform(*length, count) * scale
    wide = rng.uniform(*width, count) * 2
    steps = np.linspace(0, 1, 5)
    heading = direction[:, None] + turn[:, None] * steps
    moves = np.stack([np.cos(heading), np.sin(heading)], -1) * (reach[:, None, None] / 4)
    points = start[:, None] + np.concatenate([np.zeros((count, 1, 2)), np.cumsum(moves[:, :-1], 1)], 1)
    inks = (np.clip(colours, 0, 1) * 255).astype(int).tolist()
    if taper:
        normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
        half = wide[:, None, None] / 2 * np.sqrt(1 - steps)[None, :, None]
        outline = np.concatenate([points + normal * half, (points - normal * half)[:, ::-1]], 1)
        for ink, corners in zip(inks, outline.reshape(count, -1).tolist()):
            pen.polygon(corners, fill=tuple(ink))
    else:
        for ink, path, thick in zip(inks, points.reshape(count, -1).tolist(), wide):
            pen.line(path, fill=tuple(ink), width=max(1, round(float(thick))))
    result: FloatImage = np.asarray(canvas.reduce(2), np.float32) / np.float32(255)
    return result
