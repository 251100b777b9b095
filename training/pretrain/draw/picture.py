"""What a drawing function returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
"""H,W,3 linear-looking RGB in [0, 1]."""


@dataclass(frozen=True)
class Picture:
    """One drawn picture.

    Attributes:
        image: float32 H,W,3 in [0, 1] from a drawing function; uint8 H,W,3 after the camera.
        caption: a short English description ("a round brushed steel disc with four holes on a dark table").
        foreground: bool H,W, True where the product is; all True for a surface that fills the picture.
    """

    image: npt.NDArray[np.float32] | npt.NDArray[np.uint8]
    caption: str
    foreground: npt.NDArray[np.bool_]


Draw = Callable[[np.random.Generator, int], Picture]
"""A family: draws one picture of side `size` px from a generator; the same generator state gives the same picture."""
