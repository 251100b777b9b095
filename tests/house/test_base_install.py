"""The base install, in an environment of its own and on the oldest Python: no PyTorch, and the edge works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys
import edge_ad, edge_ad.runtime
optional = {"openvino", "tensorrt", "tensorrt_rtx", "cuda"}
# the station is an extra
parts = ("edge_ad.training", "edge_ad.export", "edge_ad.calibration", "edge_ad.runtime.serve", "edge_ad.__main__")
for module in pkgutil.walk_packages(edge_ad.__path__, "edge_ad."):
    if module.name.startswith(parts):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in optional:
            raise
print("imported")
"""


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, check=False, cwd=python.parent)


def test_no_pytorch_is_installed(base_python: Path) -> None:
    done = run(
        base_python, "-c", "import importlib.util as u; print([u.find_spec(n) for n in ('torch', 'scipy', 'onnx')])"
    )
    assert done.stdout.strip() == "[None, None, None]", done.stderr


def test_runtime_verbs_and_shared_modules_import(base_python: Path) -> None:
    done = run(base_python, "-c", IMPORT_ALL)
    assert done.stdout.strip() == "imported", done.stderr


def test_the_doctor_answers(base_python: Path) -> None:
    done = run(base_python, "-m", "edge_ad", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["problems"] == []
    assert value["targets"]["onnx"]["can_run"] is True
    assert value["targets"]["onnx"]["can_build"] is False
    assert value["targets"]["onnx"]["why_not_build"]


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_verb_of_an_extra_has_help_without_it(base_python: Path, verb: str) -> None:
    listed = run(base_python, "-m", "edge_ad", "--help").stdout
    done = run(base_python, "-m", "edge_ad", verb, "--help")
    assert (done.returncode == 0) == (f"\n  {verb} " in listed), done.stderr


RUN_BUNDLE = """
import sys
import numpy as np
from edge_ad.runtime import Detector
detector = Detector.load(sys.argv[1], provider="cpu")
image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
found = detector.inspect(image, detector.categories[0], inpainted=True)
assert np.isfinite(found.score) and np.isfinite(found.score_map).all()
assert found.score_map.shape == (detector.image_size, detector.image_size)
assert found.inpainted.shape == (detector.image_size, detector.image_size, 3)
assert "torch" not in sys.modules
print("ran")
"""


def test_a_bundle_loads_and_runs(base_python: Path, tiny_bundle: Path) -> None:
    done = run(base_python, "-c", RUN_BUNDLE, str(tiny_bundle))
    assert done.stdout.strip() == "ran", done.stderr


def test_inspect_runs_a_bundle(
    base_python: Path, tiny_bundle: Path, tiny_shots: dict[str, list[Path]], tmp_path: Path
) -> None:
    category, (image, *_) = next(iter(tiny_shots.items()))
    arguments = ["inspect", str(tiny_bundle), str(image), "--category", category, "--out", str(tmp_path / "out")]
    done = run(base_python, "-m", "edge_ad", *arguments)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["category"] == category
