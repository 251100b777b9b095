"""The station's own HTTP interface, /v1."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from edge_ad.errors import BundleError, EdgeAdError, OptionError
from edge_ad.runtime.serve.decision import Decision, State, parse_time
from edge_ad.runtime.serve.errors import describe
from edge_ad.runtime.serve.events import Listener
from edge_ad.runtime.serve.products import available
from edge_ad.runtime.serve.station import Station
from edge_ad.runtime.serve.tables import Query as RecordQuery
from edge_ad.runtime.serve.uploads import MAX_IMAGES, read_upload

#: Seconds between two comments on a quiet event stream, so that proxies and clients see that it lives.
_KEEP_ALIVE = 15.0
MAX_DEADLINE = 600.0

_FILE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_ONE: dict[str, Any] = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": _FILE,
        "category": _TEXT,
        "product": _TEXT,
        "deadline_s": {"type": "number"},
        "pictures": {"enum": ["links", "inline", "none"]},
    },
}
_FILES = {"type": "array", "items": _FILE, "maxItems": MAX_IMAGES}
_MANY: dict[str, Any] = {**_ONE, "properties": {**_ONE["properties"], "image": _FILES}}


def _body(schema: dict[str, Any], *, raw: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if raw:
        content |= {kind: {"schema": _FILE} for kind in ("image/png", "image/jpeg", "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}


class ErrorText(BaseModel):
    """Why there is no answer: a word for programs, a sentence for people."""

    code: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorText


class InspectAnswer(Decision):
    """A decision; `inline` has the PNG files in base64 by kind when they were asked for with `pictures=inline`."""

    inline: dict[str, str] | None = None


class BatchEntry(BaseModel):
    """One image of a batch: its decision or its error."""

    decision: Decision | None = None
    error: ErrorText | None = None


class BatchAnswer(BaseModel):
    """Results in the order of the images."""

    results: list[BatchEntry]


class RecordsAnswer(BaseModel):
    """Records, newest first; `next` is the value of `before` for the page after, None on the last."""

    records: list[Decision]
    next: str | None


class TrendPoint(BaseModel):
    """One part on the chart of scores."""

    record_id: str
    time: str
    score: float
    threshold: float | None
    normalised: float | None
    verdict: str


class TrendAnswer(BaseModel):
    """The newest scores of a category, oldest first."""

    points: list[TrendPoint]


class VerdictBody(BaseModel):
    """What a person says of a part."""

    verdict: Literal["good", "bad"]
    note: str = Field(default="", max_length=2000)


class ProductBody(BaseModel):
    """Which bundle to load, by its file name in a folder the station was started with, and as which product."""

    product: str
    bundle: str


def make_router(station: Station) -> APIRouter:
    """The routes of one station."""
    router = APIRouter(
        prefix="/v1",
        responses={code: {"model": ErrorAnswer} for code in (400, 401, 404, 408, 413, 415, 422, 500, 503, 504)},
    )

    @router.post("/inspect", openapi_extra=_body(_ONE, raw=True), tags=["inspect"])
    async def inspect(request: Request) -> InspectAnswer:
        """Decide on one image: the body, or the file `image` of a form.

        Query or form: category, product, deadline_s, and pictures: "links" (default), "inline" or "none".
        """
        with station.upload():
            upload = await read_upload(request)
        if len(upload.files) != 1:
            raise HTTPException(400, "send one image here; several go to /v1/inspect/batch")
        wanted = _wanted(upload.fields)
        decision = await _decide(station, upload.files[0], upload.fields, upload.fields.get("category"))
        return await asyncio.to_thread(_answer, station, decision, wanted)

    @router.post("/inspect/batch", openapi_extra=_body(_MANY, raw=False), tags=["inspect"])
    async def inspect_batch(request: Request) -> BatchAnswer:
        """Decide on several images, files `image` of a form, with one `category` for all or one each, in order."""
        with station.upload():
            upload = await read_upload(request)
        names: list[str | None] = list(upload.categories) or [None]
        if len(names) not in (1, len(upload.files)):
            raise HTTPException(400, f"{len(upload.files)} images with {len(names)} categories: give one, or one each")
        if len(names) == 1:
            names *= len(upload.files)

        async def entry(data: bytes, name: str | None) -> BatchEntry:
            try:
                return BatchEntry(decision=await _decide(station, data, upload.fields, name))
            except (EdgeAdError, HTTPException) as error:
                _, code, message, _ = describe(error)
                return BatchEntry(error=ErrorText(code=code, message=message))

        return BatchAnswer(results=list(await asyncio.gather(*map(entry, upload.files, names))))

    @router.get("/events", tags=["look"])
    async def events() -> StreamingResponse:
        """Server-sent events: `event: decision` with a decision, `event: state` with {reason, status, decision}."""
        listener = station.subscribe()
        first = State(reason="hello", status=station.status())
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(first, listener), media_type="text/event-stream", headers=headers)

    @router.get("/status", tags=["look"])
    async def status() -> dict[str, Any]:
        """What the station is and does: ready, products, counts and yield of today, queue, drift, sinks, version."""
        return station.status()

    @router.get("/records", tags=["look"])
    async def records(
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: str | None = None,
        category: str | None = None,
        verdict: Literal["good", "bad", "undecided", "corrected"] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> RecordsAnswer:
        """Records, newest first. before: a record id. since, until: ISO 8601. corrected: an operator disagreed."""
        query = RecordQuery(
            limit=limit,
            before=before,
            category=category,
            verdict=verdict,
            since=None if since is None else parse_time(since, "since"),
            until=None if until is None else parse_time(until, "until"),
        )
        found = await station.records.find(query)
        return RecordsAnswer(records=found, next=found[-1].record_id if len(found) == limit else None)

    @router.get("/records/{record_id}", tags=["look"])
    async def record(record_id: str) -> Decision:
        """One record."""
        found = await station.records.get(record_id)
        if found is None:
            raise HTTPException(404, "there is no such record")
        return found

    @router.put("/records/{record_id}/verdict", tags=["judge"])
    async def judge(record_id: str, body: VerdictBody) -> Decision:
        """Say what a part really was; the decision itself stays as it was."""
        found = await station.judge(record_id, body.verdict, body.note)
        if found is None:
            raise HTTPException(404, "there is no such record")
        return found

    @router.get("/trend", tags=["look"])
    async def trend(category: str, limit: Annotated[int, Query(ge=1, le=5000)] = 200) -> TrendAnswer:
        """The newest scores of a category, oldest first."""
        return TrendAnswer(points=[TrendPoint(**point) for point in await station.records.trend(category, limit)])

    @router.get("/pictures/{digest}.png", response_class=FileResponse, tags=["look"])
    async def picture(digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> FileResponse:
        """A picture of a record."""
        path = await asyncio.to_thread(station.pictures.find, digest)
        if path is None:
            raise HTTPException(404, "there is no such picture; it may be past its retention")
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return FileResponse(path, media_type="image/png", headers=headers)

    @router.get("/products", tags=["products"])
    async def products() -> dict[str, Any]:
        """What is loaded, and which bundles could be."""
        choices = await asyncio.to_thread(available, station.options.bundle_folders)
        return {"products": station.status()["products"], "available": sorted(choices)}

    @router.post("/products", tags=["products"])
    async def load(body: Annotated[ProductBody, Body()]) -> dict[str, Any]:
        """Load a bundle, or replace one: it is verified and warmed up first, and the old one stays if that fails."""
        try:
            product = await station.load_product(body.product, body.bundle)
        except (BundleError, OptionError) as error:
            raise HTTPException(422, str(error)) from None
        return product.summary()

    @router.delete("/products/{product}", status_code=204, tags=["products"])
    async def unload(product: str) -> None:
        """Take a product out."""
        await station.remove_product(product)

    return router


async def _decide(station: Station, data: bytes, fields: dict[str, str], category: str | None) -> Decision:
    return await station.inspect_file(
        data, category or None, product=fields.get("product") or None, deadline_s=_deadline(fields)
    )


def _deadline(fields: dict[str, str]) -> float | None:
    text = fields.get("deadline_s")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_DEADLINE:  # NaN fails too
        raise HTTPException(400, f"deadline_s must be seconds above 0, {MAX_DEADLINE:g} at most")
    return seconds


def _wanted(fields: dict[str, str]) -> str:
    wanted = fields.get("pictures", "links")
    if wanted not in ("links", "inline", "none"):
        raise HTTPException(400, 'pictures must be "links", "inline" or "none"')
    return wanted


def _answer(station: Station, decision: Decision, wanted: str) -> InspectAnswer:
    fields = decision.model_dump()
    if wanted == "none":
        fields["pictures"] = {}
    answer = InspectAnswer(**fields)
    if wanted != "inline":
        return answer
    inline = {}
    for kind, link in decision.pictures.items():
        path = station.pictures.find(link.rpartition("/")[2].removesuffix(".png"))
        if path is not None and kind != "image":  # the client has that one
            inline[kind] = base64.b64encode(path.read_bytes()).decode()
    return answer.model_copy(update={"inline": inline})


async def _stream(first: State, listener: Listener) -> AsyncIterator[str]:
    yield f"retry: 2000\n{_event(first)}"
    while True:
        try:
            yield _event(await asyncio.wait_for(listener.__anext__(), _KEEP_ALIVE))
        except asyncio.TimeoutError:
            yield ": quiet\n\n"
        except StopAsyncIteration:
            return


def _event(event: Decision | State) -> str:
    name = "decision" if isinstance(event, Decision) else "state"
    return f"event: {name}\ndata: {event.model_dump_json()}\n\n"  # JSON has no raw line breaks
