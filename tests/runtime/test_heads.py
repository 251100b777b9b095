"""Heads in a bundle: added whole or not at all, verified, and used by the detector where they are present."""

import csv
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="heads are trained with the train extra")
pytest.importorskip("onnxscript", reason="exporting needs the export extra")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from edge_ad.bundle import Calibration, CascadeLimits, SegmenterLimit  # noqa: E402
from edge_ad.bundle_files import Bundle, pack, read_manifest, write_manifest  # noqa: E402
from edge_ad.errors import InputError, OptionError  # noqa: E402
from edge_ad.images import resize_image  # noqa: E402
from edge_ad.inspection import Job, inspect_files  # noqa: E402
from edge_ad.runtime import Detector  # noqa: E402
from edge_ad.runtime.heads import softmax  # noqa: E402


@pytest.fixture(scope="module")
def heads_folder(tmp_path_factory, random_heads):
    return random_heads(tmp_path_factory.mktemp("heads"), 0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_bundle, heads_folder):
    """The tiny bundle with the heads in it."""
    from edge_ad.export.heads import add_heads

    copy = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("bundle") / "with-heads")
    add_heads(heads_folder, copy, log=lambda line: None)
    return copy


def test_a_bundle_with_heads_is_whole_and_its_scores_are_as_before(bundle, tiny_bundle, tiny_picture):
    with Bundle.open(bundle) as opened:
        assert {"segmenter", "classifier"} <= set(opened.manifest.graphs)
        assert opened.manifest.heads.outputs == (("ring", "bar"), ("ring", "spot"), ("weave", "spot"))
    with_heads = Detector.load(bundle, provider="cpu", threads=1).inspect(tiny_picture, "ring")
    without = Detector.load(tiny_bundle, provider="cpu", threads=1).inspect(tiny_picture, "ring")
    assert with_heads.score == without.score
    assert (without.segmenter_map, without.segmenter_score, without.defect) == (None, None, None)
    assert "heads" in with_heads.times
    assert "heads" not in without.times


def test_the_detector_says_what_pytorch_says(bundle, heads_folder, tiny_picture):
    from edge_ad.training.heads.folder import load_heads
    from edge_ad.training.heads.network import SegmenterGraph

    heads, detector = load_heads(heads_folder), Detector.load(bundle, provider="cpu", threads=1)
    image = torch.tensor(resize_image(tiny_picture, 64))[None]
    with torch.no_grad():
        wanted, score = SegmenterGraph(heads.segmenter())(image)
        likely = heads.classifier()(image)[0, :2].softmax(0).numpy()
    found = detector.inspect(tiny_picture, "ring")  # undecided: there is no threshold
    np.testing.assert_allclose(found.segmenter_map, wanted[0].numpy(), atol=1e-4)
    assert found.segmenter_score == pytest.approx(float(score[0]), abs=1e-4)
    assert found.defect == ["bar", "spot"][int(likely.argmax())]
    assert found.defect_probability == pytest.approx(float(likely.max()), abs=1e-4)
    assert detector.first_opinion(tiny_picture, "ring") == found.segmenter_score
    one_kind = detector.inspect(tiny_picture, "weave")
    assert (one_kind.defect, one_kind.defect_probability) == (None, None)
    assert one_kind.segmenter_map.shape == (64, 64)


def test_a_good_part_has_no_kind_of_defect(bundle, tmp_path, tiny_picture):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = read_manifest(copy)
    manifest.categories["ring"].thresholds = {"grouped": {"fp32": 1e9}}
    write_manifest(copy, manifest)
    found = Detector.load(copy, provider="cpu", threads=1).inspect(tiny_picture, "ring")
    assert (found.verdict, found.defect) == ("good", None)
    assert found.segmenter_score is not None


