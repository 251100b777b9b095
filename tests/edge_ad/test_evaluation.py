"""Evaluation with a real, small detector."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edge_ad import metrics
from edge_ad.dataset import Sample, load_dataset
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.evaluation import METRICS, Evaluation, evaluate, limited, load, percent, text_table
from edge_ad.images import read_image, read_mask, resize_mask

PLATE = '<b>&"plate"'


def test_the_json_has_its_documented_shape(parts, detector):
    result = evaluate(detector, parts, settings={"seed": 5})
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert list(summary) == ["categories", "mean", "seconds_per_image", "decisions", "settings"]
    assert list(summary["categories"]) == [PLATE, "disc"]
    for values in summary["categories"].values():
        assert tuple(values) == METRICS
        assert all(0 <= value <= 1 for value in values.values())
    for name, value in summary["mean"].items():
        assert value == pytest.approx(np.mean([values[name] for values in summary["categories"].values()]))
    assert summary["seconds_per_image"] > 0
    assert summary["settings"]["plan"] == "pixels"
    assert summary["settings"]["seed"] == 5
    assert summary["settings"]["images"] == 28


def test_metrics_are_those_of_the_detectors_scores(parts, detector):
    result = evaluate(detector, parts).categories["disc"]
    samples = parts["disc"].test
    found = [detector.inspect(read_image(s.path), "disc") for s in samples]
    labels = [s.is_bad for s in samples]
    assert result.metrics["image_auroc"] == metrics.auroc(labels, [f.score for f in found])
    masks = [resize_mask(read_mask(s.mask, (48, 64)), 32) if s.mask else np.zeros((32, 32), bool) for s in samples]
    maps = np.stack([f.score_map for f in found])
    assert result.metrics["pixel_auroc"] == metrics.auroc(np.stack(masks), maps)
    assert result.metrics["pro"] == metrics.pro(maps, masks)
    assert result.metrics["pixel_auroc"] > 0.7


def test_without_calibration_the_threshold_is_f1max_and_says_so(parts, detector, make_detector):
    result = evaluate(detector, parts).categories["disc"]
    assert result.threshold_source == "f1max"
    assert {sample.verdict for sample in result.samples} == {"good", "bad"}
    for sample in result.samples:
        assert (sample.verdict == "bad") == (sample.score >= result.threshold)
    calibrated = evaluate(make_detector(parts, thresholds={"disc": 1e6}), parts)
    assert calibrated.categories["disc"].threshold_source == "calibrated"
    assert calibrated.categories[PLATE].threshold_source == "f1max"
    assert calibrated.categories["disc"].decisions() == {
        "threshold": 1e6, "threshold_source": "calibrated", "good": 6, "bad": 8,
        "false_alarms": 0, "missed": 8, "undecided": 0,
    }  # fmt: skip


def test_one_class_has_no_metrics_and_no_verdicts(parts, detector):
    only_good = replace(
        parts, categories=[replace(c, test=[s for s in c.test if not s.is_bad]) for c in parts.categories]
    )
    result = evaluate(detector, only_good)
    assert set(result.mean().values()) == {None}
    disc = result.categories["disc"]
    assert (disc.threshold, disc.threshold_source) == (None, None)
    assert {sample.outcome for sample in disc.samples} == {"undecided"}
    assert "–" in text_table(result)


def test_without_masks_there_are_image_metrics_only(parts, detector):
    unmasked = replace(
        parts, categories=[replace(c, test=[replace(s, mask=None) for s in c.test]) for c in parts.categories]
    )
    values = evaluate(detector, unmasked).categories["disc"].metrics
    assert values["image_auroc"] is not None
    assert values["pixel_auroc"] is values["pro"] is None


def test_what_is_stored_loads_again(parts, detector, tmp_path):
    result = evaluate(detector, parts, folder=tmp_path)
    assert load(tmp_path) == result
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 28
    assert {row["category"] for row in rows} == {PLATE, "disc"}
    assert float(rows[0]["score"]) == pytest.approx(result.categories[PLATE].samples[0].score, rel=1e-5)
    for category in result.categories.values():
        for sample in category.samples:
            assert set(sample.previews) == {"image", "heatmap", "inpainted"} | ({"mask"} if sample.is_bad else set())
            for name in sample.previews.values():
                assert max(read_image(tmp_path / name).shape) <= 160


def test_a_damaged_or_newer_store(parts, detector, tmp_path):
    with pytest.raises(InputError, match=r"no report\.json here"):
        load(tmp_path)
    evaluate(detector, parts, folder=tmp_path)
    file = tmp_path / "report.json"
    good = file.read_text()
    file.write_text(good[: len(good) // 2])
    with pytest.raises(InputError, match=r"report\.json: damaged"):
        load(tmp_path)
    file.write_text(good.replace('"is_bad": true', '"is_bad": "perhaps"'))
    with pytest.raises(InputError, match=r"damaged at categories\..*is_bad"):
        load(tmp_path)
    file.write_text(good.replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(InputError, match="newer edge-ad"):
        load(tmp_path)


def test_limits_keep_both_classes(tmp_path):
    samples = [Sample(tmp_path / f"{i}.png", "x", None, is_bad=i < 30) for i in range(40)]
    for limit, bad in ((10, 5), (1, 1), (2, 1), (30, 20), (39, 29)):
        chosen = limited(samples, limit)
        assert len(set(chosen)) == limit
        assert sum(s.is_bad for s in chosen) == bad
        assert chosen == sorted(chosen, key=samples.index)
    assert limited(samples, None) == limited(samples, 100) == samples


def test_refusals(parts, detector, tmp_path):
    with pytest.raises(OptionError, match="--limit 0"):
        evaluate(detector, parts, limit=0)
    detector.categories = ["disc"]
    with pytest.raises(OptionError, match=r"no category .*plate.*; it has: disc"):
        evaluate(detector, parts)


def test_a_mask_of_the_wrong_size_names_both_sizes(tmp_path, parts_folder, detector):
    import shutil

    shutil.copytree(parts_folder / "disc", tmp_path / "disc")
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(tmp_path / "disc/ground_truth/stain/000_mask.png")
    with pytest.raises(InputError, match=r"000_mask\.png: the mask is 20x10 pixels but its image is 64x48"):
        evaluate(detector, load_dataset(tmp_path, need_test=True))


def test_a_score_that_is_no_number_is_the_bundles_fault(parts, detector):
    mean, _ = detector.statistics["disc"]
    detector.statistics["disc"] = mean, float("nan")
    with pytest.raises(BundleError, match="not a finite number"):
        evaluate(detector, parts)


def test_percent():
    assert (percent(None), percent(1.0), percent(0.12345)) == ("–", "100.0", "12.3")
    assert isinstance(Evaluation(categories={}, seconds_per_image=0.1, settings={}).mean(), dict)
