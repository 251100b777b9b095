"""The cache of engines: what goes wrong around it costs time, never an engine."""

import os

import pytest

from edge_ad.runtime.engines.cache import EngineCache


@pytest.fixture
def cache(tmp_path):
    """A cache with one engine under the name `key`."""
    (tmp_path / "built").write_bytes(b"engine")
    kept = EngineCache(tmp_path / "cache")
    kept.store("key", tmp_path / "built", 2.5)
    return kept


@pytest.fixture
def homeless(monkeypatch):
    """An account without a home folder."""
    pwd = pytest.importorskip("pwd", reason="POSIX accounts")

    def getpwuid(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    for name in ("HOME", "EDGE_AD_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_target_that_cannot_be_written_costs_no_entry(cache, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        cache.fetch("key", tmp_path / "file" / "engine")
    assert cache.fetch("key", tmp_path / "engine") == 2.5
    assert (tmp_path / "engine").read_bytes() == b"engine"


def test_a_damaged_entry_goes_and_writes_nothing(cache, tmp_path):
    (cache.folder / "key.engine").write_bytes(b"engin!")
    assert cache.fetch("key", tmp_path / "engine") is None
    assert os.listdir(cache.folder) == []
    assert not (tmp_path / "engine").exists()


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"engine")
    kept = EngineCache(tmp_path / "file" / "cache")
    kept.store("key", tmp_path / "file", 1.0)
    assert kept.fetch("key", tmp_path / "engine") is None


def test_an_account_without_a_home_keeps_nothing(homeless, tmp_path, capsys):
    from edge_ad.cli import run
    from edge_ad.doctor.weights import check_weights

    (tmp_path / "built").write_bytes(b"engine")
    kept = EngineCache()
    kept.store("key", tmp_path / "built", 1.0)
    assert (kept.fetch("key", tmp_path / "engine"), kept.size(), kept.clear()) == (None, (0, 0), 0)
    assert len(check_weights()) == 6
    assert run(["engines", "cache"]) == 1
    assert "set EDGE_AD_CACHE to a folder" in capsys.readouterr().err
