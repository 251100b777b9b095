"""Time by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Sums wall time by stage name: `with clock("decode"): …`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def shared_by(self, count: int) -> dict[str, float]:
        """Seconds by stage and in "total" since the clock was made, each divided by `count`."""
        return {
            name: value / count for name, value in {**self.seconds, "total": time.perf_counter() - self._start}.items()
        }
