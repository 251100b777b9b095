import shutil
import subprocess
import sys

import numpy as np
import pytest

from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.runtime import Detector
from edge_ad.runtime.inpaint import Inpainter
from edge_ad.runtime.prototypes import prototype_mask
from edge_ad.runtime.result import decide, regions_of, to_uint8
from edge_ad.runtime.sessions.base import to_host


@pytest.fixture(scope="module")
def detector(tiny_bundle):
    return Detector.load(tiny_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((80, 80, 3), (64, 64, 3), (50, 120, 3))]


def test_inspection_has_what_it_promises(detector, tiny_picture):
    found = detector.inspect(tiny_picture, "ring", inpainted=True)
    assert (found.category, found.threshold, found.verdict, found.regions) == ("ring", None, "undecided", [])
    assert found.score_map.shape == (64, 64)
    assert found.score_map.dtype == np.float32
    assert found.error_map.shape == (8, 8)
    assert found.inpainted.shape == (64, 64, 3)
    assert found.inpainted.dtype == np.uint8
    assert np.isfinite(found.score_map).all()
    assert found.score_map.max() >= found.score > 0
    assert {"features", "encode", "denoise", "decode", "score", "total"} <= set(found.times)
    assert found.times["total"] >= found.times["denoise"] > 0
    assert detector.inspect(tiny_picture, "ring").inpainted is None


def test_the_same_seed_gives_the_same_evidence_and_another_one_another(detector, tiny_bundle, tiny_picture):
    first = detector.evidence(tiny_picture, "ring")
    again = detector.evidence(tiny_picture, "ring")
    np.testing.assert_array_equal(first["score_map"], again["score_map"])
    np.testing.assert_array_equal(first["image_maps"], again["image_maps"])
    other = Detector.load(tiny_bundle, provider="cpu", threads=1, seed=1).evidence(tiny_picture, "ring")
    assert not np.array_equal(first["image_maps"], other["image_maps"])


def test_a_mixed_batch_decides_as_one_by_one(detector, pictures):
    names = ["ring", "weave", "ring"]
    batch = detector.inspect_batch(pictures, names, inpainted=True)
    for image, name, found in zip(pictures, names, batch):
        alone = detector.inspect(image, name, inpainted=True)
        assert found.category == name
        np.testing.assert_allclose(found.score_map, alone.score_map, rtol=1e-3, atol=1e-5)
        assert np.abs(found.inpainted.astype(int) - alone.inpainted).max() <= 1


def test_a_small_memory_splits_the_batch_and_changes_nothing(detector, tiny_bundle, pictures, monkeypatch):
    small = Detector.load(tiny_bundle, provider="cpu", threads=1, memory=1)
    assert small._inpainter.batch_limit("denoiser") == 1
    assert small._inpainter.batch_limit("decoder") == 1
    decoder, rows = small._sessions["decoder"], []
    for name in ("run", "run_kept"):
        call = getattr(decoder, name)
        monkeypatch.setattr(
            decoder,
            name,
            lambda feeds, *rest, call=call: (rows.append(len(to_host(feeds["latents"]))), call(feeds, *rest))[1],
        )
    np.testing.assert_allclose(
        small.inspect(pictures[0], "weave").score_map, detector.inspect(pictures[0], "weave").score_map, rtol=1e-3
    )
    assert rows == [1] * 5  # four grids and the image's own reconstruction


