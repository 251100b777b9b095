"""Messages between the station and its worker: a JSON header and raw arrays, never a pickle.

A frame is eight bytes (two little-endian uint32: length of the header, number of arrays), the header as UTF-8 JSON, and
for each array a uint32 length and a JSON object {dtype, shape}, then its bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Message = tuple[dict[str, Any], list[Array]]

_START = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


def encode(header: dict[str, Any], arrays: Sequence[Array] = ()) -> list[bytes | memoryview]:
    """The pieces of a frame, to be written one after the other; array data is not copied."""
    text = json.dumps(header).encode()
    pieces: list[bytes | memoryview] = [_START.pack(len(text), len(arrays)) + text]
    for array in arrays:
        array = np.ascontiguousarray(array)
        about = json.dumps({"dtype": array.dtype.str, "shape": array.shape}).encode()
        pieces.append(_LENGTH.pack(len(about)) + about)
        pieces.append(array.reshape(-1).view(np.uint8).data)
    return pieces


def read_frame(stream: BinaryIO) -> Message | None:
    """Read one frame from a blocking stream; None at its end, also in the midst of a frame."""
    try:
        header_size, count = _START.unpack(_exactly(stream, _START.size))
        header = json.loads(_exactly(stream, header_size))
        arrays = []
        for _ in range(count):
            (size,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
            about = json.loads(_exactly(stream, size))
            array = np.empty(about["shape"], np.dtype(about["dtype"]))
            _fill(stream, array.reshape(-1).view(np.uint8).data)
            arrays.append(array)
    except EOFError:
        return None
    return header, arrays


async def read_frame_async(exactly: Callable[[int], Awaitable[bytes]]) -> Message:
    """Read one frame with `asyncio.StreamReader.readexactly`, whose IncompleteReadError passes through."""
    header_size, count = _START.unpack(await exactly(_START.size))
    header = json.loads(await exactly(header_size))
    arrays = []
    for _ in range(count):
        (size,) = _LENGTH.unpack(await exactly(_LENGTH.size))
        about = json.loads(await exactly(size))
        dtype = np.dtype(about["dtype"])
        data = await exactly(int(np.prod(about["shape"], dtype=np.int64)) * dtype.itemsize)
        arrays.append(np.frombuffer(data, dtype).reshape(about["shape"]))
    return header, arrays


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = bytearray(size)
    _fill(stream, memoryview(data))
    return bytes(data)


def _fill(stream: BinaryIO, into: memoryview) -> None:
    done = 0
    while done < len(into):
        count = stream.readinto(into[done:])  # type: ignore[attr-defined]  # every binary file has it
        if not count:
            raise EOFError
        done += count
