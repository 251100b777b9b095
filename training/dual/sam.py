"""Masks of anomaly parts by Segment Anything (Kirillov et al. 2023), through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_ad.errors import InputError
from edge_ad.images import Mask, Picture
from edge_ad.training.dual.masks import MaskRules, clean, threshold_mask

MARGIN = 0.02
"""The box around the defect is wider than its rough mask by this share of the picture on every side."""


class SegmentAnything:
    """SAM asked for what lies in the box around the part's rough mask, the threshold's.

    Args:
        model: folder or hub id of a SAM checkpoint in transformers' format.
        device: to run on.

    Raises:
        InputError: it cannot be had, or is no SAM.
    """

    def __init__(self, model: str, device: torch.device) -> None:
        from transformers import SamModel, SamProcessor

        try:
            self._processor: Any = SamProcessor.from_pretrained(model)
            self._net: Any = SamModel.from_pretrained(model).to(device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            mend = "check the folder" if Path(model).exists() else "check the name and the connection, or give a folder"
            raise InputError(f"--sam {model} could not be loaded ({reason}): {mend}") from error
        self._device = device

    def __call__(self, part: Picture, rules: MaskRules) -> Mask:
        """bool S,S from an anomaly part uint8 S,S,3; empty where its threshold mask is."""
        rough = threshold_mask(part, rules)
        if not rough.any():
            return rough
        inputs = self._processor(part, input_boxes=[[box_around(rough)]], return_tensors="pt").to(self._device)
        with torch.inference_mode():
            found = self._net(**inputs, multimask_output=False)
        masks = self._processor.post_process_masks(
            found.pred_masks.cpu(), inputs["original_sizes"].cpu(), inputs["reshaped_input_sizes"].cpu()
        )
        return clean(np.asarray(masks[0][0, 0]), rules)


def box_around(mask: Mask) -> list[float]:
    """The box of a mask that is not empty, bool S,S, with a margin: [left, top, right, bottom] in px."""
    side = len(mask)
    margin = MARGIN * side
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = [float(max(places[0] - margin, 0)) for places in (columns, rows)]
    return [*low, *(float(min(places[-1] + margin, side - 1)) for places in (columns, rows))]