def test_the_segmenter_sends_a_part_of_a_cascade_the_whole_way(bundle, tmp_path, tiny_picture):
    usual = Detector.load(bundle, provider="cpu", threads=1)
    bound, opinion = usual.bound_score(tiny_picture, "ring"), usual.first_opinion(tiny_picture, "ring")
    copy = shutil.copytree(bundle, tmp_path / "bundle")

    def load(score, graph):
        manifest = read_manifest(copy)
        limits = CascadeLimits(
            lower=2 * bound, upper=3 * bound, miss_rate=0.02, defects=99, tried=150, pictures=5, decided=0.5,
            segmenter=SegmenterLimit(score=score, graph=graph),
        )  # fmt: skip
        calibration = Calibration(rule="estimate", created="now", target=0.01, cascade=limits)
        manifest.categories["ring"].thresholds = {"grouped": {"fp32": 3 * bound}}
        manifest.categories["ring"].calibrations = {"grouped": {"fp32": calibration}}
        write_manifest(copy, manifest)
        return Detector.load(copy, provider="cpu", threads=1, cascade=True)

    with Bundle.open(bundle) as opened:
        graph = opened.graph_digest("segmenter")
    passed = load(opinion, graph).inspect(tiny_picture, "ring")
    assert (passed.stage, passed.verdict) == ("prototypes", "good")
    assert passed.segmenter_score == pytest.approx(opinion)
    assert "denoise" not in passed.times
    doubted = load(opinion * 0.99, graph).inspect(tiny_picture, "ring")
    assert doubted.stage == "inpainting"
    assert doubted.segmenter_score == pytest.approx(opinion)
    with pytest.raises(OptionError, match="found with another segmenter than the bundle has"):
        load(opinion, "of another").inspect(tiny_picture, "ring")


def test_results_of_files_have_the_kind(bundle, tmp_path, tiny_shots):
    path = tiny_shots["ring"][0]
    detector = Detector.load(bundle, provider="cpu", threads=1)
    inspect_files(detector, [Job(path, "ring", path.relative_to(path.parent).with_suffix(""))], tmp_path)
    (record,) = (json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())
    assert record["defect"] in ("bar", "spot")
    assert 0.5 <= record["defect_probability"] <= 1
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert row["defect"] == record["defect"]


def test_heads_are_replaced_in_a_tar_too(bundle, tmp_path, tmp_path_factory, random_heads):
    from edge_ad.export.heads import add_heads

    archive = pack(bundle, tmp_path / "bundle.tar")
    before = read_manifest(bundle).files
    add_heads(random_heads(tmp_path_factory.mktemp("others"), 1), archive, log=lambda line: None)
    with Bundle.open(archive) as opened:
        changed = {path for path, digest in opened.manifest.files.items() if before.pop(path) != digest}
        assert not before
        assert {"graphs/segmenter.onnx", "graphs/classifier.onnx"} <= changed
        assert {path.split("/")[1].split(".")[0] for path in changed} == {"segmenter", "classifier"}
        assert opened.manifest.heads is not None
        assert opened.manifest.graphs["segmenter"].reference == "verify/segmenter.npz"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.tar"]


def test_a_refusal_leaves_the_bundle_as_it_was(tiny_bundle, heads_folder, tmp_path):
    from edge_ad.bundle import Engine
    from edge_ad.export.heads import add_heads
    from edge_ad.training.heads.folder import load_heads, write_heads

    other = shutil.copytree(heads_folder, tmp_path / "other")
    heads = load_heads(other)
    object.__setattr__(heads, "kinds", {"screw": ["bar", "spot", "dent"]})
    write_heads(heads)
    copy = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with pytest.raises(InputError, match="knows screw, and bundle has ring, weave: no category in common"):
        add_heads(other, copy, log=lambda line: None)
    manifest = read_manifest(copy)
    manifest.engines["trt-rtx-sm86"] = Engine(library="trt-rtx", version="1.0")
    write_manifest(copy, manifest)
    digest = (copy / "manifest.sha256").read_text()
    with pytest.raises(OptionError, match="--drop-engines"):
        add_heads(heads_folder, copy, log=lambda line: None)
    assert (copy / "manifest.sha256").read_text() == digest
    add_heads(heads_folder, copy, drop_engines=True, log=lambda line: None)
    with Bundle.open(copy) as opened:
        assert opened.manifest.engines == {}


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6))
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits):
    found = softmax(np.array(logits, np.float32))
    assert found.sum() == pytest.approx(1)
    assert found[int(np.argmax(np.array(logits, np.float32)))] == found.max()
