"""What a training run holds, put into its base: LoRA weights are fused into those they adapt, so no layer is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_ad.errors import BundleError, InputError
from edge_ad.training.base import Base
from edge_ad.training.run import Run

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE = "adapter_model.safetensors"


def apply_run(base: Base, run: Run, *, denoiser: bool = True, decoder: bool = True) -> None:
    """Put the fine-tuned denoiser and decoder of a run into a base, in place; what the run has not tuned stays.

    Errors as `load_weights` and `fuse_adapter`.
    """
    if denoiser and run.unet is not None:
        load_weights(base.unet, run.unet, "denoiser")
    if denoiser and run.adapter is not None:
        base.unet = fuse_adapter(base.unet, run.adapter)
    if decoder and run.decoder is not None:
        load_weights(base.vae.decoder, run.decoder, "decoder")


def fuse_adapter(unet: Any, folder: Path) -> Any:
    """Fuse the adapter of `folder` into `unet` and return the plain network (use it in place of the argument).

    Reads diffusers' format (pytorch_lora_weights.safetensors, with or without the "unet." prefix) and peft's
    (adapter_model.safetensors). Raises InputError where there is neither, BundleError where a fused weight is not
    finite: both libraries check that when asked to fuse safely.
    """
    folder = Path(folder)
    try:
        if (folder / DIFFUSERS_FILE).is_file():
            unet.load_lora_adapter(str(folder), weight_name=DIFFUSERS_FILE, prefix=_prefix(folder / DIFFUSERS_FILE))
            unet.fuse_lora(lora_scale=1.0, safe_fusing=True)
            unet.unload_lora()
            return unet.requires_grad_(False).eval()
        if (folder / PEFT_FILE).is_file():
            from peft import PeftModel

            merged = PeftModel.from_pretrained(unet, str(folder)).merge_and_unload(safe_merge=True)
            return merged.requires_grad_(False).eval()
    except ValueError as error:
        raise BundleError(f'the adapter in "{folder}" cannot be fused: {error}; train it again') from error
    raise InputError(
        f'"{folder}" holds no adapter ({DIFFUSERS_FILE} or {PEFT_FILE}); give the folder that training wrote'
    )


def _prefix(path: Path) -> str | None:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as tensors:
        return "unet" if all(name.startswith("unet.") for name in tensors.keys()) else None  # noqa: SIM118


def load_weights(module: Any, path: Path, part: str) -> None:
    """Put a fine-tuned state dict (safetensors) into `module`, the base's `part`. InputError where it does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(str(path)))
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f'"{path}" is not a {part} of this base ({reason}); export with the base it was trained on'
        ) from error