@pytest.mark.parametrize("plan", ["grouped", "paper"])
def test_noise_draws_give_the_mean_of_what_each_draw_gives(tiny_bundle, pictures, plan):
    """S^(k) and S_pg of a plan with three draws, against three detectors with one draw each, in any batch."""
    base = Detector.load(tiny_bundle, provider="cpu", threads=1, plan=plan)
    manifest = base.bundle.manifest.model_copy(deep=True)
    manifest.plans[plan] = manifest.plans[plan].model_copy(update={"noise_draws": 3})
    several = base.variant(manifest)
    found = several.evidence(pictures[0], "ring")

    noise = np.random.default_rng(0).standard_normal((3, 4, 8, 8), dtype=np.float32)
    alone = []
    for k in range(3):
        one = base.variant()
        one._inpainter = Inpainter(one.bundle, one.plan, one._sessions, noise=noise[k : k + 1], memory=1 << 30)
        alone.append(one.evidence(pictures[0], "ring"))
    for name in ("image_maps", "reconstruction_maps", "image_prototype_map"):
        mean = np.mean([each[name] for each in alone], axis=0)
        np.testing.assert_allclose(found[name], mean, rtol=1e-3, atol=1e-5)
        assert not np.allclose(found[name], alone[0][name], rtol=1e-3)
    # the picture that is shown is that of the first draw, which is the one of a plan without others
    np.testing.assert_array_equal(found["inpainted"], alone[0]["inpainted"])
    np.testing.assert_array_equal(alone[0]["image_maps"], base.evidence(pictures[0], "ring")["image_maps"])

    batch = several.inspect_batch(pictures, ["ring", "weave", "ring"])
    # one row a run: every draw by itself
    one_row = Detector(several.bundle, plan, several.plan, several._sessions, seed=0, memory=1)
    for image, name, got in zip(pictures, ["ring", "weave", "ring"], batch):
        np.testing.assert_allclose(got.score_map, one_row.inspect(image, name).score_map, rtol=1e-3, atol=1e-5)


def test_the_paper_plan_runs_every_mask_by_itself(tiny_bundle, tiny_picture):
    paper = Detector.load(tiny_bundle, provider="cpu", threads=1, plan="paper")
    found = paper.inspect(tiny_picture, "ring", inpainted=True)
    assert paper.plan_name == "paper"
    # 1 + 4 + 16 + 64 masks and the prototype-guided one; the score is the highest pixel
    evidence = paper.evidence(tiny_picture, "ring")
    assert evidence["image_maps"].shape == (4, 64, 64)
    assert found.score == pytest.approx(float(found.score_map.max()))
    # eq. 21 from the pieces: harmonic mean, fusion; blurred by the graph, so compared on a mean
    harmonic = 1 / (1 / (evidence["image_maps"] + 1e-8)).mean(0)
    fused = 0.9 * harmonic + 0.1 * evidence["image_prototype_map"]
    assert evidence["score_map"].mean() == pytest.approx(fused.mean(), rel=0.02)


def test_evidence_holds_the_pieces_of_the_score(detector, tiny_picture):
    evidence = detector.evidence(tiny_picture, "ring")
    found = detector.inspect(tiny_picture, "ring", inpainted=True)
    np.testing.assert_allclose(evidence["score_map"], found.score_map, rtol=1e-5)
    np.testing.assert_array_equal(evidence["error"], detector.error_map(tiny_picture, "ring"))
    np.testing.assert_array_equal(evidence["inpainted"][-1], found.inpainted)
    assert evidence["scales"].tolist() == [1, 2, 4, 8]
    hidden = prototype_mask(evidence["error"], evidence["levels"][1], detector.plan.threshold_rule)
    np.testing.assert_array_equal(evidence["prototype_mask"], hidden)


def test_a_threshold_makes_a_verdict_and_regions(detector, tiny_bundle, tiny_picture, tmp_path):
    import shutil

    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    score = detector.inspect(tiny_picture, "ring").score
    for threshold, verdict in ((score * 0.5, "bad"), (score * 2, "good")):
        manifest = read_manifest(copy)
        manifest.categories["ring"].thresholds = {"grouped": {"fp32": threshold}}
        write_manifest(copy, manifest)
        found = Detector.load(copy, provider="cpu", threads=1).inspect(tiny_picture, "ring")
        assert found.verdict == verdict
        assert found.threshold == pytest.approx(threshold)
        if verdict == "bad":
            region = found.regions[0]
            assert region.peak == pytest.approx(float(found.score_map.max()))
            assert 0 <= region.x < region.x + region.width <= 80


