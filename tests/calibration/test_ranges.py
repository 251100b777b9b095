"""Histograms against plain statistics, and activation ranges taken of the tiny bundle with real sessions."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.calibration import ranges as taking
from edge_ad.calibration.histogram import BINS, CLIPS, Histogram, clipped_range, mse_range, percentile_range
from edge_ad.calibration.ranges import OBSERVED, bundle_ranges, collect_ranges
from edge_ad.cli import run
from edge_ad.dataset import load_dataset
from edge_ad.errors import BundleError
from edge_ad.runtime import Detector


def histogram_of(*arrays):
    made = Histogram.empty()
    for array in arrays:
        made.add(np.asarray(array, np.float32))
    return made


# numbers that a product with a power of two does not make 0
floats = st.floats(-1e6, 1e6, width=32).map(lambda value: value if abs(value) > 1e-20 else 0.0)
numbers = st.lists(floats, min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=5), st.randoms())
def test_a_histogram_is_the_same_in_any_order_and_when_merged(parts, random):
    whole = histogram_of(*parts)
    values = np.concatenate([np.asarray(part, np.float32) for part in parts])
    assert (whole.low, whole.high) == (values.min(), values.max())
    assert whole.counts.sum() == len(values)
    reference, _ = np.histogram(values.astype(np.float64), bins=whole.edges())
    assert np.array_equal(whole.counts, reference)
    shuffled = list(parts)
    random.shuffle(shuffled)
    merged = Histogram.empty()
    for part in shuffled:
        merged.merge(histogram_of(part))
    assert (merged.low, merged.high, merged.exponent) == (whole.low, whole.high, whole.exponent)
    assert np.array_equal(merged.counts, whole.counts)


def test_a_large_array_is_counted_in_part_and_its_extremes_in_full():
    values = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    values[123_457] = 40
    made = histogram_of(values)
    assert made.high == 40
    assert 60_000 <= made.counts.sum() <= 70_000


def test_percentile_and_least_error_cut_an_outlier_and_keep_zero_inside():
    values = np.random.default_rng(1).normal(1.0, 0.1, 20_000).astype(np.float32)
    values[7] = 50.0
    made = histogram_of(values)
    low, high = percentile_range(made, outside=1e-3)
    assert low == 0
    bins = 2.0**made.exponent / (BINS / 2)
    assert high == pytest.approx(np.quantile(values, 1 - 5e-4), abs=2 * bins)

    def error(end):  # plain simulation of 255 steps over 0..end
        step = end / 255
        return np.square(np.clip(np.rint(values / step), 0, 255) * step - values).mean()

    _, best = mse_range(made)
    grid = np.linspace(10, 50, 200)
    assert error(best) <= 1.05 * min(error(end) for end in grid)
    for clip in CLIPS:
        low, high = clipped_range(histogram_of([3.0, 4.0]), clip)
        assert low == 0 < high <= 4


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not a finite number"):
        histogram_of([1.0, np.inf])


@pytest.fixture(scope="module")
def ranged(tiny_bundle, ring_data, tmp_path_factory):
    """The tiny bundle with ranges, taken by the command from two pictures, and its work folder."""
    folder = tmp_path_factory.mktemp("ranged")
    bundle = shutil.copytree(tiny_bundle, folder / "b")
    options = ("--ranges-only", "--range-images", "2", "--threads", "1", "--provider", "cpu")
    assert run(["calibrate", str(bundle), str(ring_data), *options]) == 0
    return bundle, folder / "b-calibration"


def test_ranges_are_written_with_what_they_were_computed_from(ranged, ring_data, tiny_bundle):
    bundle, _ = ranged
    with Bundle.open(bundle) as opened:  # every hash is right
        entry = opened.manifest.ranges["grouped"]
        content = json.loads(opened.file(entry.file).read_text())
        assert opened.manifest.graphs == read_manifest(tiny_bundle).graphs
        assert set(content["graphs"]) == set(OBSERVED) == set(entry.graphs)
        assert entry.images == len(content["pictures"]) == 2
        assert entry.categories == {"ring": taking.schedule_digest(opened.manifest, "ring", "grouped")}
        assert {picture["role"] for picture in content["pictures"]} == {"good"}  # not the shots, as there are others
        for tensors in content["graphs"].values():
            assert tensors
            for row in tensors.values():
                assert all(row[clip][0] <= 0 <= row[clip][1] for clip in CLIPS)
                assert row["minmax"][0] <= row["percentile"][0] <= 0 <= row["percentile"][1] <= row["minmax"][1]


def test_ranges_are_those_of_every_timestep_of_the_plan(ranged, ring_data, tiny_bundle):
    """By hand: the denoiser's first convolution reads latents, mask and masked latents, which a plain run gives."""
    import onnx

    from edge_ad.calibration.layers import find_layers

    bundle, _ = ranged
    content = json.loads((bundle / "calibration/ranges-grouped.json").read_text())
    names = {picture["file"] for picture in content["pictures"]}
    first = find_layers(onnx.load(str(bundle / "graphs/denoiser.onnx")))
    layer = next(one for one in first if one.kind == "Conv")
    detector = Detector.load(tiny_bundle, provider="cpu", plan="grouped", threads=1)
    lows, highs = [], []
    session = detector._sessions["denoiser"]
    real = session.iterate

    def watching(fixed, state, steps, carry):
        current = dict(state)
        for step in steps:
            for feed in (current["latents"], fixed["mask"], fixed["masked_latents"]):
                array = feed if isinstance(feed, np.ndarray) else feed.numpy()
                lows.append(array.min())
                highs.append(array.max())
            results = session.run_kept({**fixed, **current, **step})
            current = {name: results[output] for output, name in carry.items()}
        return {output: current[name] for output, name in carry.items()}

    session.iterate = watching
    from edge_ad.images import read_image

    for path in sorted((ring_data / "ring/test/good").iterdir()):
        if path.name in names:
            detector.inspect(read_image(path), "ring")
    session.iterate = real
    low, high = content["graphs"]["denoiser"][layer.input]["minmax"]
    assert (low, high) == (pytest.approx(min(lows), rel=1e-4), pytest.approx(max(highs), rel=1e-4))


