"""The report of an evaluation: one HTML page that holds everything it shows."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from edge_ad.errors import InputError, OptionError
from edge_ad.evaluation import METRICS, STORED, CategoryResult, Evaluation, SampleRecord, load, percent
from edge_ad.files import write_text
from edge_ad.report_charts import histogram, unit_chart
from edge_ad.report_style import CSS, JS

#: The page's file name inside the report folder.
PAGE = "index.html"
#: Images shown a category unless asked otherwise; the errors come first, so they are the last to be left out.
GALLERY = 60

_HEADS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "pro": "PRO",
}
_SOURCES = {"calibrated": "calibrated", "f1max": "F1-max of these images"}
_VIEWS = {"image": "image", "mask": "true mask", "heatmap": "score map", "inpainted": "should look like"}
_KINDS = {".jpg": "image/jpeg", ".png": "image/png"}


def write_report(folder: Path, *, gallery: int = GALLERY) -> Path:
    """Draw the page from the data that `evaluate` left in a folder.

    Args:
        folder: holds `report.json` and the previews.
        gallery: images shown a category at most, the worst errors first.

    Returns:
        The page written, `folder/index.html`.

    Raises:
        InputError: the folder holds no evaluation, or is damaged.
        OptionError: `gallery` is negative.
    """
    if gallery < 0:
        raise OptionError(f"--gallery {gallery}: give 0 or more")
    folder = Path(folder)
    page = folder / PAGE
    write_text(page, build_page(load(folder), folder, gallery=gallery))
    return page


def check_folder(folder: Path) -> None:
    """Refuse, before any work, to replace a folder that is not an earlier report.

    Raises:
        OptionError: `folder` exists and holds something else.
    """
    if not folder.exists() or (folder / STORED).is_file():
        return
    if not folder.is_dir():
        raise OptionError(f"--report {folder}: is a file; name a folder")
    if any(folder.iterdir()):
        raise OptionError(f"--report {folder}: holds other files, which would be lost; name a new folder")


def worst_first(category: CategoryResult) -> list[SampleRecord]:
    """The samples by how wrong their scores are: good ones scored high and bad ones scored low come first."""
    threshold = category.threshold or 0.0
    return sorted(
        category.samples, key=lambda s: threshold - s.score if s.is_bad else s.score - threshold, reverse=True
    )


def build_page(result: Evaluation, folder: Path, *, gallery: int = GALLERY) -> str:
    """The page as text; `folder` holds the previews that are embedded. InputError if one cannot be read."""
    sections = [
        _category(index, name, category, folder, gallery)
        for index, (name, category) in enumerate(result.categories.items())
    ]
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in result.categories)
    buttons = "".join(
        f'<button type="button" value="{value}" aria-pressed="false">{text}</button>'
        for value, text in (
            ("all", "All"), ("errors", "Errors"), ("missed", "Missed"), ("false alarm", "False alarms"),
            ("is-bad", "Bad parts"), ("is-good", "Good parts"),
        )
    )  # fmt: skip
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edge-ad evaluation</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>Evaluation</h1>
{_settings(result)}
{_tiles(result)}
<h2>Metrics, in per cent</h2>
<div class="card scroll">{_metrics_table(result)}</div>
<h2>Decisions</h2>
<div class="card scroll">{_decisions_table(result)}</div>
{_threshold_note(result)}
<div class="filters">
<label>Category <select id="category"><option value="">all</option>{options}</select></label>
{buttons}<output></output>
</div>
{"".join(sections)}
<footer>Written by edge-ad {escape(str(result.settings.get("edge_ad", "")))}. A score map's colours share one scale
within a category. The page holds everything it shows and loads nothing.</footer>
</main>
<script>{JS}</script>
</body>
</html>
"""


def _settings(result: Evaluation) -> str:
    items = "".join(
        f"<span>{escape(name.replace('_', ' '))} <b>{escape(_shown(value))}</b></span>"
        for name, value in result.settings.items()
        if value is not None
    )
    return f'<div class="settings">{items}</div>'


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tiles(result: Evaluation) -> str:
    mean = result.mean()
    totals = [category.decisions() for category in result.categories.values()]
    count = {key: sum(total[key] for total in totals) for key in ("good", "bad", "false_alarms", "missed")}
    seconds = result.seconds_per_image
    time = f"{seconds:.2f} <small>s</small>" if seconds >= 1 else f"{1000 * seconds:.0f} <small>ms</small>"
    tiles = [
        (f"{percent(mean.get('image_auroc'))} <small>%</small>", "image AUROC, mean"),
        (f"{percent(mean.get('pixel_auroc'))} <small>%</small>", "pixel AUROC, mean"),
        (f"{percent(mean.get('pro'))} <small>%</small>", "PRO, mean"),
        (f"{count['missed']} <small>of {count['bad']}</small>", "bad parts missed"),
        (f"{count['false_alarms']} <small>of {count['good']}</small>", "false alarms"),
        (time, "an image"),
    ]
    return '<div class="tiles">' + "".join(
        f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles
    ) + "</div>"  # fmt: skip


