"""Fixtures of the heads' tests: drawn rings and weaves at 64 px with spots and bars, and heads trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_pairs(folder: Path, draw, kinds: dict[str, tuple[str, ...]], count: int, first: int = 0) -> Path:
    """Pairs of each category's kinds: a dark spot, or a bright bar; with good pictures to train and to test."""
    from edge_ad.images import write_image

    for offset, (category, names) in enumerate(kinds.items()):
        for number in range(count):
            seed = 2 * (first + number) + offset
            write_image(folder / category / "train" / "good" / f"{number:03}.png", draw(seed, 64))
            write_image(folder / category / "test" / "good" / f"{number:03}.png", draw(seed + 1000, 64))
            for kind in names:
                image, mask = draw(seed + 2000, 64).copy(), np.zeros((64, 64), bool)
                y, x = np.random.default_rng([seed, len(kind)]).integers(8, 48, 2)
                if kind == "spot":
                    mask[y : y + 8, x : x + 8] = True
                    image[mask] = 10
                else:
                    mask[y : y + 3, :] = True
                    image[mask] = 250
                write_image(folder / category / "test" / kind / f"{number:03}.png", image)
                write_image(folder / category / "ground_truth" / kind / f"{number:03}_mask.png", mask)
    return folder


@pytest.fixture(scope="session")
def head_data(tmp_path_factory, draw_picture) -> Path:
    """Rings with two kinds of defects and weaves with one, six pairs of each."""
    kinds = {"ring": ("bar", "spot"), "weave": ("spot",)}
    return write_pairs(tmp_path_factory.mktemp("heads") / "data", draw_picture, kinds, 6)


@pytest.fixture(scope="session")
def head_settings():
    """Settings of a training of seconds."""
    from edge_ad.training.heads.train import HeadSettings, HeadTuning

    short = HeadTuning(steps=3, batch=4, save_every=1)
    return HeadSettings(image_size=64, segmenter=short, classifier=short, device="cpu", mixed_precision="no")


@pytest.fixture(scope="session")
def trained_heads(tmp_path_factory, head_data, head_settings):
    """Heads trained for three steps."""
    from edge_ad.training.heads.train import train_heads

    return train_heads([head_data], tmp_path_factory.mktemp("trained") / "heads", head_settings, good=head_data)
