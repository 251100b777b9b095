"""Attention for training on a CPU: the fused kernel forward, plain matrix products backward.

PyTorch's fused attention has a slow backward pass on CPUs (60 % of a training step of nano, measured with 2.14); the
three matrix products of the backward pass run on the matrix units instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        return functional.scaled_dot_product_attention(query, key, value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        weights = ((query * scale) @ key.transpose(-1, -2)).softmax(-1)
        of_weights = gradient @ value.transpose(-1, -2)
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        return (
            (of_scores @ key) * scale,
            of_scores.transpose(-1, -2) @ (query * scale),
            weights.transpose(-1, -2) @ gradient,
        )


class TrainingAttention:
    """A diffusers attention processor, equal to `AttnProcessor2_0` without masks, quick to train through on a CPU."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Tokens B,N,D (self) or with B,L,D' (cross) → B,N,D."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, tokens, _width = hidden_states.shape
        heads = attn.heads

        def split(x: Tensor) -> Tensor:
            return x.view(batch, -1, heads, x.shape[-1] // heads).transpose(1, 2)

        query, key, value = split(attn.to_q(hidden_states)), split(attn.to_k(context)), split(attn.to_v(context))
        mixed: Tensor = _Attention.apply(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, -1)
        out: Tensor = attn.to_out[0](mixed)
        return out


def use_training_attention(unet: Any) -> None:
    """Give every attention block of a UNet the processor that trains quickly on a CPU."""
    unet.set_attn_processor(TrainingAttention())


def use_plain_attention(unet: Any) -> None:
    """Give every attention block diffusers' own processor again."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    unet.set_attn_processor(AttnProcessor2_0())