def _metrics_table(result: Evaluation) -> str:
    head = "<th>category</th>" + "".join(f"<th>{_HEADS[metric]}</th>" for metric in METRICS)
    rows = [
        f'<tr><td><a href="#category-{index}">{escape(name)}</a></td>{_cells(category.metrics)}</tr>'
        for index, (name, category) in enumerate(result.categories.items())
    ]
    if len(rows) > 1:
        rows.append(f'<tr class="mean"><td>mean</td>{_cells(result.mean())}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cells(values: dict[str, float | None]) -> str:
    return "".join(f"<td>{percent(values.get(metric))}</td>" for metric in METRICS)


def _decisions_table(result: Evaluation) -> str:
    rows = []
    for name, category in result.categories.items():
        counts = category.decisions()
        limit = "–" if category.threshold is None else f"{category.threshold:.4g}"
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{limit}</td>"
            f"<td>{_SOURCES.get(category.threshold_source or '', 'none')}</td>"
            f"<td>{counts['false_alarms']} of {counts['good']}</td><td>{counts['missed']} of {counts['bad']}</td></tr>"
        )
    head = "<th>category</th><th>threshold</th><th>where from</th><th>false alarms</th><th>bad parts missed</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _threshold_note(result: Evaluation) -> str:
    if all(category.threshold_source != "f1max" for category in result.categories.values()):
        return ""
    return (
        '<p class="soft">A threshold marked F1-max was chosen on these very test images, since the bundle has none '
        "calibrated: expect more errors in use than its counts show.</p>"
    )


def _category(index: int, name: str, category: CategoryResult, folder: Path, gallery: int) -> str:
    samples = worst_first(category)
    shown = samples[:gallery]
    figures = "".join(_figure(name, sample, folder) for sample in shown)
    some = f", {len(shown)} of {len(samples)} images" if len(shown) < len(samples) else ""
    return (
        f'<section data-category="{escape(name)}"><h2 id="category-{index}">{escape(name)}</h2>'
        f'<div class="charts">{_charts(name, category)}</div>'
        f'<p class="soft">The worst errors first{some}.</p><div class="gallery">{figures}</div></section>'
    )


def _charts(name: str, category: CategoryResult) -> str:
    good = [sample.score for sample in category.samples if not sample.is_bad]
    bad = [sample.score for sample in category.samples if sample.is_bad]
    label = {"calibrated": "threshold", "f1max": "F1-max"}.get(category.threshold_source or "", "")
    charts = [
        (
            "Scores of the images",
            "<span>good upwards, bad downwards</span>",
            histogram(f"{name}: scores", good, bad, category.threshold, label),
        )
    ]
    for kind, title, axes, metric in (
        ("roc", "ROC", ("false-positive rate", "true-positive rate"), "auroc"),
        ("pr", "Precision and recall", ("recall", "precision"), "ap"),
    ):
        lines, legends = [], []
        for level in ("image", "pixel"):
            curve = category.curves.get(f"{level}_{kind}")
            if curve is not None:
                value = percent(category.metrics.get(f"{level}_{metric}"))
                key = f'<svg viewBox="0 0 20 6"><line class="line {level}" x1="0" y1="3" x2="20" y2="3"/></svg>'
                legends.append(f"<span>{key}{level}s, {metric.upper()} {value}</span>")
                lines.append((level, curve.x, curve.y))
        if lines:
            charts.append(
                (title, "".join(legends), unit_chart(f"{name}: {title}", *axes, lines, diagonal=kind == "roc"))
            )
    return "".join(
        f'<div class="card chart"><div class="legend"><h3>{title}</h3>{legend}</div>{svg}</div>'
        for title, legend, svg in charts
    )


def _figure(category: str, sample: SampleRecord, folder: Path) -> str:
    outcome = sample.outcome
    wrong = outcome in ("missed", "false alarm")
    truth = f"bad: {sample.defect}" if sample.is_bad else "good"
    chip = "alarm" if outcome == "false alarm" else outcome
    verdict = outcome if wrong or outcome == "undecided" else f"called {sample.verdict}"
    name = escape(sample.image.removeprefix(f"{category}/"))
    views = "".join(_view(sample, kind, folder) for kind in _VIEWS)
    return (
        f'<figure class="{"wrong" if wrong else ""}" data-truth="is-{"bad" if sample.is_bad else "good"}" '
        f'data-outcome="{outcome}"><figcaption><span class="name" title="{escape(sample.image)}">{name}</span>'
        f'<span class="chip">{escape(truth)}</span><span class="chip {chip}">{verdict}</span>'
        f'<span class="score">score {sample.score:.4g}</span></figcaption><div class="views">{views}</div></figure>'
    )


def _view(sample: SampleRecord, kind: str, folder: Path) -> str:
    name = sample.previews.get(kind)
    if name is None:
        absent = "no defect" if kind == "mask" and not sample.is_bad else "none"
        return f'<div><span class="none">{absent}</span>{_VIEWS[kind]}</div>'
    return f'<div><img alt="{_VIEWS[kind]} of {escape(sample.image)}" src="{_embed(folder, name)}">{_VIEWS[kind]}</div>'


def _embed(folder: Path, name: str) -> str:
    """A preview as a data URL; only pictures inside the report folder are taken."""
    path = folder / name
    kind = _KINDS.get(path.suffix)
    if kind is None or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / STORED}: names a preview that is none ({name}); run evaluate again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run evaluate again") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
