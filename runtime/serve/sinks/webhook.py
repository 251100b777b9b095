"""Decisions as HTTP POST requests, each with a key by which the receiver can tell a repeated one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from time import time
from typing import IO, Any

from edge_ad.runtime.serve.decision import Decision, Verdict
from edge_ad.runtime.serve.lines import log
from edge_ad.version import __version__

#: Answers that say "not now": everything else of 4xx says "never".
NOT_NOW = (408, 409, 423, 425, 429)
LONGEST_PAUSE = 60.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, or carry the token to another host."""

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


class WebhookSink:
    """POSTs each decision as JSON to `url`.

    Headers: `Idempotency-Key` is the record id, so that a receiver can tell a repeated request; `Authorization: Bearer`
    with `token`; `X-Edge-AD-Signature: sha256=<hex>` with `secret`, the HMAC-SHA256 of the body. verdicts: only these
    are sent. timeout: seconds an attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "webhook",
        token: str | None = None,
        secret: bytes | None = None,
        verdicts: Collection[Verdict] = ("good", "bad", "undecided"),
        timeout: float = 10.0,
    ):
        self.name = name
        self._url = url
        self._token = token
        self._secret = secret
        self._verdicts = frozenset(verdicts)
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    async def publish(self, decision: Decision) -> None:
        """Send one decision, if its verdict is one of those to send.

        2xx: taken. 5xx, 408, 409, 423, 425, 429 and no answer: ConnectionError, after the receiver's `Retry-After` (a
        minute at most), so that the station sends it again. Any other answer, a redirect too, is logged, and the
        decision is given up: it would be refused for ever, and hold up those behind it.
        """
        if decision.verdict not in self._verdicts:
            return
        code, retry_after = await asyncio.to_thread(self._post, decision)
        if code < 300:
            return
        if code < 500 and code not in NOT_NOW:
            log("webhook refused", level="error", sink=self.name, record_id=decision.record_id, status=code)
            return
        await asyncio.sleep(min(seconds_of(retry_after, time()) or 0.0, LONGEST_PAUSE))
        raise ConnectionError(f"the receiver answers {code}")

    async def close(self) -> None:
        """Nothing is held open."""

    def _post(self, decision: Decision) -> tuple[int, str | None]:
        """The status of the answer and its `Retry-After`. ConnectionError for no answer."""
        body = decision.model_dump_json().encode("utf-8")
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": decision.record_id,
            "User-Agent": f"edge-ad/{__version__}",
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._secret is not None:
            headers["X-Edge-AD-Signature"] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return answer.status, None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise ConnectionError(f"no answer from the receiver ({reason})") from None


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (a number, or an HTTP date); None without one or for a garbled one.

    now: seconds since the epoch.
    """
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
