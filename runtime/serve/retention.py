"""Keeps the records within their age and size, and clears away pictures that no decision has."""

from __future__ import annotations

import asyncio
import time
from itertools import islice

from edge_ad.runtime.serve.lines import log
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.pictures import PictureStore
from edge_ad.runtime.serve.records import Records

#: Seconds between two passes.
PERIOD = 600.0


async def sweep(records: Records, pictures: PictureStore) -> int:
    """Remove pictures that no decision has, left behind by a crash; only before the first inspection. How many."""
    removed = 0
    digests = pictures.all()
    while chunk := await asyncio.to_thread(lambda: list(islice(digests, 1000))):
        orphans = await records.unknown(chunk)
        removed += await asyncio.to_thread(pictures.remove, orphans)
    return removed


async def expire(records: Records, pictures: PictureStore, options: StationOptions) -> int:
    """Remove what is too old or too much; how many picture files."""
    if options.keep_days is None and options.keep_bytes is None:
        return 0
    older_than = 0.0 if options.keep_days is None else time.time() - 86_400 * options.keep_days
    gone = await records.expire(older_than, options.keep_bytes)
    return await asyncio.to_thread(pictures.remove, gone)


async def keep_within(records: Records, pictures: PictureStore, options: StationOptions) -> None:
    """`expire` for ever, every `PERIOD` seconds."""
    while True:
        if removed := await expire(records, pictures, options):
            log("retention", removed_pictures=removed)
        await asyncio.sleep(PERIOD)
