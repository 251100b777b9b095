"""Images out of requests: strict types, limits before decoding, and nothing a request says ever names a file."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from edge_ad.errors import InputError
from edge_ad.images import decode_image

#: What is decoded; whatever else Pillow could read is refused by its first bytes.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
#: Media types of a body that is one image; "" where the client says nothing.
RAW_TYPES = ("application/octet-stream", "binary/octet-stream", "")
#: Images in one multipart request at most.
MAX_IMAGES = 64
_MAX_FIELDS = 80
_MAX_FIELD_BYTES = 4096


class _InMemory(MultiPartParser):
    """Uploads stay in memory, whose size the body limit bounds, instead of going to a temporary file."""

    spool_max_size = 1 << 40


@dataclass
class Upload:
    """What a request brought: the image files, and the fields of its query and form, the form's counting."""

    files: list[bytes]
    fields: dict[str, str] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)


async def read_upload(request: Request) -> Upload:
    """Read a body that is one image, or a form with one or several files called `image`.

    Raises HTTPException: 400 for a broken form or one without an image, 413 above the body limit, 415 for another
    media type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    upload = Upload([], dict(request.query_params), request.query_params.getlist("category"))
    if kind == "multipart/form-data":
        try:
            form = await _InMemory(
                request.headers,
                request.stream(),
                max_files=MAX_IMAGES,
                max_fields=_MAX_FIELDS,
                max_part_size=_MAX_FIELD_BYTES,
            ).parse()
        except (MultiPartException, KeyError, ValueError) as error:  # the parser lets KeyError out for some headers
            reason = error.message if isinstance(error, MultiPartException) else "a header is missing or broken"
            raise HTTPException(400, f"the form cannot be read: {reason}") from None
        try:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    upload.fields[name] = value
                    if name == "category":
                        upload.categories.append(value)
                elif name == "image":
                    upload.files.append(await value.read())
        finally:
            await form.close()
        if not upload.files:
            raise HTTPException(400, 'the form has no file called "image"')
    elif kind.startswith("image/") or kind in RAW_TYPES:
        upload.files.append(await request.body())
    else:
        raise HTTPException(415, f'send the image itself, or a form with a file called "image", not {kind[:60]}')
    return upload


async def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode one image in a thread: uint8 H,W,3.

    Raises HTTPException: 413 for more than `max_pixels`, told by its header before anything is decoded; 415 for bytes
    that are none of `FORMATS`; 400 for a damaged image.
    """
    return await asyncio.to_thread(_decode, data, max_pixels)


def _decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    too_many = HTTPException(413, f"the image holds more than {max_pixels:,} pixels; shrink it first")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise too_many from None
    except Exception:  # decoders raise anything from struct.error to SyntaxError on what is not theirs
        raise HTTPException(415, f"not an image of a known kind; send one of: {', '.join(FORMATS)}") from None
    if width * height > max_pixels:
        raise too_many
    try:
        return decode_image(data)
    except InputError as error:
        raise HTTPException(400, str(error)) from None
