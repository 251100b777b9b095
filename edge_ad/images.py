"""Reading, writing and resizing pictures and masks: whatever a camera saved becomes uint8 RGB."""

from __future__ import annotations

import hashlib
import io
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_ad.errors import InputError
from edge_ad.files import atomic_path

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

#: File name endings that are read as pictures (lower case).
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
#: A file that says it holds more pixels than this is refused before it is decoded.
MAX_PIXELS = 89_478_485
#: What shows through transparent pixels: mid-grey, the value that a hidden pixel has in the model (0 in [-1, 1]).
BACKGROUND = 128
#: A 16-bit picture with no pixel above this is taken for a 12-bit one.
MAX_12_BIT = 4095

# How 16-bit colour may lie in a file, and how it has to be read for the low bytes: in the other order, and grey with
# alpha, of which Pillow knows one order only, as four channels of one byte.
_LOW_BYTES = {
    "LA;16B": "RGBA",
    **{
        f"{kind};16{order}": f"{kind};16{other}"
        for kind in ("RGB", "RGBX", "RGBA")
        for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
    },
}

# Pillow reports a decompression bomb by a warning; making it an error changes a process-wide list for that moment.
_OPENING = threading.Lock()


def read_image(path: str | Path) -> Picture:
    """Read a picture as RGB.

    - EXIF orientation is applied; of several frames the first is read.
    - Grey, 1-bit, palette, CMYK, YCbCr and Lab are converted to RGB.
    - Transparent pixels are composited on mid-grey (`BACKGROUND`).
    - 16-bit grey and colour is scaled from 0..65535, or from 0..4095 if no pixel is above 4095 (a 12-bit camera's
      file: a true 16-bit picture that dark would be black). The scale never depends on a picture's own brightest pixel.
    - Floating-point pixels must lie in 0..1.

    Args:
        path: a file in one of the formats Pillow reads.

    Returns:
        uint8 H,W,3, RGB, 0..255.

    Raises:
        InputError: the file is missing, cannot be decoded, is truncated, holds more than `MAX_PIXELS` pixels, or has
            pixels of a kind that has no defined brightness.
    """
    path = Path(path)
    return _to_rgb(_open(path, path), path)


def decode_image(data: bytes, name: str = "image") -> Picture:
    """As `read_image`, from the bytes of a file; `name` is what error messages call it."""
    return _to_rgb(_open(io.BytesIO(data), Path(name)), Path(name))


def read_mask(path: str | Path, shape: tuple[int, int]) -> Mask:
    """Read a defect mask.

    A pixel is defective where it is not zero; in JPEG files, which blur zeros, where it is above 127.

    Args:
        path: the mask file.
        shape: (H, W) that the mask must have: its image's.

    Returns:
        bool H,W, True where defective.

    Raises:
        InputError: the file cannot be read (see `read_image`), or its size is not `shape`.
    """
    path = Path(path)
    image = _open(path, path)
    lossy = image.format == "JPEG"
    image = _orient(image)
    if image.size != (shape[1], shape[0]):
        raise InputError(
            f"{path}: the mask is {image.width}x{image.height} pixels but its image is {shape[1]}x{shape[0]}; "
            "save the mask at the image's size"
        )
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    # 16- and 32-bit masks are compared as they are: Pillow would clip them to 255, which keeps non-zero non-zero too.
    grey = np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("L"))
    mask: Mask = grey > (127 if lossy else 0)
    return mask


def resize_image(image: Picture, size: int) -> Picture:
    """Resize to a square, both axes by their own factor as MVTec AD evaluations do; antialiased bicubic.

    Args:
        image: uint8 H,W,3.
        size: side of the result in pixels.

    Returns:
        uint8 size,size,3.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def picture_hash(image: Picture) -> str:
    """SHA-256 of a picture's size and pixels, uint8 H,W,3: the same for the same picture in any lossless file."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def resize_mask(mask: Mask, size: int) -> Mask:
    """Resize a mask, bool H,W, to bool size,size: each pixel takes the nearest one's value."""
    if mask.shape == (size, size):
        return mask
    resized = Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized).astype(bool)


def check_picture(image: Picture) -> None:
    """InputError for what is no picture: it must be uint8 of shape H,W,3 with a pixel at least."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"an image must be uint8 of shape H,W,3, not {image.dtype} of shape {image.shape}")


def shrink_mask(mask: Mask, size: int) -> Mask:
    """Resize a mask, bool H,W, to bool size,size: a pixel is set where any pixel of its area is, so that a scratch one
    pixel wide does not become a good part; enlarged, each takes one pixel's value.
    """
    rows, columns = (np.arange(size) * side // size for side in mask.shape)
    shrunk: Mask = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)
    return shrunk


def thumbnail(image: Picture, side: int) -> Picture:
    """Shrink so that the longer side is at most `side`, the aspect ratio kept: uint8 H,W,3 to uint8 h,w,3."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small)


