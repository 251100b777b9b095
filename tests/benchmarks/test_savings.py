"""The savings table on a tiny bundle: counts fall from row to row, and a second run computes nothing anew."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image


@pytest.fixture(scope="module")
def savings():
    path = Path(__file__).parents[2] / "benchmarks" / "savings.py"
    spec = importlib.util.spec_from_file_location("savings", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["savings"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rings(tmp_path, tiny_shots, draw_picture):
    ring = tmp_path / "data" / "ring"
    for part in ("train/good", "test/good", "test/block", "ground_truth/block"):
        (ring / part).mkdir(parents=True)
    for shot in tiny_shots["ring"]:
        shutil.copy(shot, ring / "train/good")
    mask = np.zeros((80, 80), np.uint8)
    mask[20:40, 30:50] = 255
    for i in range(2):
        good = draw_picture(20 + 2 * i)
        Image.fromarray(good).save(ring / f"test/good/{i}.png")
        Image.fromarray(np.where(mask[:, :, None] > 0, 255 - good, good)).save(ring / f"test/block/{i}.png")
        Image.fromarray(mask).save(ring / f"ground_truth/block/{i}_mask.png")
    return tmp_path / "data"


def test_the_table_is_complete_and_taken_up_again(savings, tiny_bundle, tiny_shots, rings, tmp_path):
    out = tmp_path / "savings.json"
    arguments = [str(tiny_bundle), str(rings), "--json", str(out), "--repeats", "1", "--provider", "cpu",
                 "--threads", "1"]  # fmt: skip
    first = CliRunner().invoke(savings.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert "no cascade" in first.output
    rows = json.loads(out.read_text())["rows"]
    names = list(rows)
    assert names[0] == "paper"
    assert (rows["paper"]["inpaintings"], rows["paper"]["decodings"]) == (86, 86)
    assert (rows["grouped"]["inpaintings"], rows["grouped"]["evaluations"], rows["grouped"]["decodings"]) == (13, 52, 5)
    assert rows["grouped-1"]["evaluations"] == 13
    # the paper's mask that prototypes guide has no weight in the other score
    assert names[1] == savings.OWN_SCORE
    assert rows[names[1]]["inpaintings"] == 85
    assert len(list((tmp_path / "savings-inpainted").glob("*/ring-*.npz"))) == 4 + len(tiny_shots["ring"])
    work = [rows[name]["flops"] for name in names[:6]]
    assert work == sorted(work, reverse=True)
    for row in rows.values():
        assert len(row["times"]) == 1
        assert 0 <= row["accuracy"]["ring"]["image_auroc"] <= 1
    assert "| grouped-1 | 13 |" in (tmp_path / "SAVINGS.md").read_text()
    again = CliRunner().invoke(savings.main, arguments, catch_exceptions=False)
    assert again.exit_code == 0
    assert json.loads(out.read_text())["rows"] == rows
