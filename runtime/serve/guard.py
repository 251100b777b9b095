"""The door: security headers on every answer, and no request through without the right to it."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_ad.runtime.serve.access import COOKIE, Access, is_foreign, is_local_name
from edge_ad.runtime.serve.metrics import Metrics

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with "no-referrer" a browser sends the login with "Origin: null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class Guard:
    """ASGI middleware around everything else: access, headers, the count of answers, and a bound on open requests."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics, *, max_open: int):
        self.app = app
        self.access = access
        self.metrics = metrics
        self.max_open = max_open
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.requests.labels(scope["method"], route, message["status"]).inc()
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None and self._open >= self.max_open:
            refusal = _error(503, "overloaded", "too many requests are open at once", {"Retry-After": "1"})
        self._open += 1
        try:
            await (self.app if refusal is None else refusal)(scope, receive, with_headers)
        finally:
            self._open -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        host = headers.get("host", "")
        if self.access.token is None and not is_local_name(host):
            return _error(421, "misdirected", "this station answers to localhost only")
        if is_foreign(method, host, headers.get("origin"), headers.get("sec-fetch-site")):
            return _error(403, "foreign", "sent by another site's page")
        if self.access.is_open(path):
            return None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if self.access.accepts(headers.get("authorization"), cookie):
            return None
        if path == "/" and method == "GET" and "authorization" not in headers:
            return RedirectResponse("/login", 303)
        return _error(401, "unauthorized", "a token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
