"""What a benchmark goes on from in its folder was made with the same options."""

import importlib
import json

import pytest
from click.testing import CliRunner

from edge_ad.errors import OptionError


def test_a_folder_is_gone_on_with_by_the_same_options_only(tmp_path):
    check_begun = importlib.import_module("begun").check_begun
    asked = {"data": "d", "shots": 4, "steps": None}
    check_begun(tmp_path, asked)
    check_begun(tmp_path, asked)
    with pytest.raises(OptionError, match="was begun with shots 4, not 1; steps None, not 0: name another folder"):
        check_begun(tmp_path, {**asked, "shots": 1, "steps": 0})
    assert json.loads((tmp_path / "asked.json").read_text()) == asked


def test_accuracy_refuses_other_steps(tmp_path):
    pytest.importorskip("torch")
    accuracy = importlib.import_module("accuracy")
    begun = {"data": str(tmp_path / "data"), "shots": 4, "steps": None}
    (tmp_path / "asked.json").write_text(json.dumps(begun))
    words = [begun["data"], "--out", str(tmp_path), "--steps", "0"]
    with pytest.raises(OptionError, match="steps None, not 0"):
        CliRunner().invoke(accuracy.main, words, catch_exceptions=False)


def test_precisions_refuses_another_plan(tiny_bundle, tmp_path):
    precisions = importlib.import_module("precisions")
    for part in ("train/good", "test/good", "test/bad"):
        folder = tmp_path / "data" / "ring" / part
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "asked.json").write_text(json.dumps({"plan": "paper"}))
    words = [str(tiny_bundle), str(tmp_path / "data"), "--out", str(tmp_path / "work"), "--plan", "grouped"]
    with pytest.raises(OptionError, match="plan paper, not grouped"):
        CliRunner().invoke(precisions.main, words, catch_exceptions=False)
