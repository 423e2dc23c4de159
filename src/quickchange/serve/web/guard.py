"""What stands before every route and socket: names, origins, the token, sizes and rates. Plain ASGI."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickchange.serve.protocol.problems import ProblemError, problem
from quickchange.serve.settings import Settings
from quickchange.serve.web.errors import response

logger = logging.getLogger(__name__)

COOKIE = "quickchange_token"
FORM_BYTES = 64 * 1024  # of a form beside its files
GENERATE_FACTOR = 9  # uploads in one request for a video: a person and eight garments
MOST_CLIENTS = 1024  # whose rates are remembered
SLACK = 1e-6  # of a token: who waits as long as told is not refused for a rounding error
# requests per second, at once; by what is asked for
UPLOADS, VIDEOS, SOCKETS, OTHERS = (2.0, 12.0), (1.0, 4.0), (5.0, 20.0), (100.0, 300.0)
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class TokenBucket:
    """Grants ``rate`` a second, and ``burst`` at once after a rest. Pure: the caller brings the time, in seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, float("-inf")

    def consume(self, now: float, amount: float = 1.0) -> float:
        """0 if granted; else nothing is taken, and this is how many seconds to wait for it."""
        self._level = min(self._burst, self._level + self._rate * max(0.0, now - self._at))
        self._at = max(self._at, now)
        if self._level >= amount - SLACK:
            self._level = max(0.0, self._level - amount)
            return 0.0
        return (amount - self._level) / self._rate


class Guard:
    """See the module header.

    Args:
        app: what is guarded. settings: token, names, origins, largest upload. clock: seconds, never going back.
    """

    def __init__(self, app: ASGIApp, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._app, self._settings, self._clock = app, settings, clock
        self._buckets: OrderedDict[tuple[str, tuple[float, float]], TokenBucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sending = send if scope["type"] == "websocket" else _with_headers(send, scope["path"])
        try:
            self._check(scope, headers)
            answer = self._entrance(scope)
        except ProblemError as error:
            answer = response(error)
        if answer is not None:
            await _answer(answer, scope, receive, sending)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._limited(scope, receive, sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
        if name not in self._settings.hosts and not _is_address(name):
            detail = f"this server does not answer as {name[:100]!r}; start it with --allow-host for another name"
            raise problem("unknown-host", detail)
        origin = headers.get("origin")
        if origin is not None and _authority(origin) != host and origin not in self._settings.origins:
            detail = "web pages of other origins may not use this server; start it with --allow-origin for them"
            raise problem("forbidden-origin", detail)
        wait = self._wait(scope)
        if wait > 0:
            raise problem("too-many-requests", f"too many requests; wait {wait:.1f} s", retry_after=wait)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise problem("bad-request", "Content-Length is no number")
        if int(length) > self._largest(scope["path"]):
            raise self._too_large(scope["path"])

    def _entrance(self, scope: Scope) -> Response | None:
        """None for whoever may go on; a redirect for a browser that brings the token in its first address.

        Raises:
            ProblemError: "unauthorized".
        """
        token = self._settings.token
        if token is None:
            return None
        headers = Headers(scope=scope)
        kind, _, given = headers.get("authorization", "").partition(" ")
        cookie = _cookie(headers.get("cookie", ""))
        if kind.lower() == "bearer" and _same(given.strip(), token):
            return None
        if _same(cookie, _digest(token)):
            return None
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET" and _same(asked, token):
            redirect = RedirectResponse("/", status_code=303)
            secure = scope.get("scheme") == "https"
            # Not the token itself: what a browser stores cannot be used as one elsewhere.
            redirect.set_cookie(COOKIE, _digest(token), httponly=True, samesite="strict", secure=secure)
            return redirect
        detail = "send Authorization: Bearer with the server's token; in a browser, open the link printed at its start"
        raise problem("unauthorized", detail)

    # -- rates and sizes -----------------------------------------------------------------------------------------------

    def _wait(self, scope: Scope) -> float:
        client = scope["client"][0] if scope.get("client") else ""
        path = scope["path"]
        if scope["type"] == "websocket":
            rate = SOCKETS
        elif scope["method"] == "POST" and path in ("/v1/uploads", "/v1/generate"):
            rate = UPLOADS if path == "/v1/uploads" else VIDEOS
        else:
            rate = OTHERS
        bucket = self._buckets.setdefault((client, rate), TokenBucket(*rate))
        self._buckets.move_to_end((client, rate))
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket.consume(self._clock())

    def _largest(self, path: str) -> int:
        return FORM_BYTES + self._settings.upload_bytes * (GENERATE_FACTOR if path == "/v1/generate" else 1)

    def _too_large(self, path: str) -> ProblemError:
        return problem("too-large", f"the request is larger than {self._largest(path) / 2**20:.1f} MB; send less")

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and cuts its body off at the limit, whatever it said about its length."""
        largest, size, begun = self._largest(scope["path"]), 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > largest:
                raise _Cut
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except Exception as error:
            # Answered here, inside of FastAPI's own last resort, so that these responses have the headers as well.
            if begun:
                raise
            logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            await response(problem("internal", "the server failed; its log describes how"))(scope, receive, watched)
        except _Cut:
            if not begun:
                await response(self._too_large(scope["path"]))(scope, receive, send)


class _Cut(BaseException):
    """A body went beyond its limit. No Exception, lest a route take it for a fault of its own."""


def _is_host(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").netloc == host and "@" not in host
    except ValueError:
        return False


def _cookie(header: str) -> str:
    """The value of the cookie that lets in; empty where there is none."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _is_address(name: str) -> bool:
    """Whether a Host is an IP address: no other site's name can be made to look like one."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _authority(origin: str) -> str:
    """Host and port of an origin; empty where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _digest(token: str) -> str:
    return hashlib.sha256(b"quickchange cookie " + token.encode()).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if path.startswith("/v1/"):
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


async def _answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends an answer instead of passing on; to a socket that is not accepted yet as the handshake's refusal."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send(
            {"type": "websocket.http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
        )
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})
    else:
        await send({"type": "websocket.close", "code": 1008})
