"""Metrics in a bundle: the manifest and its hash change together."""

import shutil

import pytest

import edge_ad.bundle_files as bundle_files
from edge_ad.bundle import DIGEST
from edge_ad.bundle_files import Bundle, read_manifest, write_manifest
from edge_ad.commands.evaluate import _record
from edge_ad.errors import BundleError
from edge_ad.evaluation import Evaluation


def evaluation():
    settings = {"plan": "grouped", "precision": "fp32", "provider": "cpu", "images": 0, "limit": None, "seed": 0}
    return Evaluation(categories={}, seconds_per_image=0.0, settings={**settings, "data": "d"})


def test_neither_a_damaged_bundle_nor_another_one_gets_the_metrics(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    evaluated = read_manifest(bundle)
    prompt = bundle / evaluated.categories["ring"].prompt
    content = prompt.read_bytes()
    prompt.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="is damaged"):
        _record(bundle, evaluation(), evaluated)
    write_manifest(bundle, evaluated)  # exported again meanwhile
    with pytest.raises(BundleError, match="has changed while it was evaluated"):
        _record(bundle, evaluation(), evaluated)
    assert "evaluation" not in read_manifest(bundle).metrics


def test_a_kill_between_manifest_and_hash_leaves_the_bundle_as_it_was(tiny_bundle, tmp_path, monkeypatch):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "b")
    result = evaluation()
    write = bundle_files.write_text

    def killed(target, text):
        if target.name == DIGEST:
            raise KeyboardInterrupt
        write(target, text)

    with monkeypatch.context() as patched:
        patched.setattr(bundle_files, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            _record(bundle, result, read_manifest(bundle))
    with Bundle.open(bundle) as opened:
        assert "evaluation" not in opened.manifest.metrics
    _record(bundle, result, read_manifest(bundle))
    with Bundle.open(bundle) as opened:
        assert len(opened.manifest.metrics["evaluation"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
