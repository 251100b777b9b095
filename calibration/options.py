"""What a person writes for an option, as numbers."""

from __future__ import annotations

import math

from edge_ad.errors import OptionError


def numbers(option: str, text: str, *, low: float, high: float, open_low: bool = False) -> tuple[float, ...] | None:
    """ "auto" is None, "keep" is (), else numbers with commas in low..high. OptionError for anything else."""
    if text == "auto":
        return None
    if text == "keep":
        return ()
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f'{option} "{text}": give auto, keep, a number, or numbers with commas') from None
    for value in values:
        if not low <= value <= high or (open_low and value == low):
            raise OptionError(f"{option} {value:g}: must lie between {low:g} and {high:g}")
    return tuple(dict.fromkeys(values))


def pixel_of(text: str) -> float | None:
    """ "auto" is None, else a threshold above 0. OptionError for anything else."""
    if text == "auto":
        return None
    value = _number(text)
    if value is None or not value > 0:
        raise OptionError(f'--pixel "{text}": give auto or a threshold above 0')
    return value


def area_of(text: str, mm_per_pixel: float | None) -> float:
    """An area in pixels of the pictures: "12", "12px", or "0.5mm2" (also mm²), which needs the size of a pixel."""
    if mm_per_pixel is not None and not (math.isfinite(mm_per_pixel) and mm_per_pixel > 0):
        raise OptionError(f"--mm-per-pixel {mm_per_pixel:g}: must be above 0")
    plain = text.strip().lower().replace("²", "2")
    in_mm = plain.endswith("mm2")
    value = _number(plain.removesuffix("mm2").removesuffix("px"))
    if value is None or not value > 0:
        raise OptionError(f'--min-area "{text}": give pixels, such as 12, or square millimetres, such as 0.5mm2')
    if not in_mm:
        return value
    if mm_per_pixel is None:
        raise OptionError(f'--min-area "{text}" needs --mm-per-pixel, the size of a pixel of the pictures in mm')
    return value / mm_per_pixel**2


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
