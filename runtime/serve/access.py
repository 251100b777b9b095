"""Who may ask: a bearer token for programs, a cookie that stands for it in the browser, and no other site's pages."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge_ad.errors import InputError, OptionError

COOKIE = "edge_ad_session"
#: Seconds that a login lasts: a panel beside a line is not to ask every morning.
SESSION_SECONDS = 30 * 86_400
MIN_TOKEN = 16
#: Paths that answer without a token: they tell nothing but whether the station is alive, or are the login itself.
OPEN_PATHS = ("/login", "/v2/health/live", "/v2/health/ready")
OPEN_PREFIX = "/static/"
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Access:
    """The rule of one station. token: None on loopback without one; everybody on the machine may ask then."""

    token: str | None = None

    def is_open(self, path: str) -> bool:
        """Whether a path needs no token."""
        return self.token is None or path in OPEN_PATHS or path.startswith(OPEN_PREFIX)

    def accepts(self, authorization: str | None, cookie: str | None) -> bool:
        """Whether an Authorization header or a session cookie proves that the token is known; in constant time."""
        if self.token is None:
            return True
        if authorization is not None:
            scheme, _, given = authorization.partition(" ")
            return scheme.lower() == "bearer" and self.is_token(given.strip())
        return cookie is not None and self._is_session(cookie)

    def is_token(self, given: str) -> bool:
        """Whether this is the token; in constant time."""
        return self.token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def new_session(self, now: float | None = None) -> str:
        """A cookie's value: when it ends, and a proof of it that only the token's holder can make."""
        ends = str(int((time.time() if now is None else now) + SESSION_SECONDS))
        return f"{ends}.{self._proof(ends)}"

    def _is_session(self, value: str) -> bool:
        ends, _, proof = value.partition(".")
        if not hmac.compare_digest(proof.encode(), self._proof(ends).encode()):
            return False
        return ends.isdigit() and int(ends) > time.time()

    def _proof(self, ends: str) -> str:
        assert self.token is not None  # there are no sessions without one
        return hmac.new(self.token.encode(), f"edge-ad session {ends}".encode(), hashlib.sha256).hexdigest()


def read_token(path: Path) -> str:
    """The token in a file, without the white space around it. Raises InputError."""
    try:
        token = path.read_text("utf-8").strip()
    except OSError as error:
        raise InputError(f"--token-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"--token-file {path}: is not text; write a token of letters and digits") from None
    if len(token) < MIN_TOKEN or not token.isascii() or any(character.isspace() for character in token):
        raise InputError(
            f"--token-file {path}: needs one token of at least {MIN_TOKEN} letters and digits; make one with: "
            f"openssl rand -hex 32 > {path}"
        )
    return token


def check_host(host: str, token: str | None) -> None:
    """Raises OptionError for an address that others can reach, without a token."""
    if token is None and not is_loopback(host):
        raise OptionError(
            f"--host {host} can be reached from other machines: give --token-file FILE too, or use --host 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local_name(host_header: str) -> bool:
    """Whether a Host header names this machine itself: any other name may be another site's, bent to 127.0.0.1."""
    try:
        return is_loopback(urlsplit(f"//{host_header}").hostname or "")
    except ValueError:
        return False


def is_foreign(method: str, host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a request that changes something was sent by another site's page (CSRF).

    A browser says so in Origin or Sec-Fetch-Site; a program sends neither.
    """
    if method in _SAFE:
        return False
    if origin is not None:
        try:
            return urlsplit(origin).netloc.lower() != host.lower()
        except ValueError:
            return True
    return fetch_site not in (None, "same-origin", "none")
