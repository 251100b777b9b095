"""How many parts were good and bad today."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def midnight(now: float) -> float:
    """The start of the local day that holds `now`; both in seconds since the epoch."""
    return datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def tally(counts: Counter[str]) -> dict[str, Any]:
    """good, bad, undecided, total, and yield: the share of good parts among the decided ones, None without any."""
    decided = counts["good"] + counts["bad"]
    return {
        "good": counts["good"],
        "bad": counts["bad"],
        "undecided": counts["undecided"],
        "total": decided + counts["undecided"],
        "yield": counts["good"] / decided if decided else None,
    }


class DayCounts:
    """Verdicts a category since local midnight."""

    def __init__(self, now: float, stored: Mapping[tuple[str, str], int]):
        self.since = midnight(now)
        self._by_category: dict[str, Counter[str]] = {}
        for (category, verdict), count in stored.items():
            self._by_category.setdefault(category, Counter())[verdict] += count

    def add(self, now: float, category: str, verdict: str) -> None:
        """Count one decision; the first of a new day begins at zero."""
        self.roll(now)
        self._by_category.setdefault(category, Counter())[verdict] += 1

    def roll(self, now: float) -> None:
        """Begin again at zero when the day has changed."""
        if (start := midnight(now)) != self.since:
            self.since = start
            self._by_category.clear()

    def summary(self) -> dict[str, Any]:
        """See `tally`: of all categories together, and in "categories" of each."""
        total: Counter[str] = sum(self._by_category.values(), Counter())
        each = {name: tally(counts) for name, counts in sorted(self._by_category.items())}
        return {**tally(total), "categories": each}
