"""What the station says: a decision on one part, and the events that tell of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.runtime.result import Stage

Verdict = Literal["good", "bad", "undecided"]
OperatorVerdict = Literal["good", "bad"]


class RegionBox(BaseModel):
    """A defect region in pixels of the image as it came: box, area, highest score inside."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


class Decision(BaseModel):
    """The decision on one part, as it is recorded, answered and published.

    record_id: unique, sorts by time. time: ISO 8601, UTC, milliseconds. score: 0 or more, higher is less normal.
    threshold: bad from here on, None without calibration (the verdict is then "undecided"). normalised: the score on
    the scale where 0.5 is the threshold in every category, None without calibration. regions: highest peak first.
    times: seconds by stage, "total" from arrival to answer. bundle_sha256: of the bundle's manifest, which lists the
    hash of every other file. source: where the image came from. width, height: of the image in pixels. pictures: web
    paths of the PNG files "image", "map" and "inpainted"; a picture that retention has removed is not in it.
    drift: whether the camera or the light has changed, None where the bundle cannot tell. defect: the likeliest kind of
    defect of a part that is not good, None where the bundle has no head that tells; defect_probability: of that kind.
    stage: what decided, "prototypes" where a cascade needed no inpainting; None in records from before it was kept.
    operator_verdict and note: what a person said later.
    """

    model_config = ConfigDict(frozen=True)

    record_id: str
    time: str
    product: str
    category: str
    verdict: Verdict
    score: float
    threshold: float | None = None
    normalised: float | None = None
    regions: list[RegionBox] = []
    times: dict[str, float] = {}
    bundle_sha256: str
    plan: str = ""
    source: str = "http"
    width: int = 0
    height: int = 0
    pictures: dict[str, str] = {}
    drift: bool | None = None
    defect: str | None = None
    defect_probability: float | None = None
    stage: Stage | None = None
    operator_verdict: OperatorVerdict | None = None
    note: str = ""


class State(BaseModel):
    """An event that is no new decision: `reason` says what changed, `status` is `Station.status()` after it.

    reasons: "hello" (first on a stream), "ready", "products", "worker", "counts", "drift", "draining", and "verdict":
    an operator's, `decision` is the record with it.
    """

    reason: str
    status: dict[str, Any]
    decision: Decision | None = None


Event = Decision | State


class Overloaded(EdgeAdError):  # noqa: N818  (a state of the station rather than a mistake)
    """The queue is full, or the station is stopping or not ready; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Expired(EdgeAdError):  # noqa: N818  (a state of the station rather than a mistake)
    """No decision before the request's deadline. The image has no record."""


class InspectionFailed(EdgeAdError):  # noqa: N818  (as above)
    """The worker could not decide on the image, for instance for want of memory. The image has no record."""


class WorkerDied(InspectionFailed):
    """The process that runs the bundle ended while it held the image. The image has no record."""


def utc_text(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC with milliseconds, `2026-11-22T02:00:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_time(text: str, name: str) -> float:
    """ISO 8601 to seconds since the epoch; without an offset it is UTC. InputError names the parameter."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InputError(f'{name} "{text[:40]}" is not a time; write it as 2026-11-22T06:00:00Z') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
