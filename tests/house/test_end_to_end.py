"""From photographs to decisions, with the commands alone and in seconds."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("onnxscript")

from edge_ad.cli import run as edge_ad

PRODUCTS = ("ring", "weave")


@pytest.fixture
def plant(tmp_path, tiny_base, draw_picture):
    """A tiny base folder, and a data set of two products; a bad part has a dark square."""
    from edge_ad.training.base import save_base

    save_base(tiny_base(), tmp_path / "base", half=False)
    for i, name in enumerate(PRODUCTS):
        for split, kind, count in (("train", "good", 2), ("test", "good", 4), ("test", "burn", 4)):
            for number in range(count):
                pixels = draw_picture(2 * (number + 10 * (split == "test") + 20 * (kind == "burn")) + i)
                hidden = np.zeros(pixels.shape[:2], np.uint8)
                if kind == "burn":
                    hidden[24 + 4 * number : 44 + 4 * number, 30:50] = 255
                    pixels[hidden > 0] = (30, 20, 20)
                    save(tmp_path / "data" / name / "ground_truth" / kind / f"{number}_mask.png", hidden)
                save(tmp_path / "data" / name / split / kind / f"{number}.png", pixels)
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_from_photographs_to_decisions(plant, capsys):
    data, run, bundle = plant / "data", plant / "run", plant / "bundle"
    quick = "--steps=3 --decoder-steps=2 --batch=2 --rank=2 --views=4 --shots=2 --device=cpu"

    def command(*words):
        code = edge_ad([str(word) for word in words])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    command("train", data, "--base", plant / "base", "--out", run, *quick.split())
    command("export", run, "--out", bundle, "--plan", "grouped", "--steps", 2, "--bank-size", 256)
    command("verify", bundle)
    command("evaluate", bundle, data, "--json", plant / "metrics.json", "--report", plant / "report")
    found = json.loads((plant / "metrics.json").read_text())
    assert set(found["categories"]) == set(PRODUCTS)
    assert found["mean"]["image_auroc"] > 0.9
    assert found["mean"]["pixel_auroc"] > 0.8
    assert (plant / "report" / "index.html").stat().st_size > 10_000

    command("calibrate", bundle, data, "--false-reject", 0.2, "--lambda", "keep", "--fusion", "keep")
    bad, good = data / "ring" / "test" / "burn" / "1.png", data / "ring" / "test" / "good" / "1.png"
    lines = command("inspect", bundle, bad, good, "--category", "ring", "--out", plant / "seen").splitlines()
    records = [json.loads(line) for line in (plant / "seen" / "results.jsonl").read_text().splitlines()]
    assert [record["verdict"] for record in records] == ["bad", "good"], lines
    region = records[0]["regions"][0]
    assert region["x"] < 50
    assert region["x"] + region["width"] > 30
    assert region["y"] < 48
    assert region["y"] + region["height"] > 28
