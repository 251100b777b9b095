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
def tiny_run(tmp_path_factory, tiny_shots) -> Path:
    """A training run of the tiny base as `edge-ad train` writes it, LoRA adapter and decoder included."""
    pytest.importorskip("peft", reason="a run needs the train extra")
    import shutil

    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    from edge_ad.training.base import save_base
    from edge_ad.training.run import write_run

    base = make_tiny_base()
    folder = tmp_path_factory.mktemp("run")
    save_base(base, folder / "base", half=False)
    run = folder / "run"
    categories = {}
    for name, paths in tiny_shots.items():
        (run / "shots" / name).mkdir(parents=True)
        shots = [shutil.copy(path, run / "shots" / name) for path in paths]
        categories[name] = {
            "prompts": [f"A perfect {name}.", f"A {name} with no damage."],
            "shots": [Path(shot).relative_to(run).as_posix() for shot in shots],
        }
    base.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    generator = torch.Generator().manual_seed(0)
    for weight in (parameter for name, parameter in base.unet.named_parameters() if "lora_B" in name):
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    base.unet.save_lora_adapter(run / "adapter")
    save_file(
        {name: 1.01 * weight for name, weight in base.vae.decoder.state_dict().items()}, run / "decoder.safetensors"
    )
    write_run(run, base_id=str(folder / "base"), image_size=64, categories=categories, settings={"steps": 0}, losses={})
    return run


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory, tiny_run) -> Path:
    """A real exported bundle at 64 px, random weights, plans "grouped" (2 steps) and "paper". Copy it to change it."""
    pytest.importorskip("onnxscript", reason="exporting needs the export extra")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from edge_ad.export.pipeline import export_run

    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return export_run(tiny_run, out, log=lambda line: None, bank_size=128, rotations=(0.0, 90.0), steps=2)


@pytest.fixture
def tiny_picture() -> np.ndarray:
    """A picture of the first category, uint8 80,80,3."""
    return picture(4)


@pytest.fixture(scope="session")
def tiny_base():
    """The function that makes the base `tiny_bundle` is exported from; the same weights at each call."""
    pytest.importorskip("diffusers", reason="a base needs the train extra")
    return make_tiny_base


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory, tiny_base) -> Path:
    """The tiny base as a diffusers folder in fp32. Copy it to change it."""
    from edge_ad.training.base import save_base

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    save_base(tiny_base(), folder, half=False)
    return folder


@pytest.fixture(scope="session")
def draw_picture():
    """The function that draws `tiny_picture` and its like: seed, side to uint8 side,side,3; even seeds are rings."""
    return picture


def _random_heads(folder: Path, seed: int) -> Path:
    import torch

    from edge_ad.training.checkpoint import write_weights
    from edge_ad.training.heads.folder import Heads, write_heads
    from edge_ad.training.heads.network import Classifier, Segmenter

    torch.manual_seed(seed)
    write_weights(folder / "segmenter.safetensors", Segmenter())
    write_weights(folder / "classifier.safetensors", Classifier(3))
    write_heads(Heads(folder, 64, "small", {"ring": ["bar", "spot"], "weave": ["spot"]}, True))
    return folder


@pytest.fixture(scope="session")
def random_heads():
    """The function that writes heads with random weights for the bundle's categories, as a training writes them."""
    pytest.importorskip("torchvision", reason="heads need the train extra")
    return _random_heads