def write_image(path: str | Path, image: Picture | Mask, *, quality: int = 85) -> None:
    """Write uint8 H,W,3, uint8 H,W or bool H,W (as 0/255), whole or not at all; the format follows the file's name."""
    path = Path(path)
    pixels = image.astype(np.uint8) * np.uint8(255) if image.dtype == np.bool_ else image
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), "PNG")
    # a photograph's PNG is an eighth smaller at the highest level, which takes ten times as long
    options: dict[str, Any] = {"quality": quality} if kind == "JPEG" else {"compress_level": 1}
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format=kind, **options)


def list_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Picture files in `folder`, sorted by path; hidden files and, with `recursive`, hidden folders are left out.

    Raises:
        InputError: `folder` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _open(source: Path | io.BytesIO, name: Path) -> Image.Image:
    """Decode, with every failure turned into an InputError that names the file."""
    try:
        image, layout = _load(source)
        if layout:
            low = np.asarray(_load(source, low_bytes=True)[0])
            low = low[:, :, 1:2] if layout == "LA;16B" else low[:, :, :3]
            image.paste(Image.fromarray(_colour_8_bit(np.asarray(image), low, name)))
        return image
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; an image file is needed") from None
    except PermissionError:
        raise InputError(f"{name}: may not be read; check the file's permissions") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: holds more than {MAX_PIXELS:,} pixels; shrink it first") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: is not an image that can be read; save it as PNG or JPEG") from None
    except Exception as error:  # decoders raise anything from struct.error to KeyError on damaged files
        raise InputError(f"{name}: the image is damaged or cut off ({_reason(error)}); save it again") from error


def _load(source: Path | io.BytesIO, *, low_bytes: bool = False) -> tuple[Image.Image, str]:
    """The decoded picture, and how its 16-bit colour lies in the file, a key of `_LOW_BYTES`; "" for other pictures.

    Of 16-bit colour Pillow keeps the high bytes; low_bytes: the low ones instead.
    """
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(source)
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        tags = getattr(image, "tag_v2", {})  # of a TIFF: its planes, and the bits of each
        if tags.get(284) == 2 and max(tags.get(258, (8,))) > 8:
            raise InputError("Pillow misreads 16-bit colour in planes of their own; save it interleaved, or as PNG")
        tiles = getattr(image, "tile", [])
        layout = _layout(tiles[0]) if tiles else ""
        if low_bytes:
            image.tile = [_for_low_bytes(tile) for tile in tiles]
        image.load()
        return image, layout


def _layout(tile: Any) -> str:
    """How a tile's 16-bit colour lies in the file; its decoder is told so by its only or first argument."""
    first = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
    return first if isinstance(first, str) and first in _LOW_BYTES else ""


def _for_low_bytes(tile: Any) -> Any:
    low = _LOW_BYTES[_layout(tile)]
    changed = (*tile[:3], (low, *tile[3][1:]) if isinstance(tile[3], tuple) else low)
    return tile._make(changed) if hasattr(tile, "_make") else changed  # named from Pillow 11 on


def _colour_8_bit(high: NDArray[np.uint8], low: NDArray[np.uint8], name: Path) -> Picture:
    """High and low bytes of 16-bit colour, H,W,3 or H,W,4 with alpha, as 8-bit: colours scaled as `_8_bit` says."""
    values = high[:, :, :3].astype(np.uint16) << 8 | low
    return np.concatenate([_8_bit(values, name), high[:, :, 3:]], axis=2)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _orient(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a damaged EXIF block is as good as none."""
    if image.format == "TIFF":
        return image  # Pillow has turned it on loading; Pillow 10.0 keeps the tag, which would turn it twice
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are sound, and what a broken tag raises is open-ended
        return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _to_rgb(image: Image.Image, name: Path) -> Picture:
    image = _orient(image)
    if image.mode.startswith("I") or image.mode == "F":
        grey = _8_bit(np.asarray(image), name)
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if _has_alpha(image):
            rgba = image.convert("RGBA")
            below = Image.new("RGBA", rgba.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
            image = Image.alpha_composite(below, rgba)
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise InputError(f"{name}: pixels of kind {image.mode} cannot be shown as RGB; save it as PNG") from error


def _8_bit(values: NDArray[Any], name: Path) -> Picture:
    """16-bit, 32-bit or floating-point values to uint8 of the same shape by a fixed range; see `read_image`."""
    if values.dtype.kind == "f":
        if not np.all((values >= 0) & (values <= 1)):  # NaN fails too
            raise InputError(f"{name}: floating-point pixels must lie in 0..1; save it as 8- or 16-bit")
        top = 1.0
    else:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise InputError(f"{name}: pixel values reach {low}..{high}; save it as 8- or 16-bit grey (0..65535)")
        top = 65535.0 if high > MAX_12_BIT else float(MAX_12_BIT)
    scaled: Picture = np.rint(values.astype(np.float32) * np.float32(255.0 / top)).astype(np.uint8)
    return scaled
