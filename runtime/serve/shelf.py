"""The products a station has loaded: put there, replaced and taken away while images of them are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_ad.errors import BundleError, InputError
from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.products import Product, available, check_product_name, route
from edge_ad.runtime.serve.supervisor import Supervisor


class Shelf:
    """Products by name. A replaced one stays with the worker until its last image has left it.

    folders: where bundles may be loaded from at run time. changed: called after every change.
    """

    def __init__(self, supervisor: Supervisor, folders: Sequence[Path], changed: Callable[[], None]):
        self._supervisor = supervisor
        self._folders = folders
        self._changed = changed
        self._products: dict[str, Product] = {}
        self._loading = asyncio.Lock()

    @property
    def products(self) -> Mapping[str, Product]:
        """What is loaded, by name."""
        return self._products

    async def put_from_folders(self, name: str, bundle: str) -> Product:
        """Load a bundle of the allowed folders, by its file name, as product `name`; errors as `put`, or InputError."""
        check_product_name(name)
        choices = await asyncio.to_thread(available, self._folders)
        if bundle not in choices:
            known = ", ".join(sorted(choices)) or "none; start the station with --bundles FOLDER"
            raise InputError(f"there is no such bundle to load; there is: {known}")
        return await self.put(name, choices[bundle])

    async def put(self, name: str, path: Path) -> Product:
        """Load a bundle as product `name`. What had that name answers until the new one is verified, loaded and warm,
        and stays if that fails. Raises BundleError and OptionError as `Detector.load` does.
        """
        async with self._loading:
            product = await self._supervisor.load(name, path)
            old = self._products.get(name)
            self._products[name] = product
            if old is not None:
                self._retire(old)
        log("product loaded", product=name, bundle_sha256=product.about["sha256"], seconds=product.about["seconds"])
        self._changed()
        return product

    def remove(self, name: str) -> None:
        """Take a product out; images of it that wait are still inspected. Raises BundleError for an unknown one."""
        if name not in self._products:
            raise BundleError(f'there is no product "{name}"')
        self._retire(self._products.pop(name))
        log("product removed", product=name)
        self._changed()

    def take(self, categories: Sequence[str | None], product: str | None) -> list[tuple[Product, str]]:
        """The product and category each image is for; to be given back with `done_with`. Errors as `route`, for all."""
        taken = [route(self._products, category, product) for category in categories]
        for chosen, _ in taken:
            chosen.jobs += 1
        return taken

    def done_with(self, product: Product) -> None:
        """One image less is on its way to a product."""
        product.jobs -= 1
        if product.retired and product.jobs == 0:
            self._supervisor.unload(product)

    def lost(self, product: Product) -> None:
        """Forget a product that the worker could not load again."""
        if self._products.get(product.name) is product:
            del self._products[product.name]

    def _retire(self, product: Product) -> None:
        product.retired = True
        if product.jobs == 0:
            self._supervisor.unload(product)
