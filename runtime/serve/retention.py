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
#: A clock that moves so much (seconds) against the machine's steady one, or against the newest record at the start, may
#: be wrong; nothing is removed by age until it has gone on evenly for `PROOF` seconds, time for somebody to notice.
LEAP = 86_400.0
PROOF = 86_400.0


async def sweep(records: Records, pictures: PictureStore) -> int:
    """Remove pictures that no decision has, left behind by a crash; only before the first inspection. How many."""
    removed = 0
    digests = pictures.all()
    while chunk := await asyncio.to_thread(lambda: list(islice(digests, 1000))):
        removed += await records.remove_unknown(chunk, pictures.remove)
    return removed


async def expire(records: Records, pictures: PictureStore, options: StationOptions, *, by_age: bool = True) -> int:
    """Remove what is too much and, with `by_age`, what is too old; how many picture files."""
    older_than = time.time() - 86_400 * options.keep_days if by_age and options.keep_days is not None else None
    removed = 0
    async for gone in records.expire(older_than, options.keep_bytes):
        removed += await records.remove_unknown(gone, pictures.remove)
    return removed


async def keep_within(records: Records, pictures: PictureStore, options: StationOptions) -> None:
    """`expire` for ever, every `PERIOD` seconds; by age only while the clock is believed."""
    steady = time.monotonic()
    clock = await records.latest() or time.time()
    believed = steady  # from this moment on
    while True:
        before, steady = steady, time.monotonic()
        expected, clock = clock + steady - before, time.time()
        if abs(clock - expected) > LEAP:
            log("clock leapt", level="warning", seconds=round(clock - expected), no_record_expires_for_s=PROOF)
            believed = steady + PROOF
        if removed := await expire(records, pictures, options, by_age=steady >= believed):
            log("retention", removed_pictures=removed)
        await asyncio.sleep(PERIOD)
