"""Tokens, cookies and limits of the web application, called without a network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the serve extra")

from edge_ad.runtime.serve.access import Access
from edge_ad.runtime.serve.app import build_app
from edge_ad.runtime.serve.limits import BodyLimit
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.station import Station

TOKEN = "correct-horse-battery"


async def call(
    app: Any, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """One request to an ASGI application; the body comes in two pieces."""
    sent: list[dict[str, Any]] = []
    pieces = [
        {"type": "http.request", "body": body[:3], "more_body": True},
        {"type": "http.request", "body": body[3:], "more_body": False},
    ]

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop(0)
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    all_headers = {"host": "station.plant:8000", **(headers or {})}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "https",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("10.0.0.9", 5),
        "server": ("10.0.0.1", 8000), "headers": [(k.lower().encode(), v.encode()) for k, v in all_headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    found = {k.decode().lower(): v.decode() for k, v in start["headers"]}
    return start["status"], found, b"".join(message.get("body", b"") for message in sent)


@pytest.fixture
def app(tmp_path: Path):
    def make(token: str | None = TOKEN, max_upload: int = 1 << 20):
        return build_app(Station(StationOptions(tmp_path), {}), Access(token), max_upload=max_upload)

    return make


def test_without_the_token_only_the_open_paths_answer(app, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.site._PENALTY", 0.0)

    async def story() -> None:
        one = app()
        for path in (
            "/v1/status",
            "/v1/events",
            "/v1/records",
            "/metrics",
            "/docs",
            "/openapi.json",
            "/v2",
            "/v1/none",
        ):
            status, headers, _ = await call(one, "GET", path)
            assert (path, status) == (path, 401)
            assert headers["www-authenticate"] == "Bearer"
            assert "content-security-policy" in headers
        assert (await call(one, "POST", "/v1/inspect"))[0] == 401
        assert (await call(one, "GET", "/v2/health/live"))[0] == 200
        assert (await call(one, "GET", "/v2/health/ready"))[0] == 503  # it was not started
        status, headers, _ = await call(one, "GET", "/")
        assert (status, headers["location"]) == (303, "/login")
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert (await call(one, "GET", "/v1/status", right))[0] == 200
        assert (await call(one, "GET", "/v1/status", {"Authorization": "Bearer wrong"}))[0] == 401
        status, headers, body = await call(one, "POST", "/v1/inspect", right)
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        assert int(headers["retry-after"]) >= 1

    asyncio.run(story())


def test_the_page_gets_a_cookie_for_the_token(app, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.site._PENALTY", 0.0)

    async def story() -> None:
        one = app()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, headers, body = await call(one, "GET", "/login")
        assert (status, b"<form" in body, b"<script" in body) == (200, True, False)
        for wrong in (b"token=guess", b"", b"token=%F0%9F%98%80"):
            assert (await call(one, "POST", "/login", kind, wrong))[0] == 403
        mark = {"Content-Type": "multipart/form-data; boundary=x; charset=utf-7"}  # it can bring half a surrogate pair
        half = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n+2AA-\r\n--x--\r\n'
        assert (await call(one, "POST", "/login", mark, half))[0] == 403
        mark = {"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}  # Python knows one of this name
        assert (await call(one, "POST", "/login", mark, half))[0] == 400
        assert (await call(one, "POST", "/login", kind, b"a=1&b=2&c=3&d=4&e=5&token=" + TOKEN.encode()))[0] == 400
        status, headers, _ = await call(one, "POST", "/login", kind, b"token=" + TOKEN.encode())
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"))
        assert TOKEN not in cookie
        session = {"Cookie": cookie.split(";")[0]}
        assert (await call(one, "GET", "/v1/status", session))[0] == 200
        assert (await call(app("another-token-it-is"), "GET", "/v1/status", session))[0] == 401
        foreign = {**session, "Origin": "https://evil.example"}
        assert (await call(one, "POST", "/v1/products", foreign, b"{}"))[0] == 403
        assert (await call(one, "POST", "/login", {**kind, "Origin": "https://evil.example"}, b"token=x"))[0] == 403
        status, headers, _ = await call(one, "POST", "/logout", session)
        assert (status, 'edge_ad_session=""' in headers["set-cookie"]) == (303, True)

    asyncio.run(story())


def test_without_a_token_only_local_names_answer(app) -> None:
    async def story() -> None:
        one = app(None)
        assert (await call(one, "GET", "/v1/status", {"host": "station.plant"}))[0] == 421
        assert (await call(one, "GET", "/v1/status", {"host": "localhost:1"}))[0] == 200

    asyncio.run(story())


def test_a_body_is_cut_off_by_size_and_by_time() -> None:
    from starlette.exceptions import HTTPException

    async def reader(scope: Any, receive: Any, send: Any) -> None:
        status = 200
        try:
            while (await receive()).get("more_body"):
                pass
        except HTTPException as error:
            status = error.status_code
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def late() -> Any:
            await asyncio.sleep(5)
            return await receive()

        await BodyLimit(reader, 5, seconds=0.05)(scope, late, send)

    async def story() -> None:
        limited = BodyLimit(reader, 5)
        assert (await call(limited, "POST", "/", body=b"12345"))[0] == 200
        assert (await call(limited, "POST", "/", body=b"123456"))[0] == 413
        assert (await call(limited, "POST", "/", {"Content-Length": "6"}))[0] == 413
        assert (await call(slow, "POST", "/", body=b"123"))[0] == 408

    asyncio.run(story())
