"""Metrics in a bundle: the manifest and its hash change together."""

import shutil

import pytest

import edge_ad.bundle_files as bundle_files
from edge_ad.bundle import DIGEST
from edge_ad.bundle_files import Bundle
from edge_ad.commands.evaluate import _record
from edge_ad.evaluation import Evaluation


def test_a_kill_between_manifest_and_hash_leaves_the_bundle_as_it_was(tiny_bundle, tmp_path, monkeypatch):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    settings = {"plan": "grouped", "precision": "fp32", "provider": "cpu", "images": 0, "limit": None, "seed": 0}
    result = Evaluation(categories={}, seconds_per_image=0.0, settings={**settings, "data": "d"})
    write = bundle_files.write_text

    def killed(target, text):
        if target.name == DIGEST:
            raise KeyboardInterrupt
        write(target, text)

    with monkeypatch.context() as patched:
        patched.setattr(bundle_files, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            _record(bundle, result)
    with Bundle.open(bundle) as opened:
        assert "evaluation" not in opened.manifest.metrics
    _record(bundle, result)
    with Bundle.open(bundle) as opened:
        assert len(opened.manifest.metrics["evaluation"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
