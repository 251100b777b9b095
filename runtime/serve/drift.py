"""What the drift monitors say of each product and category, as of their last pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_ad.runtime.serve.products import Product


class DriftBoard:
    """The newest word of each monitor. It goes with its product: another bundle has seen other good pictures."""

    def __init__(self) -> None:
        self._found: dict[tuple[Product, str], dict[str, Any]] = {}

    def put(self, product: Product, category: str, found: dict[str, Any]) -> bool:
        """Note what a monitor says now; whether its alarm went on or off with it."""
        before = self._found.get((product, category), {"changed": False})
        self._found[product, category] = found
        return bool(found["changed"] != before["changed"])

    def keep(self, loaded: Callable[[Product], bool]) -> list[tuple[str, str]]:
        """Forget products that are no longer loaded; the (product, category) names that went."""
        gone = [key for key in self._found if not loaded(key[0])]
        for key in gone:
            del self._found[key]
        return [(product.name, category) for product, category in gone]

    def details(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{category: {product: what was found}}."""
        result: dict[str, dict[str, dict[str, Any]]] = {}
        for (product, category), found in self._found.items():
            result.setdefault(category, {})[product.name] = found
        return result
