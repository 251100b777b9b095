"""The page at /, its files, the login, the description of the interface, and /metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from edge_ad.runtime.serve.access import COOKIE, SESSION_SECONDS, Access
from edge_ad.runtime.serve.metrics import Metrics
from edge_ad.runtime.serve.openapi_page import page

STATIC = Path(__file__).parent / "static"
#: Seconds that a wrong token waits for its answer.
_PENALTY = 0.5

_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Inspection station: log in</title></head>
<body><main><h1>Inspection station</h1>
<form method="post" action="/login">
<p><label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label></p>
<p><button>Log in</button></p>
<p role="alert">{message}</p>
</form></main></body></html>
"""


def add_site(app: FastAPI, access: Access, metrics: Metrics) -> None:
    """Add these routes to an application."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    @router.get("/metrics")
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/login")
    async def login_page() -> HTMLResponse:
        return HTMLResponse(_LOGIN.format(message=""))

    @router.post("/login")
    async def login(request: Request) -> Response:
        try:
            token = (await request.form(max_files=0, max_fields=4, max_part_size=4096)).get("token")
        except (KeyError, ValueError):  # the parser lets them out for some headers
            raise HTTPException(400, "the form cannot be read") from None
        if not isinstance(token, str) or not access.is_token(token.strip()):
            await asyncio.sleep(_PENALTY)
            return HTMLResponse(_LOGIN.format(message="That is not the token of this station."), 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            access.new_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.post("/logout")
    async def logout() -> RedirectResponse:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
