"""The command on a real bundle: what it writes, what the detector makes of it, and what happens when it is stopped."""

import json
import shutil
import tarfile

import numpy as np
import pytest

from edge_ad.bundle_files import Bundle, pack, read_manifest, write_manifest
from edge_ad.calibration.calibrate import CACHE
from edge_ad.calibration.levels import highest_map
from edge_ad.calibration.shots import leaving_out
from edge_ad.cli import run
from edge_ad.images import read_image
from edge_ad.runtime import Detector

FAST = ("--provider", "cpu", "--threads", "1")
KEEP = ("--lambda", "keep", "--fusion", "keep")


@pytest.fixture(scope="module")
def measured(tiny_bundle, ring_data, tmp_path_factory):
    """A work folder in which every picture has been scored already: further calibrations take no time."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(tiny_bundle, folder / "b")
    assert run(["calibrate", str(folder / "b"), str(ring_data), "--false-reject", "0.05", *FAST, *KEEP]) == 0
    return folder


@pytest.fixture
def calibrate(measured, tiny_bundle, ring_data, tmp_path, capsys):
    """Calibrate a fresh copy of the bundle: exit code, output, bundle folder, work folder."""

    def go(*options, bundle=None, data=None):
        if bundle is None:
            shutil.rmtree(tmp_path / "b", ignore_errors=True)
            bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        shutil.copy(measured / "b-calibration" / CACHE, work)
        code = run(["calibrate", str(bundle), str(data or ring_data), "--work", str(work), *FAST, *options])
        found = capsys.readouterr()
        return code, found.out + found.err, bundle, work

    return go


def entry_of(bundle):
    return read_manifest(bundle).categories["ring"]


def load(bundle, **options):
    return Detector.load(bundle, provider="cpu", threads=1, **options)


def test_a_promise_is_written_with_what_it_was_computed_from(measured, ring_data, tiny_shots):
    entry = entry_of(measured / "b")
    calibration = entry.calibrations["grouped"]["fp32"]
    assert (calibration.rule, calibration.images, calibration.promised) == ("conformal", 24, pytest.approx(1 / 25))
    evidence = json.loads((measured / "b" / calibration.evidence).read_text())
    roles = [picture["role"] for picture in evidence["pictures"]]
    assert roles.count("good") == 24  # the picture that is there twice counts once
    assert roles.count("shot") == len(tiny_shots["ring"])
    scores = sorted(picture["score"] for picture in evidence["pictures"] if picture["role"] == "good")
    assert entry.thresholds["grouped"]["fp32"] == np.nextafter(scores[-1], np.inf)
    levels = [picture["level"] for picture in evidence["pictures"] if picture["role"] == "good"]
    assert calibration.pixel_threshold == np.nextafter(np.float32(max(levels)), np.float32(np.inf))
    assert (calibration.cost_ratio, calibration.defect_rate) == (None, None)
    assert set(evidence["pictures"][0]) == {"sha256", "file", "role", "score", "level"}
    with Bundle.open(measured / "b") as opened:  # every hash is right
        assert opened.manifest.categories["weave"].thresholds == {}


def test_the_detector_decides_by_it_and_not_for_what_was_not_calibrated(measured, ring_data, tiny_product):
    detector = load(measured / "b")
    good = detector.inspect(read_image(ring_data / "ring/test/good/000.png"), "ring")
    assert (good.verdict, good.rule, good.reason) == ("good", "conformal", None)
    assert 0 < good.normalised < 0.5
    bad = detector.inspect(tiny_product(300, defect=True), "ring")
    assert bad.verdict == "bad"
    assert bad.normalised > 0.5
    assert bad.regions
    weave = detector.inspect(tiny_product(1), "weave")
    assert (weave.verdict, weave.normalised) == ("undecided", None)
    assert 'category "weave" has no threshold for plan grouped at fp32' in weave.reason
    paper = load(measured / "b", plan="paper").undecided("ring")
    assert "no threshold for plan paper at fp32; it has one for grouped at fp32" in paper
    assert "--seed 0, not 3" in load(measured / "b", seed=3).undecided("ring")


def test_the_drift_monitor_comes_with_the_bundle(measured, tiny_product):
    detector = load(measured / "b")
    assert detector.drift_monitor("weave") is None
    monitor = detector.drift_monitor("ring")
    for i in range(24):
        assert not monitor.update(detector.pooled(tiny_product(500 + i))).changed
    for i in range(16):
        dark = (tiny_product(600 + i) * 0.6).astype(np.uint8)
        drift = monitor.update(detector.inspect(dark, "ring").pooled)
    assert drift.changed


def test_too_few_images_are_an_estimate_and_never_a_promise(calibrate):
    code, said, bundle, work = calibrate(*KEEP)
    assert code == 0
    sentence = "needs 99 images for 1 %, you gave 24: the lowest rate that can be promised is 4 %"
    assert f"an ESTIMATE from 24 images and no promise: {sentence}" in said
    calibration = entry_of(bundle).calibrations["grouped"]["fp32"]
    assert (calibration.rule, calibration.promised) == ("estimate", None)
    page = (work / "index.html").read_text()
    assert "ESTIMATE" in page
    assert "promised (split" not in page
    code, said, _, _ = calibrate(*KEEP, "--require-promise")
    assert code == 1
    assert sentence in said


def test_shots_alone_give_an_estimate(calibrate, tiny_shots):
    code, said, bundle, _ = calibrate(*KEEP, "--split", "train")
    assert code == 0
    assert f"an ESTIMATE from {len(tiny_shots['ring'])} training images and variations and no promise" in said
    assert "you gave none that the model has not seen" in said
    calibration = entry_of(bundle).calibrations["grouped"]["fp32"]
    assert (calibration.rule, calibration.images, calibration.shots) == ("estimate", 0, len(tiny_shots["ring"]))
    assert calibration.monitor is None
    evidence = json.loads((bundle / calibration.evidence).read_text())
    shots = [picture for picture in evidence["pictures"] if picture["role"] == "shot"]
    assert [(len(shot["scores"]), shot["alone"]) for shot in shots] == [(5, False)] * len(tiny_shots["ring"])


def test_labelled_defects_choose_best_f1_or_lowest_cost(calibrate):
    for rule, words in (("f1", "best F1"), ("cost", "lowest cost")):
        code, said, bundle, _ = calibrate(*KEEP, "--rule", rule, "--cost-ratio", "20", "--defect-rate", "0.01")
        assert code == 0
        assert f"{words} on 24 good and 4 bad images" in said
        calibration = entry_of(bundle).calibrations["grouped"]["fp32"]
        assert (calibration.rule, calibration.defects, calibration.promised) == (rule, 4, None)
        cost = (20, 0.01) if rule == "cost" else (None, None)
        assert (calibration.cost_ratio, calibration.defect_rate) == cost
        evidence = json.loads((bundle / calibration.evidence).read_text())
        assert (evidence["cost_ratio"], evidence["defect_rate"]) == cost
    code, said, _, _ = calibrate(*KEEP, "--rule", "f1", "--split", "train")
    assert code == 1
    assert "needs good images that were not trained on and labelled bad ones" in said


def test_regions_have_their_own_threshold_and_least_area(calibrate, tiny_product):
    code, _, bundle, _ = calibrate(*KEEP, "--pixel", "0.001", "--min-area", "40mm2", "--mm-per-pixel", "0.5")
    assert code == 0
    calibration = entry_of(bundle).calibrations["grouped"]["fp32"]
    assert (calibration.pixel_threshold, calibration.min_area, calibration.mm_per_pixel) == (0.001, 160.0, 0.5)
    assert all(region.area >= 160 for region in load(bundle).inspect(tiny_product(1), "ring").regions)


def test_noise_strength_and_fusion_are_chosen_once_and_by_hand(calibrate, tiny_product, tiny_shots):
    shots = ("--split", "train")  # nothing else is scored again at every strength
    code, _, bundle, work = calibrate("--lambda", "0.3,0.4", "--fusion", "0,0.3", *shots)
    assert code == 0
    chosen = entry_of(bundle).calibrations["grouped"]["fp32"].chosen
    assert [point["lambda"] for point in chosen["curve"]] == [0.3, 0.4]
    assert chosen["by"] == "pasted defects"
    assert chosen["good"] > 0 < chosen["bad"]
    assert "chosen" in (work / "index.html").read_text()
    code, said, _, _ = calibrate(*shots, bundle=bundle)  # it is not tried again
    assert code == 0
    assert "Choosing" not in said
    assert entry_of(bundle).calibrations["grouped"]["fp32"].chosen == chosen
    # by hand: another strength makes the other precision's threshold worthless, and it goes
    manifest = read_manifest(bundle)
    manifest.categories["ring"].thresholds["grouped"]["bf16"] = 1.0
    write_manifest(bundle, manifest)
    code, _, _, _ = calibrate("--lambda", "0.7", "--fusion", "0.25", *shots, bundle=bundle)
    assert code == 0
    entry = entry_of(bundle)
    assert list(entry.thresholds["grouped"]) == ["fp32"]
    assert entry.weights["grouped"].alpha == 0.25
    assert read_manifest(bundle).schedules[entry.schedules["grouped"]].noise_strength == 0.7
    others = [leaving_out(load(bundle), "ring", (i,)) for i in range(len(tiny_shots["ring"]))]
    seen = [one.evidence(read_image(shot), "ring") for one, shot in zip(others, tiny_shots["ring"], strict=True)]
    highest = [highest_map(evidence, entry.weights["grouped"]) for evidence in seen]
    assert entry.levels.by_plan["grouped"] == pytest.approx(max(highest), rel=1e-4)
    assert load(bundle).inspect(tiny_product(1), "ring").threshold is not None


def test_a_bundle_that_is_calibrated_for_another_precision_keeps_that_threshold(calibrate, tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "both")
    manifest = read_manifest(bundle)
    manifest.categories["ring"].thresholds = {"grouped": {"bf16": 1.0}, "paper": {"fp32": 2.0}}
    write_manifest(bundle, manifest)
    assert calibrate(*KEEP, bundle=bundle)[0] == 0
    thresholds = entry_of(bundle).thresholds
    assert (thresholds["grouped"]["bf16"], thresholds["paper"]["fp32"]) == (1.0, 2.0)
    assert "fp32" in thresholds["grouped"]


def test_pairs_take_the_place_of_pasted_defects(calibrate, ring_data):
    code, _, bundle, _ = calibrate("--lambda", "keep", "--fusion", "0,0.2", "--pairs", str(ring_data))
    assert code == 0
    chosen = entry_of(bundle).calibrations["grouped"]["fp32"].chosen
    assert (chosen["by"], chosen["bad"]) == ("synthetic pairs", 4)


def test_pairs_that_cannot_be_used_are_refused_or_named(calibrate, ring_data, tmp_path):
    unmasked = tmp_path / "unmasked"
    shutil.copytree(ring_data, unmasked, ignore=shutil.ignore_patterns("ground_truth"))
    shutil.copytree(ring_data / "ring", tmp_path / "other" / "bolt")
    for folder in (unmasked, tmp_path / "other"):
        code, said, _, _ = calibrate("--lambda", "keep", "--fusion", "0,0.2", "--pairs", str(folder))
        assert code == 1
        assert f"--pairs {folder} has no defective picture of it with a mask" in said
    code, said, _, _ = calibrate(*KEEP, "--pairs", str(unmasked))
    assert code == 0
    assert "ring: --pairs is not used" in said


def test_a_promise_that_choosing_leaves_too_few_images_for_is_refused_before_any_work(calibrate, measured):
    # 19 images are needed and 24 are there, but six of them go into the choice
    code, said, _, work = calibrate("--split", "test", "--false-reject", "0.05", "--require-promise")
    assert code == 1
    assert "you gave 18" in said
    assert "6 more are for λ and fusion" in said
    assert (work / CACHE).read_bytes() == (measured / "b-calibration" / CACHE).read_bytes()


def roles_of(bundle):
    """Hashes of the good pictures and of those that something was chosen with, as the evidence says."""
    evidence = json.loads((bundle / entry_of(bundle).calibrations["grouped"]["fp32"].evidence).read_text())
    return [{p["sha256"] for p in evidence["pictures"] if p["role"] == role} for role in ("good", "choosing")]


def test_pictures_that_something_was_chosen_with_never_count_for_a_promise(calibrate, ring_data, tmp_path):
    """24 are there and six of them set the level of the map: 18 are left, however often it is calibrated again."""
    test = ("--split", "test", "--false-reject", "0.05")
    by_hand = (*test, "--lambda", "keep", "--fusion", "0.25")
    code, said, bundle, _ = calibrate(*by_hand)
    assert code == 0
    assert "needs 19 images for 5 %, you gave 18" in said
    good, chosen = roles_of(bundle)
    assert (len(good), len(chosen), good & chosen) == (18, 6, set())
    for options in (by_hand, (*test, *KEEP)):
        code, said, _, _ = calibrate(*options, bundle=bundle)
        assert code == 0
        assert "you gave 18" in said
        assert roles_of(bundle) == [good, chosen]
    code, said, _, _ = calibrate(*test, *KEEP, "--require-promise", bundle=bundle)
    assert code == 1
    assert "you gave 18" in said
    assert "6 more are for λ and fusion" in said
    # a calibration without these pictures does not forget them
    evidence = json.loads((bundle / entry_of(bundle).calibrations["grouped"]["fp32"].evidence).read_text())
    names = {p["file"] for p in evidence["pictures"] if p["role"] == "choosing"}
    assert len(names) == 6
    some = shutil.copytree(ring_data, tmp_path / "some", ignore=lambda folder, _: names if "good" in folder else ())
    (some / "ring/test/good/again.png").unlink(missing_ok=True)
    for data in (some, ring_data):
        assert calibrate(*test, *KEEP, bundle=bundle, data=data)[0] == 0
        assert roles_of(bundle) == [good, chosen]


def test_an_interrupted_calibration_leaves_the_bundle_and_goes_on(tiny_bundle, ring_data, tmp_path, monkeypatch):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    before = (bundle / "manifest.json").read_bytes()
    real, seen = Detector.inspect, []

    def interrupted(self, image, category, **options):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(category)
        return real(self, image, category, **options)

    arguments = ["calibrate", str(bundle), str(ring_data), *FAST, *KEEP, "--split", "test"]
    monkeypatch.setattr(Detector, "inspect", interrupted)
    assert run(arguments) == 130
    assert (bundle / "manifest.json").read_bytes() == before
    cache = tmp_path / "b-calibration" / CACHE
    assert len(cache.read_text().splitlines()) == 3
    with cache.open("a") as file:  # as a crash in the middle of a line leaves it
        file.write('{"key": "score')
    counted = []

    def counting(self, image, category, **options):
        counted.append(category)
        return real(self, image, category, **options)

    monkeypatch.setattr(Detector, "inspect", counting)
    assert run(arguments) == 0
    assert len(counted) == 24 + 4 - 3
    assert entry_of(bundle).thresholds["grouped"]


def test_a_failure_while_writing_changes_nothing(calibrate, tiny_bundle, tmp_path, monkeypatch):
    import edge_ad.calibration.write as writing

    def fails(*_):
        raise OSError(28, "No space left on device", "manifest.json")

    monkeypatch.setattr(writing, "write_manifest", fails)
    code, said, bundle, _ = calibrate(*KEEP)
    assert code == 1
    assert "No space left on device" in said
    assert (bundle / "manifest.json").read_bytes() == (tiny_bundle / "manifest.json").read_bytes()
    Bundle.open(bundle).close()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_writing_twice_leaves_what_shares_the_files_alone(calibrate, tmp_path):
    """Unchanged files are hard links: calibrating again must not write through them."""
    _, _, bundle, _ = calibrate(*KEEP)
    kept = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    linked = tmp_path / "linked"
    shutil.copytree(bundle, linked, copy_function=lambda a, b: __import__("os").link(a, b))
    assert calibrate(*KEEP, "--rule", "f1", bundle=bundle)[0] == 0
    for path, content in kept.items():
        assert (linked / path.relative_to(bundle)).read_bytes() == content
    Bundle.open(linked).close()
    Bundle.open(bundle).close()


def test_a_tar_is_calibrated_too(calibrate, tiny_bundle, tmp_path):
    packed = pack(tiny_bundle, tmp_path / "b.tar")
    assert calibrate(*KEEP, bundle=packed)[0] == 0
    assert tarfile.is_tarfile(packed)
    with Bundle.open(packed) as opened:
        assert opened.manifest.categories["ring"].thresholds["grouped"]["fp32"] > 0


def test_a_bundle_that_changed_meanwhile_is_not_overwritten(calibrate, tiny_bundle, tmp_path, monkeypatch):
    import edge_ad.calibration.calibrate as calibrating

    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    real = calibrating.gather

    def meddling(*arguments):
        manifest = read_manifest(bundle)
        manifest.metrics["other"] = 1
        write_manifest(bundle, manifest)
        return real(*arguments)

    monkeypatch.setattr(calibrating, "gather", meddling)
    code, said, _, _ = calibrate(*KEEP, bundle=bundle)
    assert code == 1
    assert "was changed while it was being calibrated" in said


def test_the_page_holds_everything(measured):
    folder = measured / "b-calibration"
    page = (folder / "index.html").read_text()
    assert "src=" not in page
    assert "http" not in page
    for title in ("Scores of the images", "Does the promise hold?", "Drift statistic", "out of focus"):
        assert title in page
    found = json.loads((folder / "calibration.json").read_text())["categories"]["ring"]
    assert found["promised"] == pytest.approx(0.04)
    assert "out of focus" in found["drift"]


def test_a_training_run_is_exported_first(calibrate, tiny_run):
    code, said, _, _ = calibrate(*KEEP, bundle=tiny_run)
    assert code == 2
    assert f'is a training run, no bundle; first: edge-ad export "{tiny_run}" --out BUNDLE' in said


def test_bad_input_is_one_sentence(calibrate, tiny_bundle, ring_data, tmp_path):
    for options, code, words in (
        (("--false-reject", "0"), 2, "--false-reject 0"),
        (("--split", "half"), 2, "--split half"),
        (("--lambda", "2"), 2, "--lambda 2"),
        (("--cost-ratio", "-1"), 2, "--cost-ratio"),
        (("--cost-ratio", "inf"), 2, "--cost-ratio"),
        (("--defect-rate", "1"), 2, "--defect-rate"),
        (("--defect-rate", "nan"), 2, "--defect-rate"),
        (("--rule", "f1", "--require-promise"), 2, "--rule f1 promises nothing"),
        (("--min-area", "3mm2"), 2, "--mm-per-pixel"),
        (("--pixel", "low"), 2, "--pixel"),
        (("--categories", "screw"), 1, "screw"),
    ):
        found, said, _, _ = calibrate(*KEEP, *options)
        assert (found, words in said) == (code, True), (options, said)
        assert "Traceback" not in said
    bundle = shutil.copytree(tiny_bundle, tmp_path / "old")
    manifest = read_manifest(bundle)
    manifest.categories["ring"].shots = None
    manifest.noise = {}
    write_manifest(bundle, manifest)
    code, said, _, _ = calibrate(*KEEP, bundle=bundle)
    assert code == 1
    assert "does not say which pictures of ring it was trained on" in said
    manifest.categories["ring"].shots = ()
    write_manifest(bundle, manifest)
    code, said, _, _ = calibrate("--lambda", "0.2", bundle=bundle)
    assert code == 1
    assert "does not hold the noise configuration" in said
