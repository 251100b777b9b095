"""Fixtures of the generator's tests: a drawn data set at 64 px, and weights that are no longer at their start."""

from __future__ import annotations

from pathlib import Path

import pytest

CATEGORY, DEFECT = "filter_cloth", "stain"


@pytest.fixture(scope="session")
def pairs_data(tmp_path_factory) -> Path:
    """Demo pictures of one category at 64 px: 4 good ones, and 2 or 3 pairs of each defect."""
    from edge_ad.training.pretrain.draw.demo import write_demo_set

    folder = tmp_path_factory.mktemp("pairs") / "demo"
    write_demo_set(folder, shots=4, good=1, bad=13, size=64, categories=(CATEGORY,))
    return folder


@pytest.fixture(scope="session")
def disturb():
    """The function that moves every trained weight of a model away from its start."""
    import torch

    def move(model, scale=0.05):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in model.trained.values():
                value.add_(scale * torch.randn(value.shape, generator=generator))
        return model

    return move
