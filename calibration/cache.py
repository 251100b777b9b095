"""Results that took long to compute, kept in a file line by line, so that an interrupted calibration goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_ad.bundle import Manifest
from edge_ad.version import __version__


class Cache:
    """Plain data by key, in a file of JSON lines. One process at a time.

    A line that a crash cut off, or that is no record, is as good as absent.
    """

    def __init__(self, path: Path):
        self.path = path
        self._known: dict[str, Any] = {}
        self.computed = 0
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self._known[record["key"]] = record["value"]
            except (ValueError, KeyError, TypeError):
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of a key; computed and kept when it is not known yet. Values must be JSON without NaN."""
        if key not in self._known:
            value = compute()
            line = json.dumps({"key": key, "value": value}, allow_nan=False)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            self._known[key] = json.loads(line)["value"]
            self.computed += 1
        return self._known[key]


def context(manifest: Manifest, category: str, plan: str, **rest: Any) -> str:
    """A digest of everything that a category's scores depend on beside the picture: 32 hexadecimal digits.

    Graphs and files by their SHA-256, the plan with its schedule and weights, edge-ad's version; `rest` adds what the
    caller knows, such as provider, library, machine, precision and seed.
    """
    entry, chosen = manifest.categories[category], manifest.plans[plan]
    names = [path for graph in manifest.graphs.values() for path in graph.paths]
    names += [path for path in (entry.prompt, entry.prototypes, entry.levels.maps) if path]
    schedule = manifest.schedules[entry.schedules.get(plan, chosen.schedule)]
    content = {
        "edge_ad": __version__,
        "files": {name: manifest.files[name] for name in sorted(names)},
        "plan": chosen.model_dump(mode="json"),
        "schedule": schedule.model_dump(mode="json"),
        "weights": entry.weights.get(plan, chosen.weights).model_dump(mode="json"),
        "levels": entry.levels.model_dump(mode="json"),
        **rest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
