"""The import contracts hold for the installed package, and a breach of them is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


def lay_out(folder: Path) -> None:
    """Copy the checkout as it is installed: the parts inside `edge_ad`."""
    clean = shutil.ignore_patterns("__pycache__", "nano")
    shutil.copytree(ROOT / "edge_ad", folder / "edge_ad", ignore=clean)
    for part in ("training", "export", "calibration", "runtime"):
        shutil.copytree(ROOT / part, folder / "edge_ad" / part, ignore=clean)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_contracts_hold(tmp_path: Path) -> None:
    lay_out(tmp_path)
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("runtime/breach.py", "import torch"),
        ("runtime/breach.py", "import onnxruntime"),
        ("runtime/sessions/breach.py", "import edge_ad.export"),
        ("runtime/breach.py", "def f():\n    import fastapi"),
        ("training/breach.py", "import edge_ad.cli"),
        ("export/breach.py", "import edge_ad.commands"),
        ("edge_ad/files.py", "import edge_ad.runtime"),
        ("edge_ad/files.py", "import torch"),
        ("edge_ad/new.py", "import edge_ad.runtime.sessions"),
        ("edge_ad/new.py", "import edge_ad.evaluation"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, line: str) -> None:
    lay_out(tmp_path)
    target = tmp_path / "edge_ad" / module.removeprefix("edge_ad/")
    before = target.read_text() if target.exists() else ""
    target.write_text(f"{before}\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_runtime_loads_no_pytorch() -> None:
    heavy = ("torch", "diffusers", "transformers", "scipy", "sklearn", "fastapi", "edge_ad.training", "edge_ad.export")
    code = f"import sys, edge_ad.runtime; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
