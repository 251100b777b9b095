"""A base model: a Stable Diffusion inpainting checkpoint in the diffusers folder format, and what is asked of it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from edge_ad.errors import InputError
from edge_ad.training.features import FeatureKind

NANO_FOLDER = Path(__file__).resolve().parent / "nano"
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass
class Base:
    """The parts of a Stable Diffusion inpainting model.

    Attributes:
        vae: AutoencoderKL or AutoencoderTiny, 8× down (`AutoencoderTiny` has no posterior: its encoding is the mean).
        unet: UNet2DConditionModel with 9 input channels: noised latents 4, masked latents 4, mask 1 in SD's order
            (latents, mask, masked latents).
        text_encoder: CLIPTextModel.
        tokenizer: CLIPTokenizer.
        scheduler_config: the DDIM configuration (betas) as saved beside the model.
        name: "nano", a folder or a hub id.
        image_size: side in px that the base was trained at: 256 for nano, 512 for SD.
        feature_kind: the EfficientNet whose features guide this base: "lite0" for nano, "b6" for SD.
        licence: SPDX name, or "see NAME".
    """

    vae: nn.Module
    unet: nn.Module
    text_encoder: nn.Module
    tokenizer: Any
    scheduler_config: dict[str, Any]
    name: str = "nano"
    image_size: int = 256
    feature_kind: FeatureKind = "lite0"
    licence: str = "Apache-2.0"
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def scaling(self) -> float:
        """Latents the denoiser sees = encoder's output × this."""
        return float(self.vae.config.scaling_factor)

    @property
    def latent_size(self) -> int:
        """Side of the latents of a picture of `image_size`."""
        return self.image_size // 8


def encode_mean(vae: nn.Module, x: Tensor) -> Tensor:
    """Scaled latents of pictures: the posterior mean of an AutoencoderKL, the encoding of an AutoencoderTiny.

    Args:
        vae: the autoencoder.
        x: N,3,H,W in [-1, 1].

    Returns:
        N,4,H/8,W/8, scaled by the autoencoder's `scaling_factor`.
    """
    encoded = vae.encode(x)
    latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents * vae.config.scaling_factor


def decode(vae: nn.Module, latents: Tensor) -> Tensor:
    """Pictures N,3,H,W (about [-1, 1]) from scaled latents N,4,h,w."""
    return vae.decode(latents / vae.config.scaling_factor).sample


def encode_prompts(base: Base, prompts: list[str]) -> Tensor:
    """τ(y): the text encoder's last hidden state of each prompt, float32 B,L,D, L the tokenizer's maximum length."""
    tokens = base.tokenizer(
        prompts, padding="max_length", truncation=True, max_length=base.tokenizer.model_max_length, return_tensors="pt"
    )
    device = next(base.text_encoder.parameters()).device
    with torch.no_grad():
        hidden: Tensor = base.text_encoder(tokens.input_ids.to(device)).last_hidden_state
    return hidden.float()


