"""Whether a pair's defect is where its mask says: how far patches lie from those of good pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from edge_ad.images import Mask, Picture
from edge_ad.metrics import auroc
from edge_ad.runtime.prototypes import PrototypeBank
from edge_ad.training.dual.pairs import Pair
from edge_ad.training.features import FeatureNet


class Alignment:
    """The pixel AUROC of E against a mask. E (eq. 14 of AnomalySD) is each patch's distance to the nearest good patch.

    1: the picture differs from good ones where the mask is, and nowhere as much. 0.5: the mask says nothing of that.

    Args:
        net: features ψ.
        good: good pictures uint8 S,S,3, one at least.
    """

    def __init__(self, net: FeatureNet, good: Sequence[Picture]) -> None:
        self._net = net
        rows = [found.reshape(len(found), -1).T for found in map(self._features, good)]
        self._bank = PrototypeBank(np.concatenate(rows))

    def __call__(self, picture: Picture, mask: Mask) -> float | None:
        """0..1 of a picture uint8 S,S,3 and its mask bool S,S; None where that is empty or whole."""
        error = torch.from_numpy(self._bank.error_map(self._features(picture)))[None, None]
        wide = torch.nn.functional.interpolate(error, mask.shape, mode="bilinear", align_corners=False)
        return auroc(mask, wide[0, 0].numpy())

    def of_pairs(self, pairs: Sequence[Pair]) -> list[float]:
        """Those of pairs that have one."""
        found = [self(pair.image, pair.mask) for pair in pairs]
        return [value for value in found if value is not None]

    def _features(self, picture: Picture) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self._net(torch.tensor(picture)[None])[0].numpy()
        return found
