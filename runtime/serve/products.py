"""The bundles a station runs, each a product with categories, and which of them an image is for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.bundle import MANIFEST
from edge_ad.errors import BundleError, InputError, OptionError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(eq=False)
class Product:
    """A loaded bundle. slot: its number at the worker. about: what the worker said of it. jobs: images on their way."""

    name: str
    path: Path
    slot: int
    about: Mapping[str, Any]
    jobs: int = 0
    retired: bool = False

    @property
    def categories(self) -> Mapping[str, Mapping[str, Any]]:
        """Each category's threshold (None without calibration), its rule, and the false-reject rate it promises."""
        categories: Mapping[str, Mapping[str, Any]] = self.about["categories"]
        return categories

    def summary(self) -> dict[str, Any]:
        """What the web interface tells of it; no path."""
        return {
            "name": self.name,
            "bundle": self.path.name,
            "bundle_sha256": self.about["sha256"],
            "created": self.about["created"],
            "image_size": self.about["image_size"],
            "plan": self.about["plan"],
            "provider": self.about["provider"],
            "precision": self.about["precision"],
            "categories": dict(sorted(self.categories.items())),
        }


def parse_bundle(text: str) -> tuple[str, Path]:
    """`NAME=PATH` or `PATH` (named by its folder or file) to a product's name and bundle. Raises OptionError."""
    name, sign, rest = text.partition("=")
    if sign and _NAME.fullmatch(name) and not Path(text).exists():
        path = Path(rest)
    else:
        path = Path(text)
        name = path.resolve().name.removesuffix(".tar")
    if not _NAME.fullmatch(name):
        raise OptionError(
            f'a product cannot be called "{name}"; name it with letters, digits, ".", "_" and "-": NAME={path}'
        )
    return name, path


def parse_bundles(texts: Sequence[str]) -> dict[str, Path]:
    """The products of a command line. Raises OptionError when two have one name."""
    products: dict[str, Path] = {}
    for text in texts:
        name, path = parse_bundle(text)
        if name in products:
            raise OptionError(f'two bundles are called "{name}"; name one of them: NAME={path}')
        products[name] = path
    return products


def route(products: Mapping[str, Product], category: str | None, product: str | None) -> tuple[Product, str]:
    """The product and category an image is for; what is not given must follow from what is loaded.

    Raises InputError when several would fit, BundleError when none does.
    """
    if product is not None and product not in products:
        raise BundleError(f'there is no product "{product}"; the station has {_listed(products)}')
    candidates = [products[product]] if product is not None else list(products.values())
    if category is None:
        choices = [(one, name) for one in candidates for name in one.categories]
        if len(choices) == 1:
            return choices[0]
        raise InputError(f"say which category it is: {_listed({name for _, name in choices})}")
    fitting = [one for one in candidates if category in one.categories]
    if not fitting:
        known = {name for one in candidates for name in one.categories}
        raise BundleError(f'there is no category "{category}"; the station has {_listed(known)}')
    if len(fitting) > 1:
        raise InputError(
            f'category "{category}" is in several products; say which: {_listed({one.name for one in fitting})}'
        )
    return fitting[0], category


def available(folders: Sequence[Path]) -> dict[str, Path]:
    """The bundles in some folders by file name: folders with a manifest, `.tar` files. The first of a name counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not entry.name.startswith(".") and (entry.suffix == ".tar" or (entry / MANIFEST).is_file()):
                found.setdefault(entry.name, entry)
    return found


def check_product_name(name: str) -> None:
    """Raises InputError for what cannot be a product's name."""
    if not _NAME.fullmatch(name):
        raise InputError('a product is named with letters, digits, ".", "_" and "-", 64 of them at most')


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
