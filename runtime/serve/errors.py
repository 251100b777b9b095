"""Errors as HTTP answers."""

from __future__ import annotations

import math

from starlette.exceptions import HTTPException

from edge_ad.errors import BundleError, EdgeAdError
from edge_ad.runtime.serve.decision import Expired, InspectionFailed, Overloaded, WorkerDied
from edge_ad.runtime.serve.decoding import NotAnImage, TooManyPixels

_KINDS: tuple[tuple[type[EdgeAdError], int, str], ...] = (
    (Overloaded, 503, "overloaded"),
    (Expired, 504, "expired"),
    (WorkerDied, 500, "worker_died"),
    (InspectionFailed, 500, "failed"),
    (BundleError, 404, "unknown"),
    (TooManyPixels, 413, "too_large"),
    (NotAnImage, 415, "not_an_image"),
    (EdgeAdError, 400, "bad_request"),
)
_WORDS = {401: "unauthorized", 404: "unknown", 405: "method", 408: "slow", 413: "too_large", 415: "not_an_image",
          422: "refused"}  # fmt: skip


def describe(error: EdgeAdError | HTTPException) -> tuple[int, str, str, dict[str, str]]:
    """HTTP status, a word for programs, a sentence for people, and headers."""
    if isinstance(error, HTTPException):
        return (
            error.status_code,
            _WORDS.get(error.status_code, "bad_request"),
            str(error.detail),
            dict(error.headers or {}),
        )
    status, code = next((status, code) for kind, status, code in _KINDS if isinstance(error, kind))
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, Overloaded) else {}
    return status, code, str(error), headers
