"""Image files from anywhere to pixels: strict types, and limits that hold before anything is decoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_ad.errors import InputError
from edge_ad.images import decode_image

#: What is decoded; whatever else Pillow could read is refused by its first bytes.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")


class TooManyPixels(InputError):  # noqa: N818  (named by what it says)
    """The file says that it holds more pixels than are decoded here."""


class NotAnImage(InputError):  # noqa: N818  (as above)
    """The bytes are of none of the kinds of image that are decoded here."""


def decode(data: bytes, max_pixels: int, name: str | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 H,W,3; see `decode_image`. name: the file's, for the errors.

    Raises TooManyPixels for more than `max_pixels`, told by the header; NotAnImage; InputError for a damaged file.
    """
    where = "" if name is None else f"{name}: "
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        width, height = max_pixels + 1, 1
    except Exception:  # decoders raise anything from struct.error to SyntaxError on what is not theirs
        raise NotAnImage(f"{where}not an image of a known kind; send one of: {', '.join(FORMATS)}") from None
    check_size(height, width, max_pixels, where)
    return decode_image(data, name or "image")


def check_size(height: int, width: int, max_pixels: int, where: str = "") -> None:
    """Raises TooManyPixels."""
    if height * width > max_pixels:
        raise TooManyPixels(f"{where}the image holds more than {max_pixels:,} pixels; shrink it first")
