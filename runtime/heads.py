"""The optional heads of a bundle: a segmenter's second opinion, and the kind of a defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import HeadsEntry
from edge_ad.images import resize_image
from edge_ad.runtime.result import Inspection
from edge_ad.runtime.sessions.base import Session

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Opinion:
    """What the segmenter says of one image.

    map: float32 s,s in 0..1, s the side that the heads were trained at: how likely a pixel is defective. score: in
    0..1, the mean of the map's highest pixels. Neither is calibrated: they are as good as the pairs trained on.
    """

    map: Floats
    score: float


class Heads:
    """The heads of one bundle. Make them with `open_heads`.

    Args:
        entry: what they were trained on.
        sessions: of the graphs `segmenter` and, if there is one, `classifier`.
    """

    def __init__(self, entry: HeadsEntry, sessions: Mapping[str, Session]) -> None:
        self._size = entry.image_size
        self._outputs = entry.outputs
        self._segmenter = sessions["segmenter"]
        self._classifier = sessions.get("classifier")
        self.categories = sorted({category for category, _ in entry.outputs})

    def opinion(self, image: Image, category: str) -> Opinion | None:
        """The segmenter's, of an image uint8 H,W,3 of any size; None for a category that it was not trained on."""
        if category not in self.categories:
            return None
        found = self._segmenter.run({"image": resize_image(image, self._size)[None]}, ["map", "score"])
        return Opinion(found["map"][0], float(found["score"][0]))

    def first_opinion(self, image: Image, category: str) -> float | None:
        """The score of `opinion` alone, in 0..1."""
        opinion = self.opinion(image, category)
        return None if opinion is None else opinion.score

    def kind(self, image: Image, category: str) -> tuple[str, float] | None:
        """The likeliest kind of defect and its probability among the category's kinds, given that there is a defect.

        None without a classifier, or where the category has fewer than two kinds.
        """
        rows = [i for i, (name, _) in enumerate(self._outputs) if name == category]
        if self._classifier is None or len(rows) < 2:
            return None
        logits = self._classifier.run({"image": resize_image(image, self._size)[None]}, ["logits"])["logits"][0]
        likely = softmax(logits[rows])
        best = int(likely.argmax())
        return self._outputs[rows[best]][1], float(likely[best])

    def added(self, inspection: Inspection, image: Image, opinion: Opinion | None = None) -> Inspection:
        """The inspection of an image with what the heads say of it; a kind of defect only where it is not good.

        opinion: the segmenter's, where it was asked before.
        """
        opinion = opinion or self.opinion(image, inspection.category)
        if opinion is None:
            return inspection
        kind = None if inspection.verdict == "good" else self.kind(image, inspection.category)
        name, probability = kind or (None, None)
        return replace(
            inspection, segmenter_map=opinion.map, segmenter_score=opinion.score, defect=name,
            defect_probability=probability,
        )  # fmt: skip


def open_heads(entry: HeadsEntry | None, sessions: Mapping[str, Session]) -> Heads | None:
    """The heads of a bundle's `entry` and opened graphs; None where it has none."""
    return None if entry is None or "segmenter" not in sessions else Heads(entry, sessions)


def softmax(logits: Sequence[float] | Floats) -> NDArray[np.float64]:
    """exp(x) / Σ exp(x), float64."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    found: NDArray[np.float64] = shifted / shifted.sum()
    return found
