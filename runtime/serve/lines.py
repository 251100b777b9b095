"""Log lines: one JSON object each, for a journal or a log collector. What a request carried is never in them."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, TextIO

from edge_ad.runtime.serve.decision import utc_text

_LOGGER = logging.getLogger("edge_ad.serve")


class _JsonLines(logging.Formatter):
    """{"time", "level", "event", …fields}; a traceback is one string."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": utc_text(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log(event: str, *, level: str = "info", error: BaseException | None = None, **fields: Any) -> None:
    """Write a line. `error` adds its traceback."""
    _LOGGER.log(_number(level), event, exc_info=error, extra={"fields": fields})


def set_up(stream: TextIO, level: str = "info") -> None:
    """Send the station's lines, and the web server's, to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    for name in ("edge_ad.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(_number(level))


def _number(level: str) -> int:
    return int(getattr(logging, level.upper()))


class Throttle:
    """Lets an event through at most once in `seconds`, so that a flood of refusals is no flood of lines."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._last = -seconds

    def __call__(self) -> bool:
        """Whether now is the time for another line."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