def test_an_interrupted_collection_goes_on_and_ends_the_same(ranged, tiny_bundle, ring_data, tmp_path, monkeypatch):
    expected = json.loads((ranged[0] / "calibration/ranges-grouped.json").read_text())["graphs"]
    bundle, work = shutil.copytree(tiny_bundle, tmp_path / "b"), tmp_path / "work"
    before = (bundle / "manifest.json").read_bytes()
    real, seen = Detector.inspect, []

    def interrupted(self, image, category):
        if seen:
            raise KeyboardInterrupt
        seen.append(category)
        return real(self, image, category)

    data = load_dataset(ring_data, ["ring"])
    monkeypatch.setattr(Detector, "inspect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect_ranges(bundle, data, work, images=2, provider="cpu", threads=1)
    assert (bundle / "manifest.json").read_bytes() == before
    monkeypatch.setattr(Detector, "inspect", lambda *a: (seen.append("more"), real(*a))[1])
    collect_ranges(bundle, data, work, images=2, provider="cpu", threads=1)
    assert len(seen) == 2
    found = json.loads((bundle / "calibration/ranges-grouped.json").read_text())["graphs"]
    for graph, tensors in expected.items():
        for tensor, row in tensors.items():
            assert found[graph][tensor]["minmax"] == pytest.approx(row["minmax"], rel=1e-4, abs=1e-6)


def test_a_damaged_state_is_begun_anew(ranged, tmp_path):
    state = tmp_path / "ranges-grouped.npz"
    state.write_bytes((ranged[1] / "ranges-grouped.npz").read_bytes()[:500])
    seen = taking.Seen({"encoder": {"x": Histogram.empty()}}, set())
    taking._restore(state, "any", seen, set())
    assert not seen.done


def test_a_state_of_another_provider_or_library_is_begun_anew(tiny_bundle, monkeypatch):
    manifest = read_manifest(tiny_bundle)
    before = taking._context(manifest, ["ring"], "grouped", 0, "cpu")
    assert taking._context(manifest, ["ring"], "grouped", 0, "cpu") == before
    monkeypatch.setattr(taking, "runs_on", lambda provider: "onnxruntime 0.0, a processor")
    other = taking._context(manifest, ["ring"], "grouped", 0, "cpu")
    assert len({before, other, taking._context(manifest, ["ring"], "grouped", 0, "cuda")}) == 3


def test_shots_are_used_when_there_is_nothing_else_and_plans_are_joined(ranged, ring_data, tmp_path):
    bundle = shutil.copytree(ranged[0], tmp_path / "b")
    narrow = bundle_ranges(Bundle.open(bundle), "denoiser", "minmax")
    manifest = read_manifest(bundle)
    manifest.plans["other"] = manifest.plans["grouped"].model_copy(update={"scales": (1,)})
    write_manifest(bundle, manifest)
    data = load_dataset(ring_data, ["ring"])
    options = {"images": 1, "split": "train", "provider": "cpu", "threads": 1, "log": (lines := []).append}
    collect_ranges(bundle, data, tmp_path / "w", plan="other", **options)
    assert lines[-1].startswith("not of weave: int8 and fp8 need ranges of all")
    with Bundle.open(bundle) as opened:
        assert set(opened.manifest.ranges) == {"grouped", "other"}
        content = json.loads(opened.file(opened.manifest.ranges["other"].file).read_text())
        assert [picture["role"] for picture in content["pictures"]] == ["shot"]
        joined = bundle_ranges(opened, "denoiser", "minmax")
    assert all(joined[name][0] <= low and joined[name][1] >= high for name, (low, high) in narrow.items())


def test_ranges_of_other_graphs_are_refused_in_one_sentence(ranged, tiny_bundle, ring_data, tmp_path, capsys):
    with pytest.raises(BundleError, match="run edge-ad calibrate"):
        bundle_ranges(Bundle.open(tiny_bundle), "denoiser", "mse")
    bundle = shutil.copytree(ranged[0], tmp_path / "b")
    manifest = read_manifest(bundle)
    manifest.ranges["grouped"].graphs["denoiser"] = "0" * 64
    manifest.graphs["encoder"].precision = "fp16"
    write_manifest(bundle, manifest)
    with pytest.raises(BundleError, match="of another graph denoiser"):
        bundle_ranges(Bundle.open(bundle), "denoiser", "mse")
    for option in ("--ranges-only", "--ranges"):
        assert run(["calibrate", str(bundle), str(ring_data), option, "--provider", "cpu"]) == 2
        said = capsys.readouterr()
        assert "encoder" in said.err
        assert "is fp16" in said.err
        assert "Traceback" not in said.err
