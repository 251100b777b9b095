"""What heads learn from, their training, their folder and their measurement, on drawn data."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from edge_ad.commands.heads import command  # noqa: E402
from edge_ad.errors import BundleError, InputError, OptionError  # noqa: E402
from edge_ad.images import read_image, read_mask, shrink_mask, write_image  # noqa: E402
from edge_ad.metrics import auroc  # noqa: E402
from edge_ad.training.heads import train as training  # noqa: E402
from edge_ad.training.heads.folder import load_heads  # noqa: E402
from edge_ad.training.heads.measure import measure_heads  # noqa: E402
from edge_ad.training.heads.network import SegmenterGraph  # noqa: E402
from edge_ad.training.heads.pictures import Material, Reader, Views, gather  # noqa: E402
from edge_ad.training.heads.train import HeadTuning, train_heads  # noqa: E402
from edge_ad.training.prompts import category_info, read_table  # noqa: E402


def views_of(data, seed=0):
    material = gather([data], data)
    return Views(material, {name: category_info(name, read_table()) for name in material.kinds}, 64, seed)


def test_pairs_of_several_data_sets_are_put_together(head_data):
    once, twice = gather([head_data], None), gather([head_data, head_data], head_data, ["ring"])
    assert once.kinds == {"ring": ["bar", "spot"], "weave": ["spot"]}
    assert once.good == {}
    assert len(twice.pairs["ring"]["bar"]) == 12
    assert list(twice.good) == ["ring"]


def test_what_is_missing_is_named(head_data, tmp_path):
    (tmp_path / "good").mkdir()
    with pytest.raises(InputError, match="no pairs of screw"):
        gather([head_data], None, ["screw"])
    other = tmp_path / "other" / "screw"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes((head_data / "ring" / "train" / "good" / "000.png").read_bytes())
    with pytest.raises(InputError, match="none of the categories ring, weave; it has: screw"):
        gather([head_data], tmp_path / "other")


def test_categories_that_nobody_asked_for_may_be_of_any_kind(head_data, trained_heads, tmp_path):
    data = shutil.copytree(head_data, tmp_path / "data")
    shutil.copytree(data / "ring" / "train", data / "screw" / "train")  # no test/
    shutil.copytree(data / "ring" / "test", data / "nut" / "test")  # no train/
    found = gather([data, head_data], data, ["ring"])
    assert list(found.pairs) == list(found.good) == ["ring"]
    with pytest.raises(InputError, match="category screw has no test images"):
        gather([data], None)
    assert set(measure_heads(trained_heads, data)) == {"ring", "weave", "mean"}


def test_a_batch_follows_from_seed_and_step_and_has_its_share_of_good_pictures(head_data):
    first, masks = views_of(head_data).segmentation(3, 40, 0.5)
    again, _ = views_of(head_data).segmentation(3, 40, 0.5)
    np.testing.assert_array_equal(first, again)
    assert 10 <= sum(not mask.any() for mask in masks) <= 30
    assert not np.array_equal(first, views_of(head_data, seed=1).segmentation(3, 40, 0.5)[0])
    _, labels = views_of(head_data).kinds(0, 40, ["ring"])
    assert {kind for _, kind in labels} == {"bar", "spot"}


def test_thin_defects_do_not_vanish_on_a_smaller_picture(tmp_path):
    for column in range(0, 150, 7):
        mask = np.zeros((100, 150), bool)
        mask[:, column] = True
        write_image(tmp_path / "mask.png", mask)
        write_image(tmp_path / "picture.png", mask)
        _, found = Reader(64)((tmp_path / "picture.png", tmp_path / "mask.png"))
        (places,) = np.nonzero(found.any(axis=0))
        assert len(places) == 1
        assert found[:, places].all()
        assert abs(places[0] + 0.5 - (column + 0.5) * 64 / 150) < 1
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    np.testing.assert_array_equal(shrink_mask(mask, 64), mask)
    np.testing.assert_array_equal(shrink_mask(mask, 128), np.kron(mask, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(shrink_mask(mask, 32), mask.reshape(32, 2, 32, 2).any((1, 3)))


def test_no_view_of_a_pair_is_without_its_defect(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[1, 1] = True
    write_image(tmp_path / "mask.png", mask)
    write_image(tmp_path / "picture.png", mask)
    material = Material({"ring": {"dot": [(tmp_path / "picture.png", tmp_path / "mask.png")]}}, {})
    _, masks = Views(material, {"ring": category_info("ring", read_table())}, 64, 0).segmentation(0, 40, 0)
    assert masks.any(axis=(1, 2)).all()


def test_an_interrupted_training_ends_with_the_same_weights(
    head_data, head_settings, trained_heads, tmp_path, monkeypatch
):
    class Stop(Exception):
        pass

    real, calls = training.fit, []

    def stopped(*args, tick, **kwargs):
        def counted(count=1, note=""):
            tick(count, note)
            calls.append(note)
            if len(calls) == 2:
                raise Stop

        return real(*args, tick=counted, **kwargs)

    monkeypatch.setattr(training, "fit", stopped)
    out = tmp_path / "heads"
    with pytest.raises(Stop):
        train_heads([head_data], out, head_settings, good=head_data)
    assert not (out / "heads.json").exists()
    again = train_heads([head_data], out, head_settings, good=head_data)
    for name, value in trained_heads.segmenter().state_dict().items():
        if "num_batches" not in name:  # counted, and of no use: statistics have a fixed momentum
            assert torch.equal(value, again.segmenter().state_dict()[name]), name
    assert not (out / "work").exists()
    with pytest.raises(InputError, match="finished set of heads"):
        train_heads([head_data], out, head_settings, good=head_data)


def test_begun_heads_are_taken_up_with_the_same_files_and_table_only(head_data, head_settings, tmp_path, monkeypatch):
    data = shutil.copytree(head_data, tmp_path / "data")
    table = tmp_path / "mine.toml"
    table.write_text("[ring]\nmirror = true\n")

    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", interrupted)

    def begin():
        with pytest.raises(KeyboardInterrupt):
            train_heads([data], tmp_path / "heads", replace(head_settings, categories_file=table), good=data)

    begin()
    begin()
    mask = min((data / "ring" / "ground_truth" / "spot").iterdir())
    good = min((data / "weave" / "train" / "good").iterdir())
    for changed, content in ((mask, b"other"), (good, b"other"), (table, b"[ring]\nmirror = false\n")):
        before = changed.read_bytes()
        changed.write_bytes(content)
        with pytest.raises(InputError, match="not begun with these options and files"):
            train_heads([data], tmp_path / "heads", replace(head_settings, categories_file=table), good=data)
        changed.write_bytes(before)
    begin()


def test_it_learns_where_a_defect_is(head_data, head_settings, tmp_path):
    """Thirty steps on spots of one category: the pixels of a spot come to score above the others."""
    settings = replace(head_settings, segmenter=HeadTuning(steps=30, batch=4, learning_rate=3e-3, average=0.5))
    heads = train_heads([head_data], tmp_path / "heads", settings, good=head_data, categories=["weave"])
    assert not heads.classified
    assert heads.classifier() is None
    found = measure_heads(heads, head_data)
    assert found["weave"]["pixel_auroc"] > 0.9
    assert found["weave"]["accuracy"] is None


def test_the_folder_names_what_is_damaged(trained_heads, tmp_path):
    with pytest.raises(InputError, match="holds no heads"):
        load_heads(tmp_path)
    folder = shutil.copytree(trained_heads.folder, tmp_path / "heads")
    assert load_heads(folder).kinds == {"ring": ["bar", "spot"], "weave": ["spot"]}
    with (folder / "segmenter.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"segmenter\.safetensors is damaged"):
        load_heads(folder)
    (folder / "segmenter.safetensors").unlink()
    with pytest.raises(BundleError, match=r"segmenter\.safetensors is missing"):
        load_heads(folder)
    (folder / "heads.json").write_text("[]")
    with pytest.raises(BundleError, match="is damaged"):
        load_heads(folder)


def test_measured_one_by_one(trained_heads, head_data):
    """The pixel AUROC and the accuracy of rings, and that `rest` leaves the first third of each kind out."""
    found = measure_heads(trained_heads, head_data)
    net, classifier = SegmenterGraph(trained_heads.segmenter()), trained_heads.classifier()
    maps, masks, right = [], [], []
    for kind in ("good", "bar", "spot"):
        for path in sorted((head_data / "ring" / "test" / kind).iterdir()):
            image = read_image(path)
            with torch.no_grad():
                maps.append(net(torch.tensor(image)[None])[0][0].numpy())
                if kind != "good":
                    logits = classifier(torch.tensor(image)[None])[0, :2]
                    right.append(["bar", "spot"][int(logits.argmax())] == kind)
            truth = head_data / "ring" / "ground_truth" / kind / f"{path.stem}_mask.png"
            masks.append(read_mask(truth, (64, 64)) if kind != "good" else np.zeros((64, 64), bool))
    assert found["ring"]["pixel_auroc"] == pytest.approx(auroc(np.stack(masks), np.stack(maps)), abs=1e-5)
    assert found["ring"]["accuracy"] == np.mean(right)
    assert set(found) == {"ring", "weave", "mean"}
    rest = measure_heads(trained_heads, head_data, rest=True)
    assert rest["ring"] != found["ring"]
    spots = measure_heads(trained_heads, head_data, only=[("ring", "spot")])
    assert spots["ring"]["accuracy"] == np.mean(right[6:])
    assert spots["weave"]["image_auroc"] is None


def test_options_that_cannot_be(head_data, head_settings, tmp_path):
    with pytest.raises(OptionError, match="--size 100 is not a multiple of 16"):
        train_heads([head_data], tmp_path / "a", replace(head_settings, image_size=100))
    with pytest.raises(OptionError, match="--batch 4 cannot be split"):
        train_heads([head_data], tmp_path / "a", replace(head_settings, accumulate=3))
    assert not (tmp_path / "a").exists()


def test_from_the_command_line(head_data, tmp_path):
    out, figures = tmp_path / "heads", tmp_path / "figures.json"
    short = ["--size", "64", "--steps", "1", "--batch", "2", "--classifier-steps", "1", "--classifier-batch", "2"]
    arguments = ["train", str(head_data), "--good", str(head_data), "--out", str(out), "--device", "cpu", *short]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "segmenter and classifier of ring, weave" in result.output
    result = CliRunner().invoke(command, ["test", str(out), str(head_data), "--rest", "--json", str(figures)])
    assert "pixel_auroc" in result.output
    assert set(json.loads(figures.read_text())) == {"ring", "weave", "mean"}
