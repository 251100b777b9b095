"""The page of a calibration: one HTML file that holds everything it shows, and the same as JSON."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.calibration.charts import line_chart
from edge_ad.calibration.outcome import RATES, Outcome, Result
from edge_ad.files import write_json, write_text
from edge_ad.report_charts import histogram
from edge_ad.report_style import CSS
from edge_ad.version import __version__

PAGE = "index.html"
SUMMARY = "calibration.json"

_RULES = {
    "conformal": "promised (split conformal)",
    "estimate": "ESTIMATE, no promise",
    "f1": "best F1 of the given images",
    "cost": "lowest cost on the given images",
}


def write_page(result: Result, folder: Path) -> Path:
    """Write `index.html` and `calibration.json` into a folder, which is made if missing; the page's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SUMMARY, summary(result))
    write_text(folder / PAGE, build_page(result))
    return folder / PAGE


def summary(result: Result) -> dict[str, Any]:
    """What came out, as plain data."""
    return {
        "edge_ad": __version__,
        "about": result.about,
        "categories": {
            outcome.category: {
                "threshold": outcome.threshold,
                **outcome.entry.model_dump(mode="json", exclude={"scores"}),
                "shortage": outcome.sentence,
                "left_out": outcome.left_out,
                "repeated": outcome.repeated,
                "on_these_images": None
                if outcome.measured is None
                else {"false_rejects": outcome.measured[0], "escapes": outcome.measured[1]},
                "drift": {
                    change.name: {"alarms": change.alarms, "strength": change.strength} for change in outcome.changes
                },
                "no_monitor": outcome.no_monitor,
            }
            for outcome in result.outcomes
        },
    }


def build_page(result: Result) -> str:
    """The page as text."""
    settings = "".join(
        f"<span>{escape(name.replace('_', ' '))} <b>{escape(str(value))}</b></span>"
        for name, value in result.about.items()
    )
    sections = "".join(_section(index, outcome) for index, outcome in enumerate(result.outcomes))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edge-ad calibration</title>
