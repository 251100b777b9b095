"""Fixtures that every part may use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY_CATEGORIES = ("ring", "weave")


def picture(seed: int, size: int = 80) -> np.ndarray:
    """A drawn product, uint8 size,size,3: a ring or a weave with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    field = (abs(np.hypot(x, y) - 0.6) < 0.15) if seed % 2 == 0 else np.sin(20 * x) * np.sin(20 * y)
    image = 110 + 80 * field[..., None] * np.array([1, 0.9, 0.7]) + rng.normal(0, 4, (size, size, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def make_tiny_base():
    """A base of nano's classes with random weights, at 64 px, so small that a test can export it."""
    import torch

    from edge_ad.training.pretrain.architecture import build_nano

    torch.set_num_threads(1)
    return build_nano(0, image_size=64, vae_width=8, widths=(32, 32), text_width=32)


def tiny_options(**changes):
    from edge_ad.export.pipeline import ExportOptions

    return ExportOptions(**{"bank_size": 128, "rotations": (0.0, 90.0), "steps": 2, **changes})


@pytest.fixture(scope="session")
def tiny_shots(tmp_path_factory) -> dict[str, list[Path]]:
    """Three good pictures of each of two categories."""
    folder = tmp_path_factory.mktemp("shots")
    shots: dict[str, list[Path]] = {}
    for i, name in enumerate(TINY_CATEGORIES):
        for shot in range(3):
            path = folder / f"{name}{shot}.png"
            Image.fromarray(picture(2 * shot + i)).save(path)
            shots.setdefault(name, []).append(path)
    return shots


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory, tiny_shots) -> Path:
    """A real exported bundle at 64 px, random weights, plans "grouped" (2 steps) and "paper". Copy it to change it."""
    pytest.importorskip("torch", reason="exporting needs the train and export extras")
    pytest.importorskip("onnxscript", reason="exporting needs the export extra")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from edge_ad.export.pipeline import Product, build_bundle

    products = {name: Product([f"a good {name}"], paths) for name, paths in tiny_shots.items()}
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return build_bundle(make_tiny_base(), products, out, tiny_options(), log=lambda line: None)


@pytest.fixture
def tiny_picture() -> np.ndarray:
    """A picture of the first category, uint8 80,80,3."""
    return picture(4)


@pytest.fixture(scope="session")
def tiny_base():
    """The function that makes the base `tiny_bundle` is exported from; the same weights at each call."""
    pytest.importorskip("diffusers", reason="a base needs the train extra")
    return make_tiny_base
