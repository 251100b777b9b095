"""The score graph: pictures to a score map and a score (AnomalySD section 4.3, eq. 16 to 21, and ours)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.export.graphs.case import GraphCase, blocks, example_image
from edge_ad.runtime.fusion import EPSILON, TOP_SHARE


def blur_kernel(image_size: int) -> Tensor:
    """Gaussian of σ = 4 pixels at 512 (scaled with the image), cut at 4σ, summing to 1: float32 2r+1."""
    sigma = 4 * image_size / 512
    radius = max(int(4 * sigma + 0.5), 1)
    positions = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (positions / sigma) ** 2)
    return (kernel / kernel.sum()).float()


class ScoreGraph(nn.Module):
    """Evidence of one image as a map and a number. Runs in fp32."""

    kernel: Tensor

    def __init__(self, perceptual: nn.Module, image_size: int):
        super().__init__()
        self.perceptual = perceptual
        self.size = image_size
        self.top = max(round(TOP_SHARE * image_size * image_size), 1)
        self.register_buffer("kernel", blur_kernel(image_size))

    def forward(
        self,
        image: Tensor,
        reconstruction: Tensor,
        inpainted: Tensor,
        masks: Tensor,
        membership: Tensor,
        prototype: Tensor,
        error: Tensor,
        levels: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One image, uint8 1,H,W,3, against its K inpainted pictures.

        reconstruction: float 1,3,H,W and inpainted: float K,3,H,W, in [-1, 1]. masks: float K,1,H,W, the pixels of
        each picture that count. membership: float R,K, one-hot scale of each picture, zero for the prototype-guided
        one. prototype: float K, 1 for that one. error: float 1,1,h,w, E of eq. 14. levels: float 2,H,W, what S and E
        measure on normal parts. weights: float 6 = (alpha, reference, map power, error power, top, map floor).

        Returns score_map H,W; score, no axes; scale_maps R,H,W, S^(k) of eq. 18; prototype_map H,W, eq. 20; error_map
        H,W, E upsampled and blurred.
        """
        alpha, share, map_power, error_power, top, floor = weights.unbind(0)
        x = image.float().permute(0, 3, 1, 2) / 127.5 - 1
        reference = share * reconstruction + (1 - share) * x
        # eq. 16 and 17: the reference's features are computed once for all K pictures
        layers = self.perceptual.distances(self.perceptual.features(reference), self.perceptual.features(inpainted))
        distance = torch.stack([self._upsample(layer) for layer in layers]).sum(0)
        masked = (masks * distance).flatten(1)
        scale_maps = torch.matmul(membership, masked).unflatten(1, (self.size, self.size))  # eq. 18
        prototype_map = torch.matmul(prototype[None], masked).unflatten(1, (self.size, self.size))[0]  # eq. 20
        harmonic = 1 / (1 / (scale_maps + EPSILON)).mean(0)  # eq. 19: |K| / Σ 1/S
        fused = (1 - alpha) * harmonic + alpha * prototype_map  # eq. 21
        evidence = torch.maximum(self._blur(fused) / levels[0], floor)
        error_map = self._blur(self._upsample(error)[0, 0])
        score_map = (evidence + EPSILON) ** map_power * (error_map / levels[1] + EPSILON) ** error_power
        highest = torch.topk(score_map.flatten(), self.top).values
        score = (1 - top) * highest[0] + top * highest.mean()
        return score_map, score, scale_maps, prototype_map, error_map

    def _upsample(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)

    def _blur(self, x: Tensor) -> Tensor:
        """Separable Gaussian blur of H,W with the edge pixels repeated outwards."""
        radius = len(self.kernel) // 2
        x = functional.pad(x[None, None], (radius, radius, radius, radius), mode="replicate")
        x = functional.conv2d(x, self.kernel[None, None, :, None])
        return functional.conv2d(x, self.kernel[None, None, None, :])[0, 0]


def score_case(perceptual: nn.Module, image_size: int, feature_size: int, rng: np.random.Generator) -> GraphCase:
    """The score graph with example inputs: 2 scales, 4 pictures."""
    image = example_image(rng, 1, image_size)
    x = image.permute(0, 3, 1, 2).float() / 127.5 - 1
    near = (x + 0.2 * (blocks(rng, 4, 3, image_size, image_size) - 0.5)).clamp(-1, 1)
    half = math.ceil(image_size / 2)
    masks = torch.ones(4, 1, image_size, image_size)
    masks[0, :, :half], masks[1, :, half:], masks[3, :, :, :half] = 0, 0, 0
    return GraphCase(
        "score",
        ScoreGraph(perceptual, image_size),
        {
            "image": image,
            "reconstruction": (0.9 * x).contiguous(),
            "inpainted": near,
            "masks": masks,
            "membership": torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 0]]),
            "prototype": torch.tensor([0.0, 0, 0, 1]),
            "error": blocks(rng, 1, 1, feature_size, feature_size, block=1),
            "levels": torch.ones(2, image_size, image_size),
            "weights": torch.tensor([0.1, 0.5, 1.0, 1.0, 0.5, 0.1]),
        },
        {"inpainted": {0: "K"}, "masks": {0: "K"}, "membership": {0: "R", 1: "K"}, "prototype": {0: "K"}},
        ("score_map", "score", "scale_maps", "prototype_map", "error_map"),
    )
