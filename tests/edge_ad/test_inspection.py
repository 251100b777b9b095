"""Inspecting files: records, pictures, categories, and what is left behind when something is wrong."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edge_ad.errors import InputError, OptionError
from edge_ad.images import read_image
from edge_ad.inspection import find_jobs, heat_range, infer_category, inspect_files
from edge_ad.runtime import Detector

NAMES = ['<b>&"plate"', "disc"]


@pytest.fixture
def calibrated(parts, make_detector):
    return make_detector(parts, thresholds=dict.fromkeys(NAMES, 6.0))


def test_a_folder_of_categories(parts_folder, calibrated, tmp_path):
    jobs = find_jobs([parts_folder / "disc" / "test", parts_folder / NAMES[0] / "test"], NAMES, None)
    assert [job.category for job in jobs] == ["disc"] * 14 + [NAMES[0]] * 14
    assert len({job.name for job in jobs}) == 28
    counts = inspect_files(calibrated, jobs, tmp_path / "out", inpainted=True)
    assert counts.total == 28
    assert counts.bad >= 10
    assert counts.good >= 12
    assert counts.failed == counts.undecided == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [record["image"] for record in records] == [str(job.path) for job in jobs]
    for record, row in zip(records, rows):
        assert (record["verdict"] == "bad") == (record["score"] >= record["threshold"])
        assert row["verdict"] == record["verdict"]
        assert int(row["regions"]) == len(record["regions"])
        assert read_image(tmp_path / "out" / record["heatmap"]).shape == read_image(record["image"]).shape
        assert read_image(tmp_path / "out" / record["inpainted"]).shape == (32, 32, 3)
    stain = next(record for record in records if "disc/test/stain" in record["image"])
    assert set(stain["regions"][0]) == {"x", "y", "width", "height", "area", "peak"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "heatmaps", "inpainted", "results.csv", "results.jsonl",
    ]  # fmt: skip


def test_the_time_of_an_inspection_is_counted_once(tiny_bundle, parts_folder, tmp_path):
    detector = Detector.load(tiny_bundle, provider="cpu", threads=1)
    records = []
    jobs = find_jobs([parts_folder / "disc" / "test" / "good" / "000.png"], ["ring"], "ring")
    inspect_files(detector, jobs, tmp_path / "out", seen=lambda job, record: records.append(record))
    assert records[0]["seconds"] == records[0]["times"]["total"] > records[0]["times"]["denoise"] > 0


def test_an_unreadable_image_is_recorded_and_the_rest_goes_on(parts_folder, calibrated, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"not a picture")
    Image.open(parts_folder / "disc" / "test" / "good" / "000.png").save(tmp_path / "in" / "b.png")
    seen = []
    jobs = find_jobs([tmp_path / "in"], NAMES, "disc")
    counts = inspect_files(calibrated, jobs, tmp_path / "out", seen=lambda job, record: seen.append(record))
    assert (counts.failed, counts.good) == (1, 1)
    assert "a.png: is not an image" in seen[0]["error"]
    assert "not an image" in (tmp_path / "out" / "results.csv").read_text()


def test_a_crash_leaves_no_half_written_tables(parts_folder, calibrated, tmp_path):
    jobs = find_jobs([parts_folder / "disc" / "test"], NAMES, None)

    def stop(job, record):
        if job == jobs[2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_files(calibrated, jobs, tmp_path / "out", seen=stop)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["heatmaps"]


@pytest.mark.parametrize("broken", ["no number", "no map"])
def test_a_picture_without_a_score_is_recorded_and_the_rest_goes_on(broken, parts_folder, calibrated, tmp_path):
    mean, deviation = calibrated.statistics["disc"]
    calibrated.statistics["disc"] = (mean * np.nan if broken == "no number" else mean[:5]), deviation
    jobs = find_jobs([parts_folder / "disc/test/stain", parts_folder / NAMES[0] / "test/good"], NAMES, None)
    counts = inspect_files(calibrated, jobs, tmp_path / "out")
    assert (counts.failed, counts.total) == (5, 11)
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert records[0]["error"].startswith(f"{jobs[0].path}: cannot be decided: ")
    assert "verdict" not in records[0]
    assert len(list((tmp_path / "out" / "heatmaps").iterdir())) == 6


def test_results_of_an_earlier_run_are_not_inspected(parts_folder, calibrated, tmp_path):
    parts = shutil.copytree(parts_folder / "disc" / "test" / "good", tmp_path / "disc")
    for out in (parts / "out", parts):
        for _ in range(2):
            jobs = find_jobs([parts], NAMES, None, out)
            assert inspect_files(calibrated, jobs, out, inpainted=True).total == 6
        shutil.rmtree(out / "heatmaps")
        shutil.rmtree(out / "inpainted")
    assert find_jobs([parts / "000.png"], NAMES, None, tmp_path)


def test_which_category(tmp_path):
    both = tmp_path / "disc" / "plate" / "x.png"
    assert infer_category(tmp_path / "disc" / "test" / "x.png", ["disc", "plate"]) == "disc"
    assert infer_category(tmp_path / "x.png", ["disc"]) == "disc"
    (tmp_path / "pool" / "plate").mkdir(parents=True)
    (tmp_path / "pool" / "plate" / "1.png").touch()
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc" / "1.png").symlink_to(tmp_path / "pool" / "plate" / "1.png")
    assert infer_category(tmp_path / "disc" / "1.png", ["disc", "plate"]) == "disc"
    with pytest.raises(OptionError, match="name disc and plate; give --category, one of: disc, plate"):
        infer_category(both, ["disc", "plate"])
    with pytest.raises(OptionError, match=r"no folder above it .* one of: disc, plate"):
        infer_category(tmp_path / "x.png", ["disc", "plate"])


def test_wrong_inputs(tmp_path):
    with pytest.raises(OptionError, match=r"--category zip: .* it has: disc"):
        find_jobs([tmp_path], ["disc"], "zip")
    with pytest.raises(InputError, match="no images found"):
        find_jobs([tmp_path], ["disc"], None)
    with pytest.raises(InputError, match=r"no\.png: no such file or folder"):
        find_jobs([tmp_path / "no.png"], ["disc"], None)


def test_names_stay_apart_and_files_come_once(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / place / "x.png")
    jobs = find_jobs([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.png"], ["disc"], None)
    assert [str(job.name) for job in jobs] == ["x", "x-2"]


def test_colours_follow_the_threshold(parts_folder, calibrated, detector):
    image = read_image(parts_folder / "disc" / "test" / "good" / "000.png")
    assert heat_range(calibrated.inspect(image, "disc")) == (3.0, 12.0)
    low, high = heat_range(detector.inspect(image, "disc"))
    assert low < high
