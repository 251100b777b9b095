"""The report page: complete by itself, escaped, and rebuilt from its folder."""

import re
from html.parser import HTMLParser

import pytest

from edge_ad.errors import InputError, OptionError
from edge_ad.evaluation import CategoryResult, SampleRecord, evaluate
from edge_ad.report import check_folder, worst_first, write_report
from edge_ad.report_charts import histogram, unit_chart

PLATE = '<b>&"plate"'


class Reader(HTMLParser):
    """Elements, attributes and texts; checks that tags nest."""

    VOID = frozenset(["meta", "img", "input", "link", "br"])

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def folder(parts, detector, tmp_path):
    evaluate(detector, parts, folder=tmp_path / "report")
    return tmp_path / "report"


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_is_one_file_that_loads_nothing(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    reader = read(page)
    sources = [a[key] for _, a in reader.elements for key in ("src", "href") if key in a]
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not re.search(r"https?://|@import|url\(", page)
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in reader.elements)


def test_names_are_escaped(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<b>&" not in page
    reader = read(page)
    assert {a.get("data-category") for tag, a in reader.elements if tag == "section"} == {PLATE, "disc"}
    assert PLATE in reader.texts


def test_it_shows_every_image_and_metric(folder):
    reader = read(write_report(folder).read_text(encoding="utf-8"))
    figures = [a for tag, a in reader.elements if tag == "figure"]
    assert len(figures) == 28
    assert {a["data-truth"] for a in figures} == {"is-good", "is-bad"}
    assert len([a for tag, a in reader.elements if tag == "img"]) == 3 * 28 + 16
    assert len([tag for tag, a in reader.elements if tag == "svg" and a.get("role") == "img"]) == 6
    assert {"image AUROC", "pixel AP", "PRO", "mean"} <= set(reader.texts)
    assert any("chosen on these very test images" in text for text in reader.texts)


def test_a_short_gallery_says_so(folder):
    reader = read(write_report(folder, gallery=3).read_text(encoding="utf-8"))
    assert len([tag for tag, _ in reader.elements if tag == "figure"]) == 6
    assert any("3 of 14 images" in text for text in reader.texts)
    with pytest.raises(OptionError, match="--gallery -1"):
        write_report(folder, gallery=-1)


def sample(name, is_bad, score, verdict):
    return SampleRecord(image=name, defect="x", is_bad=is_bad, score=score, verdict=verdict, seconds=0.1)


def test_the_worst_errors_come_first():
    samples = [
        sample("sure good", False, 0.1, "good"),
        sample("worse alarm", False, 0.9, "bad"),
        sample("sure bad", True, 1.5, "bad"),
        sample("missed", True, 0.3, "good"),
        sample("alarm", False, 0.6, "bad"),
    ]
    category = CategoryResult(metrics={}, threshold=0.5, threshold_source="calibrated", samples=samples)
    assert [s.image for s in worst_first(category)] == ["worse alarm", "missed", "alarm", "sure good", "sure bad"]


def test_a_missing_or_foreign_preview(folder, tmp_path):
    some = next((folder / "previews").rglob("*.jpg"))
    content = some.read_bytes()
    some.unlink()
    with pytest.raises(InputError, match=rf"{some.name}: cannot be read"):
        write_report(folder)
    some.write_bytes(content)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    file = folder / "report.json"
    file.write_text(file.read_text().replace(some.relative_to(folder).as_posix(), "../secret.jpg"))
    with pytest.raises(InputError, match="preview that is none"):
        write_report(folder)


def test_a_folder_with_other_files_is_not_replaced(folder, tmp_path):
    check_folder(folder)
    check_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    with pytest.raises(OptionError, match="holds other files"):
        check_folder(tmp_path)
    with pytest.raises(OptionError, match="is a file"):
        check_folder(folder / "scores.csv")


@pytest.mark.parametrize(("good", "bad"), [([0.1], []), ([], [2.0]), ([1.0, 1.0], [1.0]), ([-3.0, 1e9], [0.0])])
@pytest.mark.parametrize("threshold", [None, 1.0])
def test_histograms_of_odd_scores_are_drawn(good, bad, threshold):
    reader = read(histogram("scores <&>", good, bad, threshold, "limit"))
    bars = [a for tag, a in reader.elements if tag == "rect"]
    assert bars
    assert all(float(a["height"]) > 0 and float(a["width"]) > 0 for a in bars)
    assert "scores <&>" in reader.texts
    assert "nan" not in str(reader.elements)


def test_a_line_chart_stays_in_its_frame():
    reader = read(unit_chart("t", "x", "y", [("image", [0, 0.5, 1], [0, 1, 1])], diagonal=True))
    points = next(a["points"] for tag, a in reader.elements if tag == "polyline")
    assert points == "38.0,204.0 174.0,16.0 310.0,16.0"
