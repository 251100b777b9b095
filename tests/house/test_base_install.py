"""The base install, in an environment of its own and on the oldest Python: no PyTorch, and the edge works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys
import edge_ad, edge_ad.runtime
optional = {"openvino", "tensorrt", "tensorrt_rtx", "cuda", "fastapi", "starlette", "uvicorn"}
parts = ("edge_ad.training", "edge_ad.export", "edge_ad.calibration", "edge_ad.__main__")
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
