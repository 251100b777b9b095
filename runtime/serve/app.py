"""The web application of a station."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from edge_ad.errors import EdgeAdError
from edge_ad.runtime.serve import api, kserve, site
from edge_ad.runtime.serve.access import Access
from edge_ad.runtime.serve.errors import describe
from edge_ad.runtime.serve.guard import Guard
from edge_ad.runtime.serve.limits import BodyLimit
from edge_ad.runtime.serve.station import Station
from edge_ad.version import __version__

_ABOUT = "Decides on photographs of parts: verdict, score, defect map. Errors have a body {error: {code, message}}."


def build_app(station: Station, access: Access, *, max_upload: int) -> ASGIApp:
    """The application. The station's start and close are the caller's. max_upload: bytes of a request's body."""
    app = FastAPI(
        title="edge-ad inspection station",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # FastAPI's own pages load scripts from another machine
        redoc_url=None,
    )
    app.include_router(api.make_router(station))
    app.include_router(kserve.make_router(station))
    site.add_site(app, access, station.metrics)
    app.add_exception_handler(EdgeAdError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_bug)
    return Guard(BodyLimit(app, max_upload), access, station.metrics, max_open=4 * station.options.queue + 64)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeAdError | HTTPException)  # what it is registered for
    status, code, message, headers = describe(error)
    return _body(request, status, code, message, headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # what it is registered for
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _body(request, 422, "invalid", f"{where}: {first['msg']}", {})


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the client has gone in the midst of its upload; nobody reads this


async def _answer_bug(request: Request, error: Exception) -> Response:
    # the server logs the traceback
    return _body(request, 500, "internal", "internal error; the station's log says more", {})


def _body(request: Request, status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    if request.url.path.startswith("/v2"):  # the KServe protocol has its own form of an error
        return JSONResponse({"error": message}, status, headers)
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
