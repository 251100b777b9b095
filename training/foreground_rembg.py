"""Foreground masks of U²-Net through the `rembg` package, where a user has installed it and its model file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.errors import InputError

MODEL = "u2net.onnx"


def model_file() -> Path:
    """Where rembg keeps U²-Net: `$U2NET_HOME/u2net.onnx`, else `~/.u2net/u2net.onnx`."""
    return Path(os.environ.get("U2NET_HOME") or Path.home() / ".u2net") / MODEL


def open_u2net(option: str) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]:
    """U²-Net (Qin et al. 2020) as a function of a picture uint8 S,S,3: where its saliency is above one half, bool S,S.

    option: what asked for it, for the errors. Nothing is downloaded.

    Raises:
        InputError: rembg is not installed, or its model file is missing or unreadable.
    """
    path = model_file()
    try:
        from rembg import new_session, remove
    except (ImportError, SystemExit) as error:  # rembg ends the process where it finds no onnxruntime
        raise InputError(
            f"{option} needs the rembg package: pip install rembg (and its model, see docs/train.md)"
        ) from error
    if not path.is_file():
        raise InputError(f"{option}: its model {path} is missing; fetch it once (rembg d u2net) or copy it there")
    try:
        session: Any = new_session("u2net_custom", model_path=str(path))  # the plain "u2net" may download
    except Exception as error:
        raise InputError(f"{path} is not a U²-Net model ({type(error).__name__}); fetch it again") from error
    return lambda image: np.asarray(remove(image, session=session, only_mask=True)) > 127


def rembg_foregrounds(images: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.bool_]]:
    """m_f of pictures uint8 S,S,3: where U²-Net's saliency is above one half, bool S,S. Nothing is downloaded.

    Raises:
        InputError: rembg is not installed, its model file is missing or unreadable, or it finds nothing in a picture.
    """
    salient = open_u2net("--foreground-method rembg")
    found = []
    for number, image in enumerate(images):
        mask = salient(image)
        if not mask.any():
            raise InputError(
                f"--foreground-method rembg finds no product in shot {number + 1} of a category; hand in masks with "
                "--foreground, or use --foreground-method object"
            )
        found.append(mask)
    return found