def is_small(name: str) -> bool:
    """Whether a base is nano, or a folder that `edge-ad pretrain` made: its settings are nano's."""
    folder = NANO_FOLDER if name == "nano" else Path(name)
    try:
        card = json.loads((folder / "edge_ad.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return name == "nano"
    return isinstance(card, dict) and card.get("feature_kind") == "lite0"


def load_base(
    name: str = "nano",
    *,
    revision: str | None = None,
    local_only: bool | None = None,
    channels: tuple[int, ...] = (9,),
) -> Base:
    """Load a base in float32 on the CPU.

    Args:
        name: "nano" (shipped in this package), a diffusers folder, or a hub id such as
            "stable-diffusion-v1-5/stable-diffusion-inpainting".
        revision: a commit or tag of the hub repository; None takes its newest.
        local_only: True never asks the hub; None lets HF_HUB_OFFLINE decide.
        channels: input channels that the caller can work with: 9 inpainting, 4 text-to-image.

    Raises:
        InputError: the folder is not a diffusers model of these channels that predicts noise, or the hub id cannot be
            had.
    """
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
    from safetensors import SafetensorError
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = NANO_FOLDER if name == "nano" else Path(name)
    local = folder.is_dir()
    if name == "nano" and not (folder / "model_index.json").is_file():
        raise InputError(
            "the nano base is missing from this installation: reinstall edge-ad (its weights are package data)"
        )
    if not local and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise InputError(
            f"--base {name}: no such folder, and not a hub id (owner/name); use nano, a folder or a hub id"
        )
    if local:
        missing = [part for part in _PARTS if not (folder / part).is_dir()]
        if missing:
            raise InputError(f"{folder} is not a diffusers model folder: it lacks {', '.join(missing)}")
    source = str(folder) if local else name
    options: dict[str, Any] = {} if local else {"revision": revision, "local_files_only": bool(local_only)}
    # diffusers warns of `block_out_channels`, which it writes into every AutoencoderTiny's configuration itself
    warnings = logging.getLogger("diffusers.configuration_utils")
    level = warnings.level
    warnings.setLevel(logging.ERROR)
    try:
        index = _json_file(source, "model_index.json", options) if not local else _read(folder / "model_index.json")
        vae_class = AutoencoderTiny if index.get("vae", ["", ""])[1] == "AutoencoderTiny" else AutoencoderKL
        vae = vae_class.from_pretrained(source, subfolder="vae", torch_dtype=torch.float32, **options)
        unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet", torch_dtype=torch.float32, **options)
        text_encoder = CLIPTextModel.from_pretrained(source, subfolder="text_encoder", dtype=torch.float32, **options)
        tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer", **options)
        scheduler = (
            _json_file(source, "scheduler/scheduler_config.json", options)
            if not local
            else _read(folder / "scheduler" / "scheduler_config.json")
        )
        card = _card(folder / "edge_ad.json") if local else {}
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        mend = "check the folder" if local else "check the name and the connection, or give a local folder"
        raise InputError(f"the base {name} could not be loaded ({reason}): {mend}") from error
    finally:
        warnings.setLevel(level)
    _check_kind(name, unet, scheduler, channels)
    for module in (vae, unet, text_encoder):
        module.requires_grad_(False).eval()
    size = int(card.get("image_size", int(unet.config.sample_size) * 8))
    return Base(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler_config=scheduler,
        name=name,
        image_size=size,
        feature_kind=card.get("feature_kind", "b6"),
        licence=card.get("licence", f"see {name}"),
        card=card,
    )


def save_base(base: Base, folder: Path, *, half: bool = True) -> None:
    """Write a base in the diffusers folder format; UNet and autoencoder in fp16, or fp32 with `half=False`."""
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    dtype = torch.float16 if half else torch.float32
    pipeline = StableDiffusionInpaintPipeline(
        vae=base.vae.to(dtype),
        text_encoder=base.text_encoder.float(),  # transformers would load it in fp16 beside a UNet in fp32
        tokenizer=base.tokenizer,
        unet=base.unet.to(dtype),
        scheduler=DDIMScheduler.from_config(base.scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "edge_ad.json").write_text(
        json.dumps(
            {"image_size": base.image_size, "feature_kind": base.feature_kind, "licence": base.licence, **base.card},
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
    for module in (base.vae, base.unet, base.text_encoder):
        module.float()


def _check_kind(name: str, unet: Any, scheduler: dict[str, Any], channels: tuple[int, ...]) -> None:
    """InputError for a UNet of other input channels, or one that predicts something else than the noise."""
    if unet.config.in_channels not in channels:
        also = ", a text-to-image one, which would do too, 4" if 4 in channels else ""
        raise InputError(
            f"the base {name} has {unet.config.in_channels} input channels; an inpainting checkpoint has 9 "
            f"(for example stable-diffusion-v1-5/stable-diffusion-inpainting){also}"
        )
    aim = scheduler.get("prediction_type", "epsilon")
    if aim != "epsilon":
        raise InputError(
            f"the base {name} predicts {aim} (its scheduler_config.json says so), and edge-ad works with bases that "
            "predict the noise (epsilon): take one of these, such as stable-diffusion-v1-5/stable-diffusion-inpainting"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object")
    return value


def _card(path: Path) -> dict[str, Any]:
    """What edge-ad noted beside a base it wrote; empty for any other base. ValueError names what cannot be."""
    card = _read(path) if path.is_file() else {}
    size, kind = card.get("image_size", 8), card.get("feature_kind", "b6")
    if not isinstance(size, int) or size < 8 or kind not in get_args(FeatureKind):
        raise ValueError(f"{path} is damaged: image_size {size!r}, feature_kind {kind!r}")
    return card


def _json_file(repository: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    local = options["local_files_only"] or os.environ.get("HF_HUB_OFFLINE") == "1"
    return _read(Path(hf_hub_download(repository, name, revision=options["revision"], local_files_only=local)))
