"""Numbers for people: SI prefixes and times."""

from __future__ import annotations

import math

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def si(value: float, unit: str = "") -> str:
    """Three digits with a decimal prefix: 3.05e9 with "FLOP" is "3.05 GFLOP"; below 1,000 "12 B"."""
    power = min(int(math.log10(abs(value)) // 3), len(_PREFIXES) - 1) if abs(value) >= 1000 else 0
    scaled = value / 1000**power
    if abs(scaled) >= 999.5 and power + 1 < len(_PREFIXES):  # would be written 1000
        power, scaled = power + 1, scaled / 1000
    digits = 0 if power == 0 and float(value).is_integer() else max(2 - int(math.log10(max(abs(scaled), 1))), 0)
    return f"{scaled:.{digits}f} {_PREFIXES[power]}{unit}".strip()


def seconds(value: float) -> str:
    """Milliseconds below a second ("57.2 ms"), seconds above ("12.3 s")."""
    return f"{value * 1000:.{1 if value < 0.1 else 0}f} ms" if value < 1 else f"{value:.{2 if value < 10 else 1}f} s"
