"""The bound that prototypes alone give, against the score; and what a detector decides by it."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.bundle import Calibration, CascadeLimits, SegmenterLimit, Weights
from edge_ad.bundle_files import read_manifest, write_manifest
from edge_ad.cli import run
from edge_ad.errors import OptionError
from edge_ad.runtime import Detector
from edge_ad.runtime.cascade import bound, bounded, decides
from edge_ad.runtime.fusion import blur, fused

SIZE = 32
GROUPED = Weights(alpha=0.0, reference=1.0, map_power=1.0, error_power=1.0, top=1.0, map_floor=1.0)


def upsampled(values, size):
    """Bilinear interpolation between pixel centres, pixel by pixel."""
    result = np.empty((size, size), np.float32)
    for y in range(size):
        for x in range(size):
            v, u = ((i + 0.5) * n / size - 0.5 for i, n in zip((y, x), values.shape))
            v, u = (min(max(i, 0), n - 1) for i, n in zip((v, u), values.shape))
            top, left = int(v), int(u)
            below, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            a, b = v - top, u - left
            upper = (1 - b) * values[top, left] + b * values[top, right]
            result[y, x] = (1 - a) * upper + a * ((1 - b) * values[below, left] + b * values[below, right])
    return result


maps = hnp.arrays(np.float32, st.sampled_from([(1, 1), (4, 4), (5, 3)]), elements=st.floats(0, 10, width=32))


@settings(deadline=None, max_examples=25)
@given(maps, st.floats(0, 3), st.floats(0.25, 2), st.floats(0.1, 2), st.integers(0, 2**32 - 1))
def test_the_bound_is_the_score_of_no_inpainting_error_and_below_every_other(error, strongest, power, floor, seed):
    weights = GROUPED.model_copy(update={"error_power": power, "map_floor": floor})
    levels = np.stack([np.ones((SIZE, SIZE)), np.full((SIZE, SIZE), 0.7)]).astype(np.float32)
    evidence = {
        "error_map": blur(upsampled(error, SIZE)),
        "reconstruction_maps": np.zeros((2, SIZE, SIZE), np.float32),
        "reconstruction_prototype_map": np.zeros((SIZE, SIZE), np.float32),
    }
    score_map, score = bound(error, weights, levels)
    expected_map, expected = fused(evidence, weights, levels)
    np.testing.assert_allclose(score_map, expected_map, rtol=1e-4, atol=1e-5)
    assert score == pytest.approx(expected, rel=1e-4, abs=1e-5)
    noise = np.random.default_rng(seed).random((2, SIZE, SIZE), np.float32)
    _, higher = fused({**evidence, "reconstruction_maps": strongest * noise}, weights, levels)
    assert higher >= score * (1 - 1e-4) - 1e-5


def test_only_a_floor_and_an_error_give_a_bound():
    assert bounded(GROUPED)
    assert not bounded(Weights())
    assert not bounded(GROUPED.model_copy(update={"error_power": 0.0}))


def test_what_is_no_number_is_not_decided():
    limits = CascadeLimits(lower=1, upper=2, miss_rate=0.1, defects=9, tried=9, pictures=1, decided=0.5)
    assert [decides(limits, score) for score in (0.5, 1.0, 1.5, 2.0, float("nan"))] == [True, False, False, True, False]


def test_a_part_is_passed_early_only_where_the_segmenter_agrees():
    asked = SegmenterLimit(score=0.3, graph="x")
    limits = CascadeLimits(
        lower=1, upper=2, miss_rate=0.1, defects=9, tried=9, pictures=1, decided=0.5, segmenter=asked
    )
    assert all(decides(limits, 0.5, opinion) for opinion in (0.2, 0.3))
    assert not any(decides(limits, 0.5, opinion) for opinion in (0.31, float("nan"), None))
    assert [decides(limits, score, 0.2) for score in (1.0, 1.5, 2.0, float("nan"))] == [False, False, True, False]
    assert decides(limits, 2.5, 0.9)
    assert decides(limits, 2.5)  # what the plan rejects is bad whatever the segmenter says


@pytest.fixture
def with_limits(tiny_bundle, tmp_path):
    """A copy of the bundle with a threshold and cascade limits for its first category."""

    def make(threshold, lower, upper):
        copy = shutil.copytree(tiny_bundle, tmp_path / "limits", dirs_exist_ok=True)
        manifest = read_manifest(copy)
        limits = CascadeLimits(lower=lower, upper=upper, miss_rate=0.02, defects=99, tried=150, pictures=5, decided=0.5)
        calibration = Calibration(rule="estimate", created="now", target=0.01, cascade=limits)
        manifest.categories["ring"].thresholds = {"grouped": {"fp32": threshold}}
        manifest.categories["ring"].calibrations = {"grouped": {"fp32": calibration}}
        write_manifest(copy, manifest)
        return copy

    return make


@pytest.fixture(scope="module")
def usual(tiny_bundle):
    return Detector.load(tiny_bundle, provider="cpu", threads=1)


def test_the_score_is_never_below_the_bound(usual, draw_picture):
    for seed in range(4):
        found = usual.inspect(draw_picture(seed), "ring")
        assert usual.bound_score(draw_picture(seed), "ring") <= found.score * (1 + 1e-4)


def test_a_cascade_inpaints_what_is_in_doubt_and_nothing_else(usual, with_limits, draw_picture):
    pictures = [draw_picture(2), draw_picture(4), draw_picture(1)]
    bounds = [usual.bound_score(picture, "ring") for picture in pictures]
    order = np.argsort(bounds)
    low, middle, high = (bounds[i] for i in order)
    bundle = with_limits((middle + high) / 2, (low + middle) / 2, (middle + high) / 2)
    detector = Detector.load(bundle, provider="cpu", threads=1, cascade=True)
    found = detector.inspect_batch(pictures, ["ring"] * 3, inpainted=True)
    stages = [found[i].stage for i in order]
    assert stages == ["prototypes", "inpainting", "prototypes"]
    assert found[order[0]].verdict == "good"
    assert found[order[2]].verdict == "bad"
    assert found[order[2]].regions
    assert [one.inpainted is None for one in found] == [one.stage == "prototypes" for one in found]
    alone = detector.inspect(pictures[order[0]], "ring")
    assert "denoise" not in alone.times
    assert alone.score == pytest.approx(low, rel=1e-5)
    whole = Detector.load(bundle, provider="cpu", threads=1).inspect(pictures[order[1]], "ring")
    np.testing.assert_allclose(found[order[1]].score_map, whole.score_map, rtol=1e-3, atol=1e-5)


def test_a_bundle_without_limits_is_refused_before_anything_is_inspected(tiny_bundle, tiny_shots, tmp_path, capsys):
    detector = Detector.load(tiny_bundle, provider="cpu", threads=1, cascade=True)
    with pytest.raises(OptionError, match='"weave" has no limits for plan grouped at fp32; run edge-ad calibrate'):
        detector.cascade_limits("weave")
    code = run(
        ["inspect", str(tiny_bundle), str(tiny_shots["ring"][0]), "--category", "ring", "--provider", "cpu",
         "--out", str(tmp_path / "out"), "--cascade"]
    )  # fmt: skip
    assert code == 2
    assert '"ring" has no limits' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
