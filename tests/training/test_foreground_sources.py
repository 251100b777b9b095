"""Foregrounds from the user's files, and from rembg where it is installed."""

import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training.features import FeatureNet  # noqa: E402
from edge_ad.training.foreground_files import find_masks, read_foreground  # noqa: E402
from edge_ad.training.foreground_rembg import rembg_foregrounds  # noqa: E402
from edge_ad.training.prompts import category_info  # noqa: E402
from edge_ad.training.views import read_shots  # noqa: E402


@pytest.fixture(scope="module")
def net():
    return FeatureNet("lite0")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def disc(size=80):
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return np.hypot(x, y) < 0.7


def test_masks_are_found_by_the_shots_names(tmp_path, tiny_shots):
    shots = tiny_shots["ring"]
    for number, (shot, name) in enumerate(zip(shots, ("{}.png", "{}_mask.png", "{}.bmp"), strict=True)):
        save(tmp_path / "ring" / name.format(shot.stem), (disc() * 255).astype(np.uint8) // (number + 1))
    found = find_masks(tmp_path, "ring", shots, alone=False)
    assert [path.name for path in found] == ["ring0.png", "ring1_mask.png", "ring2.bmp"]
    assert found == find_masks(tmp_path / "ring", "ring", shots, alone=True)
    with pytest.raises(InputError, match="no folder"):
        find_masks(tmp_path / "ring", "ring", shots, alone=False)
    found[1].unlink()
    with pytest.raises(InputError, match=r"ring1\.png has no mask; draw .*ring1\.png, white"):
        find_masks(tmp_path, "ring", shots, alone=False)


def test_a_shots_foreground_is_the_users(tmp_path, tiny_shots, net):
    masks = [
        save(tmp_path / f"{number}.png", (np.roll(disc(), 5 * number, 1) * 255).astype(np.uint8)) for number in range(3)
    ]
    found = read_shots(tiny_shots["ring"], category_info("ring"), 80, net, method="texture", masks=masks)
    assert not found.texture
    for number, mask in enumerate(found.foregrounds):
        np.testing.assert_array_equal(mask, np.roll(disc(), 5 * number, 1))
    small = read_shots(tiny_shots["ring"][:1], category_info("ring"), 40, net, masks=masks[:1])
    assert small.foregrounds[0].shape == (40, 40)
    assert abs(small.foregrounds[0].mean() - disc().mean()) < 0.02
    white = save(tmp_path / "white.png", np.full((80, 80), 255, np.uint8))
    assert read_shots(tiny_shots["ring"][:1], category_info("ring"), 80, net, masks=[white]).texture


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((40, 80), 255, np.uint8), "80x40 pixels but its image is 80x80"),
        (np.zeros((80, 80), np.uint8), "black everywhere"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(array, says, tmp_path):
    path = save(tmp_path / "mask.png", array)
    with pytest.raises(InputError, match=says) as caught:
        read_foreground(path, (80, 80), 64)
    assert "mask.png" in str(caught.value)


def test_the_method_goes_before_the_table_and_the_pictures(tiny_shots, net):
    ring = tiny_shots["ring"]
    assert read_shots(ring, category_info("ring"), 64, net, method="texture").texture
    bottle = category_info("bottle")
    assert bottle.kind == "object"
    assert read_shots(ring, bottle, 64, net, method="texture").texture
    carpet = category_info("carpet")
    assert read_shots(ring, carpet, 64, net).texture
    assert read_shots(ring, carpet, 64, net, method="rembg").texture  # a known texture needs no segmentation
    assert not read_shots(ring, carpet, 64, net, method="object").texture


def test_rembg_that_is_not_installed_says_so(monkeypatch, tiny_picture):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(InputError, match="pip install rembg"):
        rembg_foregrounds([tiny_picture])


def test_a_missing_model_is_named_and_not_fetched(monkeypatch, tiny_picture, tmp_path):
    if "rembg" not in sys.modules:
        installed = ModuleType("rembg")
        installed.new_session = installed.remove = None  # not reached
        monkeypatch.setitem(sys.modules, "rembg", installed)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"u2net\.onnx is missing"):
        rembg_foregrounds([tiny_picture])


def test_rembg_runs_a_model_of_u2nets_form(monkeypatch, tmp_path):
    """The real rembg with a graph of U²-Net's inputs and outputs: brightness as saliency."""
    pytest.importorskip("rembg", reason="rembg is an option that a user installs")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    outputs = [helper.make_tensor_value_info(f"d{i}", TensorProto.FLOAT, [1, 1, 320, 320]) for i in range(7)]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [helper.make_node("ReduceMean", ["input", "axes"], [f"d{i}"], keepdims=1) for i in range(7)]
    graph = helper.make_graph(
        nodes, "u2net", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])], outputs, [axes]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "u2net.onnx"
    )
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    image = np.where(disc(96)[..., None], 230, 20).astype(np.uint8).repeat(3, 2)
    found = rembg_foregrounds([image, image])
    assert [mask.shape for mask in found] == [(96, 96)] * 2
    assert (found[0] == disc(96)).mean() > 0.97
    (tmp_path / "u2net.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a U²-Net model"):
        rembg_foregrounds([image])
