"""The networks: a segmentation U-Net (Ronneberger et al. 2015) and a ResNet classifier (He et al. 2016).

Both take pictures as uint8 N,S,S,3 and hold their preprocessing. Normalisation is by batch (Ioffe and Szegedy 2015):
normalised by groups of channels (Wu and He 2018), the classifier learnt nothing in a few hundred steps.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = Literal["small", "large"]
WIDTHS: dict[str, tuple[int, ...]] = {"small": (32, 64, 128, 192), "large": (64, 128, 256, 512, 512)}
"""Channels of the U-Net's levels, from half the picture's side downwards."""
RESNET_LAYERS: dict[str, tuple[int, ...]] = {"small": (2, 2, 2, 2), "large": (3, 4, 6, 3)}
"""Blocks a stage: ResNet-18, with which the paper's table 3 is headed, and ResNet-34, of which its text speaks."""
TOP_SHARE = 5e-4
"""The image score is the mean of this share of the map, its highest pixels."""


def multiple(size: Size) -> int:
    """What the picture's side must be a multiple of."""
    return int(2 ** len(WIDTHS[size]))


def to_input(image: Tensor) -> Tensor:
    """uint8 N,H,W,3 → float32 N,3,H,W in [-1, 1]."""
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class Segmenter(nn.Module):
    """A U-Net whose first level works at half the side: 2 × 2 pixels enter, and leave, as channels.

    Args:
        size: "small" (3.5 million weights) or "large" (22 million).
    """

    def __init__(self, size: Size = "small") -> None:
        super().__init__()
        widths = WIDTHS[size]
        self.down = nn.ModuleList(_double(before, after) for before, after in zip((12, *widths), widths))
        self.up = nn.ModuleList(
            _double(below + here, here) for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.out = nn.Conv2d(widths[0], 4, 1)
        nn.init.constant_(self.out.bias, -4.0)  # at the start hardly a pixel is defective

    def forward(self, image: Tensor) -> Tensor:
        """uint8 N,S,S,3 → logits N,S,S: above 0 a pixel is rather defective than not."""
        x = functional.pixel_unshuffle(to_input(image), 2)
        passed = []
        for level, layers in enumerate(self.down):
            x = layers(x if level == 0 else functional.max_pool2d(x, 2))
            passed.append(x)
        for layers, skip in zip(self.up, passed[-2::-1]):
            x = layers(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return functional.pixel_shuffle(self.out(x), 2)[:, 0]


class Classifier(nn.Module):
    """A ResNet with one output a kind of defect.

    Args:
        kinds: how many kinds, of all categories together.
        size: "small" (ResNet-18) or "large" (ResNet-34).
    """

    def __init__(self, kinds: int, size: Size = "small") -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, ResNet

        self.net = ResNet(BasicBlock, list(RESNET_LAYERS[size]), num_classes=kinds)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 N,S,S,3 → logits N,K."""
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(to_input(image)))))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
        logits: Tensor = net.fc(x.mean((2, 3)))  # the same as its adaptive pooling, in plainer operators
        return logits


def of_category(logits: Tensor, allowed: Tensor) -> Tensor:
    """Logits N,K with the kinds that a picture's category does not have (bool N,K False) at minus infinity."""
    return logits.masked_fill(~allowed, -torch.inf)


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy and Dice loss (Milletari et al. 2016, over the whole batch), added.

    Args:
        logits: N,S,S.
        mask: bool N,S,S, True where defective.
    """
    logits, truth = logits.float(), mask.float()
    likely = torch.sigmoid(logits)
    dice = (2 * (likely * truth).sum() + 1) / (likely.sum() + truth.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


class SegmenterGraph(nn.Module):
    """What a bundle runs: the map of probabilities, and the image score."""

    def __init__(self, net: Segmenter) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 N,S,S,3 → float32 N,S,S in 0..1, and float32 N in 0..1."""
        found = torch.sigmoid(self.net(image))
        flat = found.flatten(1)
        return found, torch.topk(flat, max(round(TOP_SHARE * flat.shape[1]), 1), dim=1).values.mean(1)
