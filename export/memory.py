"""An estimate of the memory that one row of a graph's batch needs, from which the runtime splits its batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def row_bytes(module: nn.Module, inputs: dict[str, Tensor], rows: int) -> int:
    """Bytes a row: the largest layer's inputs, outputs and attention matrix, and the skip connections held meanwhile.

    Runs the module once on its example of `rows` rows. Counts four bytes a number. An estimate: a runtime's memory
    planner may do better or worse.
    """
    largest, held = 0, 0

    def numbers(value: Any) -> int:
        if isinstance(value, Tensor):
            return int(value.numel())
        return sum(map(numbers, value)) if isinstance(value, (tuple, list)) else 0

    def leaf(layer: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal largest
        largest = max(largest, numbers(arguments) + numbers(output))

    def attention(layer: Any, arguments: Any, keywords: Any, output: Any) -> None:
        nonlocal largest
        hidden = arguments[0] if arguments else keywords["hidden_states"]
        context = keywords.get("encoder_hidden_states")
        queries = hidden.shape[1] if hidden.ndim == 3 else hidden.shape[2] * hidden.shape[3]
        keys = queries if context is None else context.shape[1]
        largest = max(largest, hidden.shape[0] * layer.heads * queries * keys * 2 + numbers(hidden))

    def skips(layer: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal held
        held += numbers(output)

    hooks = []
    for name, layer in module.named_modules():
        if not list(layer.children()):
            hooks.append(layer.register_forward_hook(leaf))
        if type(layer).__name__ == "Attention":
            hooks.append(layer.register_forward_hook(attention, with_kwargs=True))
        if "down_blocks" in name and name.rsplit(".", 1)[-1].isdigit() and name.rsplit(".", 2)[-2] == "down_blocks":
            hooks.append(layer.register_forward_hook(skips))
    try:
        with torch.no_grad():
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return 4 * (largest + held) // rows
