"""The dual model: a base with two LoRA branches, SAIM and, if asked for, background compensation attached to it.

Works on inpainting UNets (9 input channels: the mask is full and the masked picture blank, so nothing is given) and on
text-to-image UNets (4 input channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.training.attention import TrainingAttention
from edge_ad.training.base import Base
from edge_ad.training.diffusion import unet_input
from edge_ad.training.dual.attention import AttentionMaps, DualAttention, Start
from edge_ad.training.dual.lora import GLOBAL, PART, Route, add_branches
from edge_ad.training.views import blank_latents

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The UNet's layers that carry LoRA by default: its attention."""
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""The text encoder's."""


@dataclass(frozen=True)
class DualShape:
    """What is attached to a base; a generator's weights fit one shape only.

    Attributes:
        rank: of the LoRA matrices.
        targets: names of the UNet's layers that carry LoRA.
        saim: SAIM's start, "identity" or "plain".
        background: whether background compensation (eq. 5) is there.
    """

    rank: int = 32
    targets: tuple[str, ...] = TARGETS
    saim: Start = "identity"
    background: bool = False


class DualModel(nn.Module):
    """SD and SD* in one UNet.

    Args:
        base: its UNet and text encoder are changed in place: frozen, and given branches.
        shape: what is attached.
        seed: of what is initialised at random.

    Raises:
        OptionError: a target that the UNet does not have.
    """

    def __init__(self, base: Base, shape: DualShape, seed: int = 0) -> None:
        super().__init__()
        self.route = Route()
        self.shape = shape
        self.unet: Any = base.unet.requires_grad_(False)
        self.text_encoder: Any = base.text_encoder.requires_grad_(False)
        self._tokenizer = base.tokenizer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_branches(self.unet, shape.rank, shape.targets, self.route)
            add_branches(self.text_encoder, shape.rank, TEXT_TARGETS, self.route)
            self._attend(shape)
        device = next(base.vae.parameters()).device
        self.to(device)
        self.register_buffer("blank", blank_latents(base).to(device), persistent=False)

    def _attend(self, shape: DualShape) -> None:
        self.cross: list[DualAttention] = []
        on_cpu = next(self.unet.parameters()).device.type == "cpu"
        for name, layer in self.unet.named_modules():
            if not hasattr(layer, "set_processor") or not hasattr(layer, "to_q"):
                continue
            own = name.endswith("attn1")  # diffusers calls self-attention attn1 and cross-attention attn2
            inner = TrainingAttention() if on_cpu else layer.processor
            processor = DualAttention(
                layer.out_dim, layer.heads, self.route, inner, shape.saim, shape.background and own
            )
            layer.set_processor(processor)
            if not own:
                self.cross.append(processor)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that the base does not have, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put trained weights back. ValueError names what is missing or does not fit."""
        own = self.trained
        wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
        if wrong:
            raise ValueError(f"{wrong[0]} does not fit this base")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(state[name])

    def encode(self, prompts: tuple[str, str]) -> Tensor:
        """τ(p) and τ(p') through their own branches of the text encoder: float32 2,L,D."""
        tokens = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self._tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        with self.route.of(GLOBAL, PART):
            hidden: Tensor = self.text_encoder(tokens.to(self.blank.device)).last_hidden_state
        return hidden.float()

    def word_places(self, prompt: str) -> list[int]:
        """Positions of a prompt's own tokens, without the start and the padding."""
        ids = self._tokenizer(prompt).input_ids
        return list(range(1, max(len(ids) - 1, 2)))

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor, background: Tensor | None = None) -> Tensor:
        """ε of both branches.

        Args:
            latents: noised latents 2B,4,h,w: the B pictures, then their B parts.
            timesteps: int64 B, shared by a picture and its part.
            text: 2B,L,D, in the same order.
            background: noised latents of the B backgrounds, at the same timesteps; needed with `shape.background`.

        Returns:
            2B,4,h,w, the predicted noise in the same order.
        """
        rows, order = [latents], [GLOBAL, PART]
        if self.shape.background:
            if background is None:
                raise ValueError("this model was trained with backgrounds and needs one for each picture")
            rows, order = [latents, background], [GLOBAL, PART, GLOBAL]
            text = torch.cat([text, text[: background.shape[0]]])
        x = torch.cat(rows)
        if self.unet.config.in_channels == 9:
            mask = torch.ones_like(x[:, :1])
            x = unet_input(x, mask, self.blank.expand(x.shape[0], -1, -1, -1))
        with self.route.of(*order):
            predicted: Tensor = self.unet(x, timesteps.repeat(len(order)), text).sample
        return predicted[: latents.shape[0]]

    def gather(self, maps: AttentionMaps | None) -> None:
        """Let every cross-attention add to these maps, or to none."""
        for processor in self.cross:
            processor.maps = maps
