"""The graphs of the heads: segmenter and classifier, which hold their own preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from edge_ad.export.graphs.case import GraphCase, example_image


def segmenter_case(net: nn.Module, image_size: int, rng: np.random.Generator) -> GraphCase:
    """`edge_ad.training.heads.network.SegmenterGraph` with an example input."""
    return _case("segmenter", net, image_size, rng, ("map", "score"))


def classifier_case(net: nn.Module, image_size: int, rng: np.random.Generator) -> GraphCase:
    """`edge_ad.training.heads.network.Classifier` with an example input."""
    return _case("classifier", net, image_size, rng, ("logits",))


def _case(name: str, net: Any, image_size: int, rng: np.random.Generator, outputs: tuple[str, ...]) -> GraphCase:
    return GraphCase(name, net, {"image": example_image(rng, 2, image_size)}, {"image": {0: "N"}}, outputs)
