"""Charts of the calibration page, inline SVG in the style of `edge_ad.report_charts`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 320, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 16, 36

Line = tuple[str, Sequence[float], Sequence[float]]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    bars: Sequence[tuple[float, float, float]] = (),
    diagonal: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """Lines over two axes.

    Args:
        title: for those who cannot see it.
        x_label: under the x axis.
        y_label: beside the y axis.
        lines: (CSS class, x values, y values) each.
        x_range: lowest and highest x shown.
        y_range: lowest and highest y shown.
        bars: (x, low, high) of vertical bars, such as a spread.
        diagonal: also draw where y is x.
        mark: an x value to mark by a line, and what it is called.

    Returns:
        An `<svg>` element.
    """
    (x0, x1), (y0, y1) = _widened(x_range), _widened(y_range)

    def place_x(value: float) -> float:
        return LEFT + (min(max(value, x0), x1) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def place_y(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, y0), y1) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for step in range(5):
        x, y = x0 + step / 4 * (x1 - x0), y0 + step / 4 * (y1 - y0)
        px, py = place_x(x), place_y(y)
        parts.append(f'<line class="grid" x1="{px:.1f}" y1="{TOP}" x2="{px:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{py:.1f}" x2="{WIDTH - RIGHT}" y2="{py:.1f}"/>')
        if step % 2 == 0:
            parts.append(
                f'<text class="tick" x="{px:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{x:.2g}</text>'
                f'<text class="tick" x="{LEFT - 5}" y="{py + 4:.1f}" text-anchor="end">{y:.2g}</text>'
            )
    if diagonal:
        low, high = max(x0, y0), min(x1, y1)
        parts.append(
            f'<line class="chance" x1="{place_x(low):.1f}" y1="{place_y(low):.1f}" x2="{place_x(high):.1f}" '
            f'y2="{place_y(high):.1f}"/>'
        )
    for x, low, high in bars:
        px = place_x(x)
        parts.append(
            f'<line class="axis" x1="{px:.1f}" y1="{place_y(low):.1f}" x2="{px:.1f}" y2="{place_y(high):.1f}"/>'
        )
    for css, xs, ys in lines:
        points = [(place_x(x), place_y(y)) for x, y in zip(xs, ys)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line {css}" points="{joined}"/>')
        for (px, py), x, y in zip(points, xs, ys):
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="currentColor"><title>'
                f"{escape(f'{x_label} {x:.4g}, {y_label} {y:.4g}')}</title></circle>"
            )
    if mark is not None:
        px = place_x(mark[0])
        anchor = "start" if px < WIDTH / 3 else "end" if px > WIDTH * 2 / 3 else "middle"
        parts.append(f'<line class="threshold" x1="{px:.1f}" y1="{TOP}" x2="{px:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="legend" x="{px:.1f}" y="{TOP - 3}" text-anchor="{anchor}">{escape(mark[1])}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text class="label" transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>{"".join(parts)}</svg>'


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    return (low, high) if high > low else (low - 0.5 * max(abs(low), 1e-6), low + 0.5 * max(abs(low), 1e-6))
