"""Moving averages of weights, and weights and checkpoints of a training in safetensors files: no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge_ad.files import atomic_path

State = dict[str, Tensor]


class Average:
    """Exponential moving average of the trainable weights of a module, and of the statistics that go with them.

    Args:
        module: whose trainable parameters, and running statistics of batch normalisation, are followed.
        decay: of the average; early on it is lower, (1 + step) / (10 + step), so that the start is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: State = {name: value.detach().clone() for name, value in _followed(module)}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in _followed(module):
            self.values[name].lerp_(value, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the averaged weights into the module."""
        for name, value in _followed(module):
            value.copy_(self.values[name])


def write_weights(path: Path, module: nn.Module) -> None:
    """Write a module's whole state as safetensors, atomically."""
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, temporary)


def _followed(module: nn.Module) -> list[tuple[str, Tensor]]:
    """What training changes: trainable weights, and the running statistics of batch normalisation that is trained."""
    weights = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.weight.requires_grad
    ]
    return weights + [
        (f"{name}.{statistic}", getattr(layer, statistic))
        for name, layer in layers
        for statistic in ("running_mean", "running_var")
    ]


def save_checkpoint(
    path: Path,
    module: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    step: int,
    key: str = "",
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write what training changes, its average, the optimiser's moments and the step, atomically.

    Args:
        path: of the safetensors file.
        module: what is trained.
        average: its moving average.
        optimiser: Adam or AdamW.
        step: number of steps done.
        key: names the settings; a checkpoint with another key is not resumed.
        notes: further texts to keep, for `read_notes`.
    """
    state = {f"model.{name}": value.detach().contiguous() for name, value in _followed(module)}
    state |= {f"average.{name}": value.contiguous() for name, value in average.values.items()}
    for index, entry in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{index}.{name}": torch.as_tensor(value).contiguous() for name, value in entry.items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={**(notes or {}), "step": str(step), "key": key})


def read_notes(path: Path) -> dict[str, str]:
    """The texts in a checkpoint: its step, its key, and what else was noted; empty where there is no checkpoint."""
    if not path.is_file():
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def resume(path: Path, module: nn.Module, average: Average, optimiser: torch.optim.Optimizer, key: str = "") -> int:
    """Take up a checkpoint of the same key; the number of steps done, 0 where there is none to resume."""
    notes = read_notes(path)
    if not notes or notes.get("key", "") != key:
        return 0
    state = load_file(path)
    with torch.no_grad():
        for name, value in _followed(module):
            value.copy_(state[f"model.{name}"])
            average.values[name] = state[f"average.{name}"].to(value.device)
    entries: dict[int, State] = {}
    for name, value in state.items():
        if name.startswith("optimiser."):
            _, index, item = name.split(".", 2)
            entries.setdefault(int(index), {})[item] = value
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(notes["step"])
