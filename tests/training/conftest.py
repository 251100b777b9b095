"""Fixtures of the PyTorch side: a small base on disk, and one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread: the networks here are too small for more, and results are then the same on every machine."""
    torch = pytest.importorskip("torch", reason="training needs the train extra")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def stable_diffusion():
    """The function that writes a base of Stable Diffusion 1.5's networks with random weights."""
    return _stable_diffusion


def _stable_diffusion(folder, widths, in_channels=9):
    """The configuration of Stable Diffusion 1.5 (9 channels: inpainting, 4: text-to-image), UNet of given widths."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from edge_ad.training.base import Base, save_base
    from edge_ad.training.pretrain.architecture import SCHEDULER
    from edge_ad.training.pretrain.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer([])
    tokenizer.model_max_length = 77
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=in_channels, out_channels=4, layers_per_block=2, block_out_channels=widths,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), cross_attention_dim=768, attention_head_dim=8,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=512,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, scaling_factor=0.18215,
    )  # fmt: skip
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            projection_dim=768,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    base = Base(
        vae, unet, text_encoder, tokenizer, dict(SCHEDULER), name=str(folder), image_size=64, feature_kind="b6",
        licence="test",
    )  # fmt: skip
    save_base(base, folder)
    return folder
