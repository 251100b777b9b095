"""Fixtures of the PyTorch side: a small base on disk, and one thread."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread: the networks here are too small for more, and results are then the same on every machine."""
    torch = pytest.importorskip("torch", reason="training needs the train extra")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory, tiny_base) -> Path:
    """The tiny base as a diffusers folder in fp32. Copy it to change it."""
    from edge_ad.training.base import save_base

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    save_base(tiny_base(), folder, half=False)
    return folder
