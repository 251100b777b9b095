"""Score maps as pictures: a colour scale, and its overlay on the inspected image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_ad.images import Picture

#: The colour scale: matplotlib's "inferno" (CC0) at nine equally spaced places, joined by straight lines.
INFERNO = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
        (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    np.float64,
)  # fmt: skip
#: How much of the image the strongest evidence covers.
OPACITY = 0.8
#: Where on the colour scale the weakest evidence starts: its darkest end would be lost on dark parts.
START = 0.3


def colours(values: NDArray[Any]) -> Picture:
    """Colours for values in 0..1 (outside: clipped): any shape to uint8 shape,3."""
    places = np.clip(values, 0, 1) * (len(INFERNO) - 1)
    channels = [np.interp(places, np.arange(len(INFERNO)), INFERNO[:, channel]) for channel in range(3)]
    result: Picture = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return result


def overlay(image: Picture, score_map: NDArray[Any], low: float, high: float) -> Picture:
    """Lay a score map over its image; the weaker the evidence, the more of the image shows through.

    Args:
        image: uint8 H,W,3.
        score_map: float h,w of any size; resized bilinearly to the image's.
        low: score that is left uncovered.
        high: score that is covered most.

    Returns:
        uint8 H,W,3.
    """
    height, width = image.shape[:2]
    scores = np.asarray(
        Image.fromarray(score_map.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    )
    strength = np.clip((scores - low) / max(high - low, 1e-12), 0, 1)
    cover = (OPACITY * np.sqrt(strength))[:, :, None]  # the root keeps middling evidence visible
    blended: Picture = np.rint(image * (1 - cover) + colours(START + (1 - START) * strength) * cover).astype(np.uint8)
    return blended
