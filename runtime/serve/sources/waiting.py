"""Waiting that ends early when the station stops."""

from __future__ import annotations

import asyncio


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep for `seconds`, but not longer than until `stop` is set; whether it is set."""
    try:
        await asyncio.wait_for(stop.wait(), max(seconds, 0.0))
    except asyncio.TimeoutError:  # on Python 3.10 not the builtin
        return False
    return True
