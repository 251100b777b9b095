"""A compiled model out of the cache computes the same; a damaged or missing cache changes nothing but time."""

import gc

import numpy as np
import pytest

from edge_ad.runtime import Detector
from edge_ad.runtime.sessions import openvino_cache

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
