"""Pictures of the training in a calibration: never flattered by their own prototypes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.calibration.choose import trials
from edge_ad.calibration.material import Item
from edge_ad.calibration.shots import bank_without, own_shots
from edge_ad.cli import run
from edge_ad.images import picture_hash, read_image, resize_image
from edge_ad.runtime import Detector

OPTIONS = ("--provider", "cpu", "--threads", "1", "--lambda", "keep", "--fusion", "keep")


@pytest.fixture(scope="module")
def one_shot(tiny_bundle, tiny_shots, tmp_path_factory):
    """The bundle of a training with one picture: the bank holds all its features, and S counts for little."""
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("one") / "b")
    manifest = read_manifest(bundle)
    entry = manifest.categories["ring"]
    image = resize_image(read_image(tiny_shots["ring"][0]), manifest.image_size)
    session = Detector.load(tiny_bundle, provider="cpu", threads=1)._sessions["features"]
    features = session.run({"image": image[None]})["features"][0]
    bank = features.reshape(len(features), -1).T.astype(np.float16)
    np.save(bundle / entry.prototypes, bank)
    np.save(bundle / entry.prototype_shots, np.zeros(len(bank), np.int16))
    entry.shots = (picture_hash(image),)
    write_manifest(bundle, manifest)
    return bundle


@pytest.fixture
def calibrated(one_shot, tiny_shots, tiny_product, tmp_path, capsys):
    """Calibrate the one-shot bundle with its shot and some held-out pictures: output, entry, evidence, good scores."""

    def go(held_out):
        bundle, data = shutil.copytree(one_shot, tmp_path / f"b{held_out}"), tmp_path / f"data{held_out}" / "ring"
        for part in ("train", "test"):
            (data / part / "good").mkdir(parents=True)
        shutil.copy(tiny_shots["ring"][0], data / "train/good")
        for i in range(held_out):
            Image.fromarray(tiny_product(i)).save(data / f"test/good/{i}.png")
        split = () if held_out else ("--split", "train")
        assert run(["calibrate", str(bundle), str(data.parent), *OPTIONS, *split]) == 0
        entry = read_manifest(bundle).categories["ring"]
        made = entry.calibrations["grouped"]["fp32"]
        return capsys.readouterr().out, entry.thresholds["grouped"]["fp32"], made, bundle / made.evidence

    return go


def test_a_single_shot_is_no_measure_of_itself(calibrated, one_shot, tiny_product):
    said, threshold, made, evidence = calibrated(0)
    assert "an ESTIMATE from variations of the one training image, which has only its own prototypes" in said
    detector = Detector.load(one_shot, provider="cpu", threads=1)
    fresh = [detector.inspect(tiny_product(i), "ring").score for i in range(3)]
    assert threshold < 100 * max(fresh)  # 1e9 with the picture itself, whose error is none
    assert made.pixel_threshold < 1000 * max(fresh)
    shot = next(row for row in json.loads(evidence.read_text())["pictures"] if row["role"] == "shot")
    assert (len(shot["scores"]), len(shot["levels"]), shot["alone"]) == (4, 4, True)


def test_it_counts_only_where_hardly_anything_else_does(calibrated):
    said, _, made, _ = calibrated(2)
    assert "an ESTIMATE from 2 images, variations of the one training image" in said
    assert (made.images, made.shots) == (2, 1)
    said, _, made, _ = calibrated(3)
    assert "an ESTIMATE from 3 images and no promise" in said
    assert (made.images, made.shots) == (3, 0)


def test_a_picture_that_was_trained_on_twice_is_left_out_twice(tiny_bundle):
    with Bundle.open(tiny_bundle) as bundle:
        entry = bundle.category("ring")
        first, second, third = entry.shots
        origin = bundle.array(entry.prototype_shots)
        entry.shots = (first, second, first)
        assert own_shots(bundle, "ring", first) == (0, 2)
        assert own_shots(bundle, "ring", second) == (1,)
        assert own_shots(bundle, "ring", third) == ()
        assert len(bank_without(bundle, "ring", (0, 2)).norms) == (origin == 1).sum()
        entry.shots = (first, first, first)
        assert own_shots(bundle, "ring", first) is None


def test_defects_are_pasted_into_variations_of_a_single_shot(tiny_shots):
    path = tiny_shots["ring"][0]
    image = resize_image(read_image(path), 64)
    for own, shown in ((None, 0), ((0,), 1)):
        found = trials([(Item(path, "a"), own)], [], 64)
        good = [trial.image for trial in found if trial.mask is None]
        assert len(good) == 3
        assert sum(np.array_equal(one, image) for one in good) == shown
        alike = [np.array_equal(one.image[~one.mask], image[~one.mask]) for one in found if one.mask is not None]
        assert all(alike) if shown else not any(alike)
