"""The guard before every route and socket, plain ASGI. One module for each concern, checked in this order.

headers     security headers on every response
host        names under which this server is reached
origin      web pages of other hosts
rate        requests and sockets of one client
size        bodies
token       who may come in
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from quickchange.serve.protocol.problems import ProblemError
from quickchange.serve.settings import Settings
from quickchange.serve.web.errors import response
from quickchange.serve.web.guard.headers import with_headers
from quickchange.serve.web.guard.host import check_host
from quickchange.serve.web.guard.origin import check_origin
from quickchange.serve.web.guard.rate import RateLimit
from quickchange.serve.web.guard.size import SizeLimit
from quickchange.serve.web.guard.token import check_token


class Guard:
    """See the module header.

    Args:
        app: what is guarded.
        settings: token, names, origins and the largest upload.
        clock: seconds, never going back.
    """

    def __init__(self, app: ASGIApp, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._app, self._settings = app, settings
        self._rate = RateLimit(clock)
        self._sized = SizeLimit(app, settings.upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request or socket on, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sending = send if scope["type"] == "websocket" else with_headers(send, scope["path"])
        try:
            answer = self._check(scope, Headers(scope=scope))
        except ProblemError as error:
            answer = response(error)
        if answer is not None:
            await _answer(answer, scope, receive, sending)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._sized(scope, receive, sending)

    def _check(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        check_host(host, self._settings.hosts)
        check_origin(headers.get("origin"), host, self._settings.origins)
        self._rate.check(scope)
        self._sized.check(scope["path"], headers)
        return check_token(scope, headers, self._settings.token)


async def _answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer instead of passing on. A socket that is not accepted yet gets it as the handshake's refusal."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send(
            {"type": "websocket.http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
        )
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})
    else:
        await send({"type": "websocket.close", "code": 1008})
