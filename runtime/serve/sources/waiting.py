"""Waiting that ends early when the station stops."""

from __future__ import annotations

import asyncio
import contextlib


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep for `seconds`, but not longer than until `stop` is set; whether it is set."""
    if not stop.is_set() and seconds > 0:  # with no time `wait_for` would not even look
        with contextlib.suppress(asyncio.TimeoutError):  # on Python 3.10 not the builtin
            await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
