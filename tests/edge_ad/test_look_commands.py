"""`inspect`, `evaluate` and `report` on a real bundle, through the command line's own entry."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edge_ad.cli import run
from edge_ad.evaluation import METRICS
from edge_ad.files import sha256_file


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_shots):
    """Test images of the tiny bundle's categories in the MVTec AD layout, and one category that it lacks."""
    root = tmp_path_factory.mktemp("data")
    for name, paths in {**tiny_shots, "unknown": next(iter(tiny_shots.values()))}.items():
        for i, path in enumerate(paths[:2]):
            image = np.array(Image.open(path))
            for kind in ("good", "spot"):
                folder = root / name / "test" / kind
                folder.mkdir(parents=True, exist_ok=True)
                mask = np.zeros(image.shape[:2], np.uint8)
                mask[30:50, 20:40] = 255
                if kind == "spot":
                    image[mask > 0] = 255 - image[mask > 0]
                    truth = root / name / "ground_truth" / kind
                    truth.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(truth / f"{i}_mask.png")
                Image.fromarray(image).save(folder / f"{i}.png")
    return root


def test_little_memory_splits_the_work_and_changes_nothing(tiny_bundle, tiny_shots, tmp_path, capsys):
    image, rows = str(tiny_shots["ring"][0]), []
    for memory in ([], ["--memory", "1e-9"]):
        out = tmp_path / f"out{len(memory)}"
        options = ["--category", "ring", "--provider", "cpu", "--out", str(out), *memory]
        assert run(["inspect", str(tiny_bundle), image, *options]) == 0
        rows.append(json.loads((out / "results.jsonl").read_text()))
    assert rows[0]["score"] == pytest.approx(rows[1]["score"], rel=1e-4)
    assert run(["inspect", str(tiny_bundle), image, "--out", str(tmp_path / "x"), "--memory", "0"]) == 2
    assert "--memory" in capsys.readouterr().err


def test_evaluate_and_report(tiny_bundle, data, tmp_path, capsys):
    out, report = tmp_path / "m.json", tmp_path / "report"
    options = ["--plan", "grouped", "--json", str(out), "--report", str(report), "--provider", "cpu", "--seed", "3"]
    assert run(["evaluate", str(tiny_bundle), str(data), *options]) == 0
    printed = capsys.readouterr()
    assert "left out, since the bundle has no such category: unknown" in printed.err
    assert "pixel_auroc" in printed.out
    summary = json.loads(out.read_text())
    assert set(summary["categories"]) == {"ring", "weave"}
    assert set(summary["mean"]) == set(METRICS)
    assert all(0 <= value <= 1 for value in summary["mean"].values())
    assert summary["settings"]["plan"] == "grouped"
    assert summary["settings"]["seed"] == 3
    page = (report / "index.html").read_text()
    (report / "index.html").unlink()
    assert run(["report", str(report)]) == 0
    assert (report / "index.html").read_text() == page
    # An earlier report is replaced; a folder with anything else in it is not.
    assert (
        run(["evaluate", str(tiny_bundle), str(data), "--categories", "ring", "--limit", "1", "--report", str(report)])
        == 0
    )
    assert "weave" not in (report / "index.html").read_text()
    assert run(["evaluate", str(tiny_bundle), str(data), "--report", str(data)]) == 2


def test_inspect(tiny_bundle, data, tmp_path, capsys):
    out = tmp_path / "out"
    folder = data / "ring" / "test"
    assert run(["inspect", str(tiny_bundle), str(folder), "--out", str(out), "--inpainted", "--provider", "cpu"]) == 0
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(records) == 4
    assert {record["category"] for record in records} == {"ring"}
    for record in records:
        assert (out / record["heatmap"]).is_file()
        assert (out / record["inpainted"]).is_file()
    assert "4 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evaluate", "BUNDLE", "DATA", "--categories", "zip"], 1, "no category zip; it has: ring, unknown, weave"),
        (["evaluate", "BUNDLE", "DATA", "--categories", "unknown"], 2, "the bundle has no category unknown"),
        (["evaluate", "BUNDLE", "EMPTY"], 1, "no images found"),
        (["evaluate", "EMPTY", "DATA"], 1, "manifest"),
        (["evaluate", "BUNDLE", "DATA", "--limit", "0"], 2, "--limit 0"),
        (["evaluate", "BUNDLE", "DATA", "--plan", "none"], 1, "none"),
        (["inspect", "BUNDLE", "EMPTY", "--out", "OUT"], 1, "no images found"),
        (["inspect", "BUNDLE", "DATA/missing.png", "--out", "OUT"], 1, "missing.png: no such file"),
        (["inspect", "BUNDLE", "DATA/unknown", "--out", "OUT"], 2, "give --category, one of: ring, weave"),
        (["inspect", "BUNDLE", "DATA/ring", "--category", "zip", "--out", "OUT"], 2, "it has: ring, weave"),
        (["report", "EMPTY"], 1, "no report.json here"),
    ],
)
def test_what_is_wrong_is_one_sentence(tiny_bundle, data, tmp_path, capsys, arguments, code, message):
    (tmp_path / "empty").mkdir()
    places = {"BUNDLE": tiny_bundle, "DATA": data, "EMPTY": tmp_path / "empty", "OUT": tmp_path / "out"}
    for word, place in places.items():
        arguments = [
            argument.replace(word, str(place)) if argument.startswith(word) else argument for argument in arguments
        ]
    assert run(arguments) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
    assert "Traceback" not in "".join(error)
    assert not (tmp_path / "out").exists()


def test_an_unreadable_picture_fails_the_run_but_not_the_others(tiny_bundle, data, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no")
    Image.open(data / "ring" / "test" / "good" / "0.png").save(tmp_path / "in" / "b.png")
    out = tmp_path / "out"
    assert run(["inspect", str(tiny_bundle), str(tmp_path / "in"), "--category", "ring", "--out", str(out)]) == 1
    assert "a.png: is not an image" in capsys.readouterr().err
    assert len((out / "results.jsonl").read_text().splitlines()) == 2


def test_rejected_parts_change_the_exit_code_when_asked_to(tiny_bundle, data, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for category in manifest["categories"].values():
        category["thresholds"] = {"grouped": {"fp32": 0.0}}  # every score reaches it
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "manifest.sha256").write_text(sha256_file(bundle / "manifest.json") + "\n")
    line = ["inspect", str(bundle), str(data / "ring"), "--plan", "grouped", "--provider", "cpu", "--out"]
    assert run([*line, str(tmp_path / "a")]) == 0
    assert run([*line, str(tmp_path / "b"), "--fail-on-reject"]) == 3
    records = [json.loads(text) for text in (tmp_path / "b" / "results.jsonl").read_text().splitlines()]
    assert {record["verdict"] for record in records} == {"bad"}
    assert all(record["regions"] for record in records)