def test_bad_input_is_one_sentence(detector, tiny_bundle, tiny_picture):
    with pytest.raises(BundleError, match=r'no category "screw"; it has ring, weave'):
        detector.inspect(tiny_picture, "screw")
    for image in (tiny_picture[..., 0], tiny_picture.astype(np.float32), tiny_picture[..., :2]):
        with pytest.raises(InputError, match="uint8"):
            detector.inspect(image, "ring")
    with pytest.raises(InputError, match="one category an image"):
        detector.inspect_batch([tiny_picture], ["ring", "weave"])
    with pytest.raises(BundleError, match=r'no plan "quick"'):
        Detector.load(tiny_bundle, plan="quick")
    with pytest.raises(OptionError, match="--provider"):
        Detector.load(tiny_bundle, provider="abacus")


def test_a_card_that_is_not_there_is_not_replaced_in_silence(tiny_bundle):
    from edge_ad.runtime.sessions.choose import card_count

    if card_count():
        pytest.skip("this machine has a card")
    with pytest.raises(OptionError, match="--provider cuda"):
        Detector.load(tiny_bundle, provider="cuda")


def test_openvino_agrees_with_onnx_runtime(detector, tiny_bundle, tiny_picture):
    pytest.importorskip("openvino", reason="the openvino extra is not installed")
    found = Detector.load(tiny_bundle, provider="openvino", threads=1).inspect(tiny_picture, "ring")
    expected = detector.inspect(tiny_picture, "ring")
    # bf16 where the processor has it: three significant digits
    assert found.score == pytest.approx(expected.score, rel=0.05)
    assert np.corrcoef(found.score_map.ravel(), expected.score_map.ravel())[0, 1] > 0.99


def test_the_runtime_loads_no_training_library(tiny_bundle):
    code = (
        "import sys; from edge_ad.runtime import Detector; import numpy as np;"
        f"Detector.load({str(tiny_bundle)!r}, provider='cpu').inspect(np.zeros((70, 60, 3), np.uint8), 'weave');"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'onnx', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_category_without_prototypes_is_decided_by_inpainting_alone(tiny_bundle, tiny_picture, tmp_path):
    import shutil

    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    manifest = read_manifest(copy)
    (copy / manifest.categories["ring"].prototypes).unlink()
    manifest.categories["ring"].prototypes = None
    write_manifest(copy, manifest)
    found = Detector.load(Bundle.open(copy), provider="cpu", threads=1).inspect(tiny_picture, "ring")
    assert found.score > 0
    assert not found.error_map.any()


def test_decisions():
    assert [decide(1.0, t) for t in (None, 1.0, 0.5, 1.5)] == ["undecided", "bad", "bad", "good"]
    score_map = np.zeros((8, 8), np.float32)
    score_map[2:4, 5:8] = 2
    assert regions_of(score_map, None, (16, 32)) == []
    region = regions_of(score_map, 1.0, (16, 32))[0]
    assert (region.x, region.y, region.width, region.height, region.area) == (20, 4, 12, 4, 48)


def test_pictures_become_bytes():
    assert to_uint8(np.array([-1.2, -1, 0, 1, 3]).reshape(1, 1, 5).repeat(3, 0))[0, :, 0].tolist() == [
        0,
        0,
        128,
        255,
        255,
    ]


def test_a_score_graph_of_another_version_is_refused(tiny_bundle, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "old")
    manifest = read_manifest(tmp_path / "old")
    graph = manifest.graphs["score"]
    graph.inputs = tuple(
        spec.model_copy(update={"shape": (5,)}) if spec.name == "weights" else spec for spec in graph.inputs
    )
    write_manifest(tmp_path / "old", manifest)
    with pytest.raises(BundleError, match="earlier edge-ad; export it again"):
        Detector.load(tmp_path / "old", provider="cpu")
