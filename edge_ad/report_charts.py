"""Charts of the report, drawn as inline SVG; colours come from the page's CSS variables, so they follow its theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 16, 36
BINS = 24


def unit_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    diagonal: bool = False,
) -> str:
    """A chart of lines in the unit square.

    Args:
        title: for those who cannot see it.
        x_label: under the x axis.
        y_label: beside the y axis.
        lines: (CSS class, x values in 0..1, y values in 0..1) each.
        diagonal: also draw the line of chance.

    Returns:
        An `<svg>` element.
    """
    parts = [_unit_axes(x_label, y_label)]
    if diagonal:
        parts.append(f'<line class="chance" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    for css, xs, ys in lines:
        points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in zip(xs, ys))
        parts.append(f'<polyline class="line {css}" points="{points}"/>')
    return _svg(title, parts)


def histogram(
    title: str,
    good: NDArray[Any] | Sequence[float],
    bad: NDArray[Any] | Sequence[float],
    threshold: float | None,
    threshold_label: str,
) -> str:
    """Scores of good images (upwards) and bad ones (downwards) with the threshold as a line.

    Args:
        title: for those who cannot see it.
        good: scores of the good images.
        bad: scores of the bad ones.
        threshold: where to draw the line; None draws none.
        threshold_label: what the line is called.

    Returns:
        An `<svg>` element.
    """
    values = np.concatenate([np.asarray(good, float), np.asarray(bad, float), [] if threshold is None else [threshold]])
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.03 or max(abs(high), 1e-6) * 0.05
    low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(np.asarray(scores, float), edges)[0] for scores in (good, bad)]
    top = [max(int(count.max()), 0) for count in counts]
    # One scale for both, with the zero line where the two tallest bars fit.
    span = HEIGHT - TOP - BOTTOM
    scale = (span - 6) / max(sum(top), 1)
    zero = TOP + 3 + top[0] * scale
    bar = (WIDTH - LEFT - RIGHT) / BINS
    parts = []
    for count, css, word in zip(counts, ("good", "bad"), ("good", "bad")):
        for index, number in enumerate(count):
            if number:
                height = number * scale
                y = zero - height if css == "good" else zero
                tip = f"{number} {word}, score {edges[index]:.4g} to {edges[index + 1]:.4g}"
                parts.append(
                    f'<rect class="bar {css}" x="{LEFT + index * bar + 0.5:.1f}" y="{y:.1f}" width="{bar - 1:.1f}" '
                    f'height="{height:.1f}"><title>{escape(tip)}</title></rect>'
                )
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{zero:.1f}" x2="{WIDTH - RIGHT}" y2="{zero:.1f}"/>')
    for word, number, y in (("good", top[0], (TOP + zero) / 2), ("bad", top[1], (zero + HEIGHT - BOTTOM) / 2)):
        if number:
            parts.append(
                f'<text class="label {word}" transform="translate(14 {y:.1f}) rotate(-90)" '
                f'text-anchor="middle">{word}</text>'
            )
    for number, y in ((top[0], zero - top[0] * scale), (top[1], zero + top[1] * scale)):
        if number:
            parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{number}</text>')
    for part in (0.0, 0.5, 1.0):
        x = LEFT + part * (WIDTH - LEFT - RIGHT)
        anchor = {0.0: "start", 1.0: "end"}.get(part, "middle")
        text = f"{low + part * (high - low):.3g}"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="{anchor}">{text}</text>')
    parts.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">score</text>'
    )
    if threshold is not None:
        x = LEFT + (threshold - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        anchor = "start" if x < WIDTH / 3 else "end" if x > WIDTH * 2 / 3 else "middle"
        parts.append(f'<line class="threshold" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="legend" x="{x:.1f}" y="{TOP - 3}" text-anchor="{anchor}">'
            f"{escape(threshold_label)} {threshold:.4g}</text>"
        )
    return _svg(title, parts)


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)


def _svg(title: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>' + "".join(parts) + "</svg>"


def _unit_axes(x_label: str, y_label: str) -> str:
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _x(value), _y(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        if value in (0.0, 0.5, 1.0):
            text = f"{value:g}"
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{text}</text>'
                f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text class="label" transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)
