"""Contact sheets: many small pictures on one, to be judged by eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from edge_ad.images import Mask, Picture

_GAP = 4
_OUTLINE = (255, 40, 40)


def contact_sheet(columns: Sequence[Sequence[Picture]], *, side: int = 128, across: int = 8) -> Picture:
    """Lay columns of pictures out, `across` columns beside each other, in as many bands as are needed.

    Args:
        columns: each a few pictures uint8 H,W,3, shown below each other; all of one length.
        side: of a picture on the sheet.
        across: columns in a band.

    Returns:
        uint8 H,W,3 on white.
    """
    rows = len(columns[0])
    across = min(across, len(columns))
    bands = -(-len(columns) // across)
    height = bands * (rows * (side + _GAP) + 2 * _GAP) - 2 * _GAP
    sheet = Image.new("RGB", (across * (side + _GAP) - _GAP, height - _GAP), "white")
    for number, column in enumerate(columns):
        band, place = divmod(number, across)
        for row, picture in enumerate(column):
            small = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
            top = band * (rows * (side + _GAP) + 2 * _GAP) + row * (side + _GAP)
            sheet.paste(small, (place * (side + _GAP), top))
    return np.asarray(sheet)


def outlined(picture: Picture, mask: Mask) -> Picture:
    """The picture with the border of the mask drawn on it in red: uint8 S,S,3."""
    thick = 2 * max(1, len(mask) // 128) + 1
    grown = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).filter(ImageFilter.MaxFilter(thick))
    rim = (np.asarray(grown) > 0) & ~mask
    return np.where(rim[..., None], np.array(_OUTLINE, np.uint8), picture)
