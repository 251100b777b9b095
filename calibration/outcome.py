"""What a calibration is for, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Calibration, CascadeLimits
from edge_ad.calibration.choose import Found
from edge_ad.runtime.monitor import DriftModel

#: Rates shown in the coverage chart.
RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class Settings:
    """What to calibrate for.

    rule: "conformal" promises `false_reject` where there are enough images, and otherwise estimates; "f1" and "cost"
    choose on labelled defects. cost_ratio: an escape in false rejects. defect_rate: share of bad parts on the line,
    None: that of the images. pixel: threshold of regions, None: calibrated as the other. min_area: in pixels of the
    original picture. strengths, alphas: what to try; empty keeps the present, None is the usual list, and nothing is
    tried where an earlier calibration has chosen. rate, horizon, window: of drift, see `edge_ad.bundle.Monitor`.
    cascade: share of defects that the prototype error alone may pass; None sets no limits for it.
    """

    rule: Literal["conformal", "f1", "cost"] = "conformal"
    false_reject: float = 0.01
    require_promise: bool = False
    cost_ratio: float = 10.0
    defect_rate: float | None = None
    pixel: float | None = None
    min_area: float = 1.0
    mm_per_pixel: float | None = None
    strengths: tuple[float, ...] | None = None
    alphas: tuple[float, ...] | None = None
    split: str = "all"
    window: int = 16
    rate: float = 0.05
    horizon: int = 200
    cascade: float | None = None


@dataclass(frozen=True)
class Change:
    """A change of camera or light tried on good pictures: share of windows that alarm, and median statistic / limit."""

    name: str
    alarms: float
    strength: float


@dataclass
class Outcome:
    """What came out for one category. sentence: why nothing is promised. coverage: float64 splits,len(RATES).

    from_shots: the scores are those of the training's pictures. alone: one of these had only its own prototypes.
    """

    category: str
    threshold: float
    entry: Calibration
    sentence: str | None
    good: list[float]
    bad: list[float]
    good_levels: list[float]
    from_shots: bool
    left_out: int
    repeated: int
    alone: bool = False
    measured: tuple[float, float] | None = None
    coverage: NDArray[np.float64] | None = None
    found: Found | None = None
    model: DriftModel | None = None
    streams: NDArray[np.float64] | None = None
    changes: list[Change] = field(default_factory=list)
    no_monitor: str | None = None
    cascade: CascadeLimits | str | None = None

    def line(self) -> str:
        """One line for a person."""
        return self._threshold_line() + self._cascade_line()

    def _cascade_line(self) -> str:
        found = self.cascade
        if found is None:
            return ""
        if isinstance(found, str):
            return f"; no cascade: {found}"
        agrees = ""
        if found.segmenter is not None:
            agrees = f" where the segmenter's score is at most {found.segmenter.score:.2g}"
        return (
            f"; cascade: prototypes decide below {found.lower:.4g}{agrees} and from {found.upper:.4g} on, which is "
            f"{100 * found.decided:.0f} % of the good images; at most {100 * found.miss_rate:.2g} % of defects pasted "
            f"into these {found.pictures} pictures, like the {found.defects} used, are passed by them"
        )

    def _threshold_line(self) -> str:
        entry = self.entry
        head = f"{self.category}: threshold {self.threshold:.4g}"
        if entry.rule == "conformal":
            assert entry.promised is not None  # the rule's promise
            return (
                f"{head}, promised: at most {100 * entry.promised:.3g} % of good parts are rejected "
                f"({entry.images} images)"
            )
        if entry.rule == "estimate":
            return f"{head}, an ESTIMATE from {self._source()} and no promise: {self.sentence}"
        assert self.measured is not None  # rules f1 and cost
        rejects, escapes = self.measured
        name = "best F1" if entry.rule == "f1" else "lowest cost"
        return (
            f"{head}, {name} on {entry.images} good and {entry.defects} bad images: {100 * rejects:.3g} % false "
            f"rejects and {100 * escapes:.3g} % escapes on these very images"
        )

    def _source(self) -> str:
        """What an estimate is made from."""
        entry = self.entry
        parts = [f"{entry.images} image{'s' * (entry.images != 1)}"] if entry.images else []
        if self.alone:
            parts.append("variations of the one training image, which has only its own prototypes to be compared with")
        elif entry.shots:
            parts.append(f"{entry.shots} training images and variations")
        return ", ".join(parts)


@dataclass(frozen=True)
class Result:
    """All outcomes, and what they were made with."""

    outcomes: list[Outcome]
    about: dict[str, Any]
