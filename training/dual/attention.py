"""Attention of the two branches: SAIM (eq. 3), background compensation (eq. 5), and the processor that holds them.

What the paper leaves open, and what is done here:

- SAIM's start. It is the identity (its output layer is zero), so that training starts at two plain LoRA models;
  "plain" keeps PyTorch's own initialisation.
- Eq. 5 writes W_Q for K and V, which reads as a slip: W_K and W_V are used.
- SAIM follows every attention, self and cross, inside the processor: on the attention's output, before the block's own
  residual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.training.dual.lora import GLOBAL, PART, Route

Start = Literal["identity", "plain"]


class Interaction(nn.Module):
    """SAIM (eq. 3): the two branches' tokens at one place attend to each other, with a residual.

    Args:
        width: channels c of the tokens.
        heads: of the attention over the two tokens.
        start: "identity" (zero output layer) or "plain".
    """

    def __init__(self, width: int, heads: int, start: Start = "identity") -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        if start == "identity":
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, picture: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        """φ(z), φ(z') of the two branches, each B,W,C → the same shapes, each having seen the other."""
        # "b w c" twice → "bw 2 c"; a sequence of two is written out: kernels are made for long ones
        both = torch.stack([picture, part], dim=2)
        query, key, value = (
            layer(both).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value)
        )
        scores = (query[:, :, :, None] * key[:, :, None]).sum(-1, keepdim=True) * query.shape[-1] ** -0.5
        mixed = (scores.softmax(3) * value[:, :, None]).sum(3).flatten(-2)
        out: Tensor = self.out(mixed) + both
        return out[:, :, 0], out[:, :, 1]


class Background(nn.Module):
    """BCM's injection (eq. 5): φ(z) + γ MLP(φ(z_b)), from which K and V of the global branch are made.

    Args:
        width: channels of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.gamma = nn.Parameter(torch.tensor(0.1))

    def forward(self, tokens: Tensor, background: Tensor) -> Tensor:
        """φ(z) and φ(z_b), both B,W,C → B,W,C."""
        injected: Tensor = tokens + self.gamma * self.mlp(background)
        return injected


class AttentionMaps:
    """Average cross-attention of the anomaly branch to the words of its prompt, gathered while a batch is drawn.

    Args:
        words: positions of the defect's words in the prompt of the anomaly part.
        side: maps are resized to side × side cells before they are averaged.
    """

    def __init__(self, words: list[int], side: int) -> None:
        self.words = words
        self.side = side
        self.total: Tensor | None = None
        self.count = 0

    def add(self, query: Tensor, key: Tensor) -> None:
        """One layer's queries B,heads,W,d and keys B,heads,L,d of the anomaly branch."""
        weights = ((query.float() @ key.float().transpose(-1, -2)) * query.shape[-1] ** -0.5).softmax(-1)
        place = weights[..., self.words].mean((1, 3))
        cells = round(place.shape[1] ** 0.5)
        maps = place.reshape(-1, 1, cells, cells)
        found = functional.interpolate(maps, (self.side, self.side), mode="bilinear", align_corners=False)[:, 0]
        found = found / found.mean((1, 2), keepdim=True).clamp_min(1e-12)
        self.total = found if self.total is None else self.total + found
        self.count += 1

    def mean(self) -> Tensor:
        """float32 B,side,side; 1 is the average place of a picture."""
        if self.total is None:
            raise ValueError("no attention was gathered")
        return self.total / self.count


class DualAttention(nn.Module):
    """A diffusers attention processor for rows laid out as (global, part) or (global, part, background).

    Args:
        width: channels of the attention's output.
        heads: its heads.
        route: shared with the LoRA layers; here it is told what the rows handed on are.
        inner: the processor that computes attention itself.
        start: SAIM's initialisation.
        background: whether this layer, a self-attention, takes in the background.
    """

    def __init__(
        self, width: int, heads: int, route: Route, inner: Callable[..., Tensor], start: Start, background: bool
    ) -> None:
        super().__init__()
        self.route = route
        self.inner = inner
        self.interaction = Interaction(width, heads, start)
        self.background = Background(width) if background else None
        self.maps: AttentionMaps | None = None

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Tokens 2B,W,C (3B with background rows last) and their text 2B,L,D (3B) → as many tokens."""
        slices = len(self.route.order)
        rows = hidden_states.shape[0] // slices * 2
        pair = hidden_states[:rows]
        context = None if encoder_hidden_states is None else encoder_hidden_states[:rows]
        tail: list[Tensor] = []
        if slices == 3:
            text = None if encoder_hidden_states is None else encoder_hidden_states[rows:]
            with self.route.of(GLOBAL):
                tail = [self.inner(attn, hidden_states[rows:], text, **options)]
            if self.background is not None:
                picture, part = _halves(pair)
                context = torch.cat([self.background(picture, tail[0]), part])
        with self.route.of(GLOBAL, PART):
            seen = self.inner(attn, pair, context, **options)
            if self.maps is not None:
                query, key = (
                    layer(tokens).chunk(2)[1].unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                    for layer, tokens in ((attn.to_q, pair), (attn.to_k, context))
                )
                self.maps.add(query, key)
        return torch.cat([*self.interaction(*_halves(seen)), *tail])


def _halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """As `chunk(2)`, in operations that an exporter takes with any number of rows."""
    picture, part = rows.unflatten(0, (2, -1)).unbind(0)
    return picture, part
