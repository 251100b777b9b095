"""The networks of Stable Diffusion 1.5 inpainting from their published configuration, with random weights.

The numbers are those of `unet/config.json`, `vae/config.json` and `text_encoder/config.json` of
stable-diffusion-v1-5/stable-diffusion-inpainting. Under `torch.device("meta")` they take no memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

IMAGE_SIZE, LATENT_SIZE, PROMPT_LENGTH, TEXT_WIDTH = 512, 64, 77, 768


def unet() -> Any:
    """UNet2DConditionModel with 9 input channels, 860 M parameters."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=9,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
    )


def vae() -> Any:
    """AutoencoderKL, 8 times down, 4 latent channels, 84 M parameters."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=IMAGE_SIZE,
        scaling_factor=0.18215,
    )


def text_encoder() -> Any:
    """CLIPTextModel of ViT-L/14, 123 M parameters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=TEXT_WIDTH,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=PROMPT_LENGTH,
            projection_dim=TEXT_WIDTH,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def write_base(folder: Path) -> None:
    """Write the model with random weights to a diffusers folder, 2.5 GB; its tokenizer is nano's, of CLIP's length."""
    from edge_ad.training.base import Base, save_base
    from edge_ad.training.pretrain.architecture import SCHEDULER
    from edge_ad.training.pretrain.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer([])
    tokenizer.model_max_length = PROMPT_LENGTH
    parts = [part().requires_grad_(False).eval() for part in (vae, unet, text_encoder)]
    base = Base(*parts, tokenizer, dict(SCHEDULER), "sd15", IMAGE_SIZE, feature_kind="b6", licence="random weights")
    save_base(base, folder)


def write_feature_weights(cache: Path) -> None:
    """Random weights of EfficientNet-B6 where timm looks for them: a hub cache folder, for HF_HUB_CACHE."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_b6", pretrained=False)
    place = cache / f"models--{net.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    commit = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True)
    save_file(net.state_dict(), place / "snapshots" / commit / "model.safetensors")
