"""The features graph: ψ(x) of eq. 12."""

from __future__ import annotations

import numpy as np
from torch import nn

from edge_ad.export.graphs.case import GraphCase, example_image


def features_case(net: nn.Module, image_size: int, rng: np.random.Generator) -> GraphCase:
    """`edge_ad.training.features.FeatureNet`, which holds its own preprocessing, with an example input.

    EfficientNet's features are not normalised, so the tolerance is wider than the other graphs'.
    """
    image = example_image(rng, 2, image_size)
    return GraphCase("features", net, {"image": image}, {"image": {0: "N"}}, ("features",))
