"""EfficientNet features of eq. 12: stages at reductions 8 and 16, the second upsampled and concatenated."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.errors import InputError
from edge_ad.training import weights

FeatureKind = Literal["lite0", "b6"]
_MODELS = {"lite0": "tf_efficientnet_lite0", "b6": "tf_efficientnet_b6"}


class FeatureNet(nn.Module):
    """ψ(x) of eq. 12 from uint8 pictures; the normalisation is inside.

    Args:
        kind: "lite0" (weights from an installed package) or "b6" (timm; its weights come from the hub or its cache).
        load: False leaves random weights (for tests of shapes and exports).

    Raises:
        InputError: the weights cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: FeatureKind = "lite0", *, load: bool = True) -> None:
        super().__init__()
        import timm

        self.kind = kind
        name = _MODELS[kind]
        if kind == "b6" and load:
            try:
                self.net = timm.create_model(name, pretrained=True, features_only=True, out_indices=(2, 3))
            except Exception as error:
                raise InputError(
                    f"the weights of {name} could not be had ({type(error).__name__}): connect once so that timm can "
                    "fetch them, or use --features lite0"
                ) from error
        else:
            self.net = timm.create_model(name, pretrained=False, features_only=True, out_indices=(2, 3))
            if load:
                whole = timm.create_model(name, pretrained=False)
                source = weights.efficientnet_lite0()
                mapped = dict(zip(whole.state_dict(), source.values(), strict=True))
                self.net.load_state_dict({key: mapped[key] for key in self.net.state_dict()})
        # Lite0 was trained on (x - 127) / 128, B6 on ImageNet's mean and deviation
        mean, std = (
            ((127.0,) * 3, (128.0,) * 3) if kind == "lite0" else ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        )
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """uint8 N,H,W,3 (H, W multiples of 16) → float32 N,C,H/8,W/8 (C = 40 + 112 for Lite0)."""
        x = (image.float().permute(0, 3, 1, 2) - self.mean) / self.std
        fine, coarse = self.net(x)
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)
