"""A wheel built from the checkout, and an environment with nothing but the base install of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("edge_ad", "training", "export", "calibration", "runtime")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout's sources, so that a build leaves the checkout as it is."""
    folder = tmp_path_factory.mktemp("source") / "edge-ad"
    folder.mkdir()
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    """The wheel of this checkout."""
    out = source.parent / "dist"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=source.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def oldest_python() -> str:
    """Python 3.10 where there is one (the oldest that the base install is for), else the one that runs the tests."""
    found = shutil.which("python3.10")
    managed = sorted(Path("~/.pyenv/versions").expanduser().glob("3.10.*/bin/python"))
    for candidate in [found, *map(str, managed)]:
        if (
            candidate
            and subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    return sys.executable


@pytest.fixture(scope="session")
def base_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds edge-ad's base install, from the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([oldest_python(), "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return python
