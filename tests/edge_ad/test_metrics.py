"""Metrics against scikit-learn, and PRO against a plain reference that walks every threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from edge_ad import metrics


@st.composite
def labelled_scores(draw):
    """Both classes present; few distinct values, so that ties are common."""
    count = draw(st.integers(2, 40))
    labels = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    labels[0], labels[1] = True, False
    values = draw(st.sampled_from([st.integers(0, 4), st.floats(-1e3, 1e3, width=32)]))
    return np.array(labels), np.array(draw(st.lists(values, min_size=count, max_size=count)), np.float32)


@st.composite
def maps_and_masks(draw):
    count, side = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    masks = rng.random((count, side, side)) < draw(st.sampled_from([0.1, 0.3, 0.6]))
    masks[0, 0, 0], masks[0, -1, -1] = True, False
    scores = rng.integers(0, draw(st.sampled_from([3, 8, 1000])), masks.shape) + masks * draw(st.integers(0, 4))
    return scores.astype(np.float32), masks


def slow_pro(maps, masks, max_fpr):
    """PRO as its definition reads: a point for every threshold, straight lines between, cut at max_fpr."""
    regions = []
    for i, mask in enumerate(masks):
        left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask))}
        while left:
            stack, region = [left.pop()], []
            while stack:
                y, x = stack.pop()
                region.append((i, y, x))
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                stack += near
            regions.append(region)
    fpr, overlap = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        fpr.append(np.mean(maps[~masks] >= threshold))
        overlap.append(np.mean([np.mean([maps[pixel] >= threshold for pixel in region]) for region in regions]))
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], overlap, overlap[1:]):
        if x1 > max_fpr:
            if x0 < max_fpr:
                y1 = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
                area += (max_fpr - x0) * (y0 + y1) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / max_fpr


@settings(max_examples=60, deadline=None)
@given(labelled_scores())
def test_auroc_ap_and_f1_are_scikit_learns(case):
    labels, scores = case
    assert metrics.auroc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores))
    assert metrics.average_precision(labels, scores) == pytest.approx(reference.average_precision_score(labels, scores))
    best, threshold = metrics.f1_max(labels, scores)
    every = [reference.f1_score(labels, scores >= t) for t in np.unique(scores)[-12:]]  # slow; the rest by count
    every += [2 * np.sum(labels & (scores >= t)) / (np.sum(labels) + np.sum(scores >= t)) for t in np.unique(scores)]
    assert best == pytest.approx(max(every))
    assert reference.f1_score(labels, scores >= np.float32(threshold)) == pytest.approx(best)


@settings(max_examples=100, deadline=None)
@given(labelled_scores())
def test_curves_are_scikit_learns(case):
    labels, scores = case
    fpr, tpr, thresholds = reference.roc_curve(labels, scores, drop_intermediate=False)
    curve = metrics.roc_curve(labels, scores)
    np.testing.assert_allclose(curve.x, fpr)
    np.testing.assert_allclose(curve.y, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    precision, recall, thresholds = reference.precision_recall_curve(labels, scores)
    curve = metrics.pr_curve(labels, scores)
    np.testing.assert_allclose(curve.x[::-1], recall[:-1])
    np.testing.assert_allclose(curve.y[::-1], precision[:-1])
    np.testing.assert_allclose(curve.thresholds[::-1], thresholds)


@settings(max_examples=200, deadline=None)
@given(maps_and_masks(), st.sampled_from([0.05, 0.3, 0.77, 1.0]))
def test_pro_is_the_plain_reference(case, max_fpr):
    maps, masks = case
    assert metrics.pro(maps, masks, max_fpr) == pytest.approx(slow_pro(maps, masks, max_fpr), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(maps_and_masks())
def test_pixel_metrics_share_their_work_without_changing_it(case):
    maps, masks = case
    result = metrics.pixel_metrics(list(maps), list(masks))
    assert list(result) == ["pixel_auroc", "pixel_ap", "pixel_f1max", "pro"]
    assert result["pixel_auroc"] == pytest.approx(reference.roc_auc_score(masks.ravel(), maps.ravel()))
    assert result["pixel_ap"] == pytest.approx(reference.average_precision_score(masks.ravel(), maps.ravel()))
    assert result["pixel_f1max"] == metrics.f1_max(masks, maps)[0]
    assert result["pro"] == metrics.pro(maps, masks)


@settings(max_examples=50, deadline=None)
@given(maps_and_masks())
def test_metrics_depend_on_order_only(case):
    maps, masks = case
    moved = metrics.pixel_metrics(maps * 3 + 1, masks)
    assert moved == pytest.approx(metrics.pixel_metrics(maps, masks))


def test_perfect_and_opposite_maps():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:4, 2:4] = True
    masks[0, 6, 6] = True
    assert set(metrics.pixel_metrics(masks.astype(float), masks).values()) == {1.0}
    worst = metrics.pixel_metrics(-masks.astype(float), masks)
    assert worst["pixel_auroc"] == 0.0
    assert worst["pro"] == 0.0


def test_small_regions_count_as_much_as_large_ones():
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :8, :8] = True
    masks[0, 15, 15] = True
    scores = np.zeros(masks.shape)
    scores[0, 15, 15] = 1.0  # only the one-pixel region is found before any false positive
    # The other region comes with all the rest: overlap runs from 1/2 to 1 on a straight line.
    assert metrics.pro(scores, masks) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_one_class_gives_none():
    for labels in ([True, True], [False, False], []):
        scores = np.arange(len(labels), dtype=float)
        assert metrics.image_metrics(labels, scores) == dict.fromkeys(["image_auroc", "image_ap", "image_f1max"])
        assert metrics.roc_curve(labels, scores) is None
        assert metrics.pr_curve(labels, scores) is None
    good = np.zeros((3, 4, 4))
    for masks in (good.astype(bool), ~good.astype(bool)):
        assert set(metrics.pixel_metrics(good, masks).values()) == {None}
        assert metrics.pro(good, masks) is None
    assert metrics.pro([], []) is None


def test_means_leave_out_what_is_missing():
    means = metrics.mean_metrics([{"a": 1.0, "b": None, "c": None}, {"a": 0.5, "b": 0.25, "c": None}])
    assert means == {"a": 0.75, "b": 0.25, "c": None}
    assert metrics.mean_metrics([]) == {}


def test_wrong_arguments():
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.auroc([True], [1.0, 2.0])
    with pytest.raises(ValueError, match="not a number"):
        metrics.auroc([True, False], [1.0, np.nan])
    with pytest.raises(ValueError, match="2 score maps and 1 masks"):
        metrics.pro(np.zeros((2, 3, 3)), np.zeros((1, 3, 3)))
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.pro(np.zeros((1, 3, 3)), np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match="not a number"):
        metrics.pro(np.full((1, 3, 3), np.nan), np.zeros((1, 3, 3)))
    with pytest.raises(ValueError, match="max_fpr"):
        metrics.pro(np.zeros((1, 3, 3)), np.zeros((1, 3, 3)), 0.0)


def test_300_maps_of_256_by_256(tmp_path):
    """In a process of its own, so that its memory is its own."""
    import subprocess
    import sys

    code = """
