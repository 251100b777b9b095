"""One image on its way through the station: what is known of it, and the work on its pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.images import resize_image
from edge_ad.runtime.clock import Clock
from edge_ad.runtime.serve import render
from edge_ad.runtime.serve.decision import Decision, Expired, RegionBox, utc_text
from edge_ad.runtime.serve.decoding import decode
from edge_ad.runtime.serve.pictures import PictureStore, is_png, png
from edge_ad.runtime.serve.products import Product
from edge_ad.runtime.serve.records import new_record_id
from edge_ad.runtime.serve.tables import KINDS, Kept, links


class Together:
    """Images of one request: none goes on to the worker before each has been read, and when one fails all do."""

    def __init__(self, count: int):
        self._missing = count
        self._read: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._read.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be nobody's

    def watch(self, answer: asyncio.Future[Decision]) -> None:
        """An image belongs to these, and this is its answer."""
        answer.add_done_callback(self._answered)

    async def arrive(self) -> None:
        """An image has been read: wait for the others. Raises what one of them failed with."""
        self._missing -= 1
        if not self._missing and not self._read.done():
            self._read.set_result(None)
        await self._read

    def _answered(self, answer: asyncio.Future[Decision]) -> None:
        if not self._read.done():
            error = None if answer.cancelled() else answer.exception()
            self._read.set_exception(error or Expired("given up"))


@dataclass(eq=False)
class Request:
    """One image on its way. content: its file or pixels, until it is prepared. file: of `content`'s pixels, if there is
    one. alone: in a batch of its own. together: with the others of its request, if there are any. size: (H, W), once
    known. small: for the map. answer: set once. closing: its decision is being recorded, it can no longer expire.
    """

    content: bytes | NDArray[np.uint8] | None
    file: bytes | None
    product: Product
    category: str
    source: str
    alone: bool = False
    together: Together | None = None
    arrived: float = field(default_factory=time.time)
    clock: Clock = field(default_factory=Clock)
    answer: asyncio.Future[Decision] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    size: tuple[int, int] = (0, 0)
    small: NDArray[np.uint8] | None = None
    held: list[str] = field(default_factory=list)
    waiting: bool = True
    closing: bool = False

    def prepare(self, max_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The pixels, uint8 H,W,3, and the worker's square of them, uint8 S,S,3. To be called once, in a thread.

        Raises NotAnImage and TooManyPixels (both InputError).
        """
        content, self.content = self.content, None
        assert content is not None  # it is prepared once
        with self.clock("read"):
            image = decode(content, max_pixels) if isinstance(content, bytes) else content
        self.size = (image.shape[0], image.shape[1])
        with self.clock("resize"):
            square = resize_image(image, int(self.product.about["image_size"]))
            self.small = render.small_copy(image)
        return image, square

    def keep(self, pictures: PictureStore, kind: str, image: NDArray[np.uint8], file: bytes | None = None) -> Kept:
        """Encode a picture and put it on disk, in a thread. file: its own, kept as it is where it is a PNG."""
        data = file if file is not None and is_png(file) else png(image)
        digest = pictures.put(data)
        self.held.append(digest)
        return Kept(kind, digest, len(data))

    def draw(
        self, pictures: PictureStore, result: dict[str, Any], score_map: NDArray[Any], inpainted: NDArray[Any]
    ) -> list[Kept]:
        """The pictures of the defect map and of what the part should have looked like, kept; in a thread."""
        assert self.small is not None  # it was prepared
        with self.clock("render"):
            heat = render.map_picture(self.small, score_map, result["range"])
            drawn = [heat, render.unsquare(inpainted, self.size)] if inpainted.size else [heat]
            return [self.keep(pictures, kind, picture) for kind, picture in zip(KINDS[1:], drawn)]

    def decision(self, result: dict[str, Any], kept: Sequence[Kept]) -> Decision:
        """The decision, from the worker's result and the pictures that were kept."""
        about, (height, width) = self.product.about, self.size
        stages = {name: seconds for name, seconds in result["times"].items() if name != "total"}
        stages |= self.clock.seconds
        return Decision(
            record_id=new_record_id(self.arrived),
            time=utc_text(self.arrived),
            product=self.product.name,
            category=self.category,
            verdict=result["verdict"],
            score=result["score"],
            threshold=result["threshold"],
            normalised=result["normalised"],
            regions=[RegionBox(**region) for region in result["regions"]],
            times={**stages, "total": self.clock.shared_by(1)["total"]},
            bundle_sha256=about["sha256"],
            plan=about["plan"],
            source=self.source,
            width=width,
            height=height,
            pictures=links([(picture.kind, picture.sha256) for picture in kept]),
            drift=None if result["drift"] is None else result["drift"]["changed"],
            defect=result["defect"],
            defect_probability=result["defect_probability"],
            stage=result["stage"],
        )
