"""Nano's networks: the classes of Stable Diffusion 1.5 inpainting at a small width.

Widths were chosen by measurement on a 2-core CPU with AMX: thin layers at full latent resolution and attention over
1,024 tokens cost far more than their FLOPs say, so the width is at 16 × 16 and 8 × 8 and attention only there.
"""

from __future__ import annotations

from typing import Any

import torch

from edge_ad.training.base import Base

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}
"""Stable Diffusion's schedule."""

PROMPT_LENGTH = 32
"""Tokens in a prompt; Stable Diffusion's 77 would only lengthen the cross-attention."""


def build_vae(width: int = 48) -> Any:
    """An AutoencoderTiny of one width, 8× down, 4 latent channels; 1.25 M parameters at width 48.

    It has no normalisation layer, so that what a latent holds depends on its neighbourhood alone: masked latents can be
    blended from two encodings, which a group norm over the picture would forbid.
    """
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(1, 2, 3, 3),
        num_decoder_blocks=(3, 3, 2, 1),
        latent_channels=4,
        scaling_factor=1.0,
    )


def build_unet(widths: tuple[int, ...] = (64, 128, 160), text_width: int = 128, latent_size: int = 32) -> Any:
    """A UNet2DConditionModel with 9 input channels; 8.6 M parameters at the default widths."""
    from diffusers import UNet2DConditionModel

    down = ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * (len(widths) - 1)
    up = ["CrossAttnUpBlock2D"] * (len(widths) - 1) + ["UpBlock2D"]
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=9,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=text_width,
        # diffusers reads this as the number of heads; heads of 32 channels
        attention_head_dim=tuple(max(1, width // 32) for width in widths),
        norm_num_groups=32 if all(width % 32 == 0 for width in widths) else 8,
    )


def build_text_encoder(vocabulary: int, width: int = 128, layers: int = 2) -> Any:
    """A CLIPTextModel of a small width."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 32),
            max_position_embeddings=PROMPT_LENGTH,
            projection_dim=width,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def build_nano(
    seed: int = 0,
    *,
    tokenizer: Any = None,
    image_size: int = 256,
    vae_width: int = 48,
    widths: tuple[int, ...] = (64, 128, 160),
    text_width: int = 128,
) -> Base:
    """Nano with random weights, drawn from `seed`; smaller widths and pictures serve tests.

    Args:
        seed: of the random weights.
        tokenizer: a CLIPTokenizer; None trains a small one on the prompts that ship with this package.
        image_size: side of the pictures in px, a multiple of 32.
        vae_width: channels of the autoencoder.
        widths: channels of the denoiser's three resolutions.
        text_width: channels of the text encoder.
    """
    from edge_ad.training.pretrain.tokenizer import train_tokenizer

    torch.manual_seed(seed)
    tokenizer = tokenizer or train_tokenizer([])
    base = Base(
        vae=build_vae(vae_width),
        unet=build_unet(widths, text_width, image_size // 8),
        text_encoder=build_text_encoder(len(tokenizer), text_width),
        tokenizer=tokenizer,
        scheduler_config=dict(SCHEDULER),
        name="nano",
        image_size=image_size,
    )
    for module in (base.vae, base.unet, base.text_encoder):
        module.requires_grad_(False).eval()
    return base