import re, time
from pathlib import Path
import numpy as np
from edge_ad.metrics import pixel_metrics
rng = np.random.default_rng(0)
maps = rng.standard_normal((300, 256, 256), np.float32)
masks = np.zeros(maps.shape, bool)
masks[:150, 50:120, 60:140] = True
maps[masks] += 1
start = time.process_time()
result = pixel_metrics(maps, masks)
seconds = time.process_time() - start
# not ru_maxrss, which starts at the size of the process that forked this one
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e6
print(seconds, peak, result["pixel_auroc"])
"""
    if sys.platform != "linux":
        pytest.skip("/proc is Linux only")
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    seconds, gigabytes, area = map(float, answer.stdout.split())
    assert seconds < 20  # under one on an idle core
    assert gigabytes < 1.0
    assert area == pytest.approx(0.76, abs=0.01)  # two normals one standard deviation apart


@settings(max_examples=50, deadline=None)
@given(labelled_scores(), st.integers(2, 70))
def test_sampled_curves_lie_on_the_full_ones(case, points):
    labels, scores = case
    for sampled, full in zip(
        metrics.sampled_curves(labels, scores, points),
        (metrics.roc_curve(labels, scores), metrics.pr_curve(labels, scores)),
    ):
        assert len(sampled.x) <= points + 2
        every = set(zip(full.x.tolist(), full.y.tolist()))
        assert set(zip(sampled.x.tolist(), sampled.y.tolist())) <= every
