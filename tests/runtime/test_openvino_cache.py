"""A compiled model out of the cache computes the same; a damaged or missing cache changes nothing but time."""

import gc

import numpy as np
import pytest

from edge_ad.bundle import Graph, TensorSpec
from edge_ad.files import sha256_file
from edge_ad.runtime import Detector
from edge_ad.runtime.sessions import openvino_cache
from edge_ad.runtime.sessions.base import SessionOptions
from edge_ad.runtime.sessions.openvino import OpenVinoSession

pytest.importorskip("openvino", reason="the openvino extra is not installed")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def scored(bundle, picture):
    detector = Detector.load(bundle, provider="openvino", threads=1)
    gc.collect()  # what keeps the mapped weights alive is the session, not chance
    return detector.inspect(picture, "ring").score_map


def test_the_cache_gives_the_same_and_is_made_anew_when_damaged(tiny_bundle, tiny_picture, cache, capsys):
    first = scored(tiny_bundle, tiny_picture)
    entries = sorted(cache.glob("*.blob"))
    assert len(entries) == 7
    before = {path: path.stat().st_mtime_ns for path in entries}
    np.testing.assert_allclose(scored(tiny_bundle, tiny_picture), first, rtol=1e-3, atol=1e-6)
    assert sorted(cache.glob("*.blob")) == entries
    largest = max(entries, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 255
    largest.unlink()
    largest.write_bytes(content)
    entries[0].write_bytes(b"")
    np.testing.assert_allclose(scored(tiny_bundle, tiny_picture), first, rtol=1e-3, atol=1e-6)
    assert largest.read_bytes() != bytes(content)
    assert entries[0].stat().st_size > 0
    assert set(before) == set(cache.glob("*.blob"))


def test_a_cache_that_cannot_be_written_is_done_without(tiny_bundle, tiny_picture, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "file"))
    assert np.isfinite(scored(tiny_bundle, tiny_picture)).all()


def test_the_least_recently_used_makes_room(tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(openvino_cache, "MOST_FOLDER", 250)
    for i, name in enumerate("abc"):
        (tmp_path / f"{name}.blob").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.blob", (1000 + i, 1000 + i))
    os.utime(tmp_path / "a.blob", (2000, 2000))
    openvino_cache._make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.blob", "c.blob"]


@pytest.mark.parametrize(("most", "kept"), [(1 << 20, 1), (5000, 0), ("the files", 0)])
@pytest.mark.parametrize("external", [False, True])
def test_a_large_model_is_not_kept(most, kept, external, tmp_path, cache, monkeypatch):
    """Its weights count, wherever they lie, and what OpenVINO makes of it; that is more than the files hold."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [value("x", 1, [2, 64])], [value("y", 1, [2, 64])],
        [weight],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "g.onnx", save_as_external_data=external, location="g.onnx.data", size_threshold=0)
    tensors = [TensorSpec(name=name, dtype="float32", shape=(2, 64)) for name in "xy"]
    entry = Graph(file="g.onnx", data="g.onnx.data" if external else None, inputs=tensors[:1], outputs=tensors[1:])
    limit = most if isinstance(most, int) else sum((tmp_path / file).stat().st_size for file in entry.paths)
    monkeypatch.setattr(openvino_cache, "MOST_MODEL", limit)
    own = "-".join(sha256_file(tmp_path / file) for file in entry.paths)
    for digest, more in (("of other files", 0), (own, kept)):
        session = OpenVinoSession(tmp_path / "g.onnx", entry, SessionOptions(threads=1), digest=digest)
        assert session.run({"x": np.ones((2, 64), np.float32)})["y"][0, 0] == 64
        assert len(list(cache.glob("*.blob"))) == more