<style>{CSS}
circle {{ color: var(--accent); }} td.wrap {{ white-space: normal; }}</style>
</head>
<body>
<main>
<h1>Calibration</h1>
<div class="settings">{settings}</div>
<div class="card scroll">{_table(result)}</div>
<p class="soft">A promise holds for good parts photographed like those of the calibration, one after the other in no
particular order: over many calibrations, a new good part is rejected at most that often. An estimate is a fit to few
scores and may be far off. Rates of F1 and cost are those on the images they were chosen on.</p>
{sections}
<footer>Written by edge-ad {escape(__version__)}. The page holds everything it shows and loads nothing.</footer>
</main>
</body>
</html>
"""


def _table(result: Result) -> str:
    rows = []
    for index, outcome in enumerate(result.outcomes):
        entry = outcome.entry
        promised = "–" if entry.promised is None else f"{100 * entry.promised:.3g} %"
        rows.append(
            f'<tr><td><a href="#category-{index}">{escape(outcome.category)}</a></td><td>{outcome.threshold:.4g}</td>'
            f"<td>{_RULES[entry.rule]}</td><td>{promised}</td><td>{entry.images}</td><td>{len(outcome.bad)}</td>"
            f"<td>{outcome.left_out}</td><td>{_number(entry.pixel_threshold)}</td><td>{entry.min_area:.4g}</td>"
            f"<td>{'yes' if outcome.model is not None else 'no'}</td></tr>"
        )
    heads = (
        "category", "threshold", "rule", "promised", "good", "bad", "left out", "pixel threshold", "least area, px",
        "drift watched",
    )  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _section(index: int, outcome: Outcome) -> str:
    charts = [_scores(outcome), _levels(outcome), _coverage(outcome), _curve(outcome), _streams(outcome)]
    cards = "".join(f'<div class="card chart">{chart}</div>' for chart in charts if chart)
    note = f"<p>{escape(outcome.line())}</p>"
    left = []
    if outcome.left_out:
        left.append(f"left out, since of the training or used for choosing: {outcome.left_out}")
    if outcome.repeated:
        left.append(f"left out, since there already: {outcome.repeated}")
    if outcome.no_monitor:
        left.append(f"drift cannot be told: {outcome.no_monitor}")
    soft = f'<p class="soft">{escape("; ".join(left))}.</p>' if left else ""
    name = escape(outcome.category)
    return (
        f'<section><h2 id="category-{index}">{name}</h2>{note}{soft}<div class="charts">{cards}</div>'
        f"{_weights(outcome)}{_changes(outcome)}</section>"
    )


def _titled(title: str, legend: str, svg: str) -> str:
    return f'<div class="legend"><h3>{escape(title)}</h3><span>{escape(legend)}</span></div>{svg}'


def _scores(outcome: Outcome) -> str:
    kind = "good upwards, bad downwards"
    if outcome.from_shots:
        kind = f"training images, {'varied' if outcome.alone else 'each without its own prototypes'}"
    svg = histogram(f"{outcome.category}: scores", outcome.good, outcome.bad, outcome.threshold, "threshold")
    return _titled("Scores of the images", kind, svg)


def _levels(outcome: Outcome) -> str:
    svg = histogram(
        f"{outcome.category}: regions", outcome.good_levels, [], outcome.entry.pixel_threshold, "pixel threshold"
    )
    return _titled("Regions on good images", "the pixel threshold below which each would show one", svg)


def _coverage(outcome: Outcome) -> str:
    if outcome.coverage is None:
        return ""
    known = [i for i in range(len(RATES)) if not np.isnan(outcome.coverage[:, i]).all()]
    targets = [RATES[i] for i in known]
    values = outcome.coverage[:, known]
    low, middle, high = np.quantile(values, 0.1, axis=0), values.mean(axis=0), np.quantile(values, 0.9, axis=0)
    top = 1.15 * max(float(high.max()), max(targets))
    svg = line_chart(
        f"{outcome.category}: coverage",
        "rate asked for",
        "good images rejected",
        [("image", targets, middle.tolist())],
        x_range=(0, top),
        y_range=(0, top),
        bars=list(zip(targets, low.tolist(), high.tolist())),
        diagonal=True,
    )
    legend = f"mean of {len(values)} random halvings, 10 to 90 % as bars; at or below the dashed line is as promised"
    return _titled("Does the promise hold?", legend, svg)


def _curve(outcome: Outcome) -> str:
    found = outcome.found
    if found is None or len(found.strengths) < 2:
        return ""
    column = found.best[1]
    values = found.objective[:, column]
    low, high = float(values.min()), float(values.max())
    margin = max(0.1 * (high - low), 0.01)
    svg = line_chart(
        f"{outcome.category}: noise strength",
        "noise strength λ",
        "image AUROC and pixel AP, mean",
        [("image", found.strengths, values.tolist())],
        x_range=(min(found.strengths), max(found.strengths)),
        y_range=(low - margin, min(high + margin, 1.0)),
        mark=(found.strength, f"chosen {found.strength:g}"),
    )
    legend = (
        f"{found.good} good pictures, {found.bad} with synthetic defects; gain {found.gain:.3f} ± {found.error:.3f}"
    )
    return _titled("Noise strength", legend, svg)


def _weights(outcome: Outcome) -> str:
    found = outcome.found
    if found is None or len(found.weights) < 2:
        return ""
    row = found.best[0]
    cells = "".join(
        f'<tr class="{"mean" if j == found.best[1] else ""}"><td>{weights.alpha:g}</td><td>{weights.map_power:g}</td>'
        f"<td>{100 * found.auroc[row, j]:.1f}</td><td>{100 * found.ap[row, j]:.1f}</td>"
        f"<td>{100 * found.objective[row, j]:.1f}</td></tr>"
        for j, weights in enumerate(found.weights)
    )
    heads = "<th>α</th><th>power of the inpainting map</th><th>image AUROC</th><th>pixel AP</th><th>mean</th>"
    return (
        f"<details><summary>Fusion weights at λ {found.strength:g}, on synthetic defects, in per cent</summary>"
        f'<div class="card scroll"><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div></details>'
    )


def _streams(outcome: Outcome) -> str:
    if outcome.streams is None or outcome.model is None:
        return ""
    svg = histogram(f"{outcome.category}: drift", outcome.streams, [], outcome.model.limit, "limit")
    return _titled("Drift statistic of good streams", "the highest of each stream", svg)


def _changes(outcome: Outcome) -> str:
    if not outcome.changes:
        return ""
    rows = "".join(
        f"<tr><td>{escape(change.name)}</td><td>{100 * change.alarms:.0f}</td><td>{change.strength:.2f}</td></tr>"
        for change in outcome.changes
    )
    heads = "<th>change of camera or light</th><th>windows that alarm, %</th><th>statistic / limit</th>"
    return (
        f'<div class="card scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="soft">Tried on good images that the drift model of this table was not made from.</p>'
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
