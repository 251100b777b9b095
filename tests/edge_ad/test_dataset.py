"""Data set folders: the three layouts, and what is wrong with a folder that is none of them."""

import numpy as np
import pytest
from PIL import Image

from edge_ad.dataset import Category, load_dataset, shots
from edge_ad.errors import InputError, OptionError


def put(path, *names):
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path / name)


def mvtec(root, name="bottle"):
    category = root / name
    put(category / "train" / "good", "001.png", "000.png", "002.png")
    put(category / "test" / "good", "000.png")
    put(category / "test" / "crack", "000.png", "001.png")
    put(category / "ground_truth" / "crack", "000_mask.png", "001.png")
    (category / "license.txt").write_text("by")
    return category


def test_mvtec_folder(tmp_path):
    mvtec(tmp_path)
    mvtec(tmp_path, "cable")
    data = load_dataset(tmp_path)
    assert data.names == ["bottle", "cable"]
    bottle = data["bottle"]
    assert [path.name for path in bottle.train_good] == ["000.png", "001.png", "002.png"]
    assert [(s.defect, s.path.name, s.is_bad) for s in bottle.test] == [
        ("crack", "000.png", True),
        ("crack", "001.png", True),
        ("good", "000.png", False),
    ]
    assert [s.mask and s.mask.name for s in bottle.test] == ["000_mask.png", "001.png", None]


def test_one_category_of_mvtec_and_the_order_asked_for(tmp_path):
    assert load_dataset(mvtec(tmp_path)).names == ["bottle"]
    mvtec(tmp_path, "cable")
    assert load_dataset(tmp_path, ["cable", "bottle", "cable"]).names == ["cable", "bottle"]


def test_a_relative_folder_has_its_real_name(tmp_path, monkeypatch):
    monkeypatch.chdir(mvtec(tmp_path))
    assert load_dataset(".").names == ["bottle"]


def test_without_ground_truth_there_are_no_masks(tmp_path):
    put(tmp_path / "test" / "good", "0.png")
    put(tmp_path / "test" / "bad", "0.png")
    data = load_dataset(tmp_path, need_test=True)
    assert [(s.mask, s.is_bad) for s in data.categories[0].test] == [(None, True), (None, False)]


def test_folders_of_good_images(tmp_path):
    put(tmp_path / "screw", "b.jpg", "a.png")
    put(tmp_path / "nut", "c.png")
    put(tmp_path / ".cache", "d.png")
    (tmp_path / "notes").mkdir()
    data = load_dataset(tmp_path)
    assert data.names == ["nut", "screw"]
    assert [path.name for path in data["screw"].train_good] == ["a.png", "b.jpg"]
    assert data["nut"].test == []
    single = load_dataset(tmp_path / "screw")
    assert single.names == ["screw"]
    assert len(single.categories[0].train_good) == 2


def test_no_images(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no images found \(\.png"):
        load_dataset(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        load_dataset(tmp_path / "file")
    put(tmp_path / "bottle" / "test" / "good", "0.png")
    with pytest.raises(InputError, match=r"train/good.*bottle has no good training images"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, need_test=True)["bottle"].train_good == []


def test_no_test_images(tmp_path):
    put(tmp_path / "bottle" / "train" / "good", "0.png")
    with pytest.raises(InputError, match="bottle has no test images"):
        load_dataset(tmp_path, need_test=True)


def test_unknown_categories_are_listed_with_the_known(tmp_path):
    mvtec(tmp_path)
    mvtec(tmp_path, "cable")
    with pytest.raises(InputError, match="no category zip; it has: bottle, cable"):
        load_dataset(tmp_path, ["bottle", "zip"])
    with pytest.raises(InputError, match="it has: bottle, cable"):
        load_dataset(tmp_path)["zip"]
    with pytest.raises(OptionError, match="no category was asked for"):
        load_dataset(tmp_path, [])


def test_a_missing_mask_is_named(tmp_path):
    category = mvtec(tmp_path)
    (category / "ground_truth" / "crack" / "000_mask.png").unlink()
    with pytest.raises(
        InputError, match=r"test/crack/000\.png: its mask .*ground_truth/crack/000_mask\.png is missing"
    ):
        load_dataset(tmp_path)


def test_mixed_layouts(tmp_path):
    mvtec(tmp_path / "a")
    put(tmp_path / "a", "loose.png")
    with pytest.raises(InputError, match=r"mixes layouts: images \(loose\.png\) beside folders"):
        load_dataset(tmp_path / "a")
    mvtec(tmp_path / "b")
    put(tmp_path / "b" / "nut", "0.png")
    with pytest.raises(InputError, match=r"mixes layouts: bottle/ has train/ or test/ folders, nut/ has images"):
        load_dataset(tmp_path / "b")
    put(tmp_path / "b" / "bottle", "loose.png")
    with pytest.raises(InputError, match=r"mixes layouts: train/ or test/ beside loose\.png"):
        load_dataset(tmp_path / "b" / "bottle")


def test_shots(tmp_path):
    category = Category("nut", [tmp_path / f"{i:02}.png" for i in range(10)], [])
    assert shots(category, 3) == category.train_good[:3]
    chosen = {seed: shots(category, 3, seed) for seed in range(1, 20)}
    assert all(len(set(paths)) == 3 and paths == sorted(paths) for paths in chosen.values())
    assert len({tuple(paths) for paths in chosen.values()}) > 10
    assert shots(category, 3, 7) == chosen[7]
    with pytest.raises(OptionError, match="nut has 10 good training images, 11"):
        shots(category, 11)
    with pytest.raises(OptionError, match="at least 1"):
        shots(category, 0)
