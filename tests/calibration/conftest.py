"""Drawn products for calibrating the tiny bundle with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image


def draw_ring(number: int, defect: bool = False, size: int = 80) -> np.ndarray:
    """A good ring, or one with a bright block across it: uint8 size,size,3. Another number, another part."""
    rng = np.random.default_rng([7, number])
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    ring = abs(np.hypot(x + rng.normal(0, 0.01), y) - 0.6) < 0.15
    image = 110 + 80 * ring[:, :, None] * np.array([1, 0.9, 0.7]) + rng.normal(0, 4, (size, size, 1))
    if defect:
        image[20:34, 26:46] = 250
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_product():
    """The function that draws a product."""
    return draw_ring


@pytest.fixture(scope="session")
def ring_data(tmp_path_factory, tiny_shots):
    """MVTec layout: the training pictures, 24 fresh good ones, one of them twice, and 4 bad ones with masks."""
    root = tmp_path_factory.mktemp("data")
    ring = root / "ring"
    for part in ("train/good", "test/good", "test/block", "ground_truth/block"):
        (ring / part).mkdir(parents=True)
    for shot in tiny_shots["ring"]:
        shutil.copy(shot, ring / "train/good")
    for i in range(24):
        Image.fromarray(draw_ring(i)).save(ring / f"test/good/{i:03}.png")
    shutil.copy(ring / "test/good/003.png", ring / "test/good/again.png")
    mask = np.zeros((80, 80), np.uint8)
    mask[20:34, 26:46] = 255
    for i in range(4):
        Image.fromarray(draw_ring(100 + i, defect=True)).save(ring / f"test/block/{i:03}.png")
        Image.fromarray(mask).save(ring / f"ground_truth/block/{i:03}_mask.png")
    return root
