"""Image files out of requests, in memory: nothing that a request says ever names a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

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
                    _check_text(value)
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


def _check_text(value: str) -> None:
    """HTTPException 400 for half a surrogate pair, which a form in UTF-7 can bring: no answer could repeat it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise HTTPException(400, "a field of the form is no valid text") from None
