"""Sizes: a body is refused by its announced length, and cut off at the limit whatever it announced."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickchange.serve.protocol.problems import ProblemError, problem
from quickchange.serve.web.errors import response

logger = logging.getLogger(__name__)

FORM_BYTES = 64 * 1024  # of a form beside its files
GENERATE_FACTOR = 9  # uploads in one request for a video: a person and eight garments


class SizeLimit:
    """The largest body of a request.

    Args:
        app: receives the requests that pass.
        upload_bytes: the largest upload.
    """

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self._app, self._upload_bytes = app, upload_bytes

    def check(self, path: str, headers: Headers) -> None:
        """Check the announced length of a body.

        Raises:
            ProblemError: "too-large", or "bad-request" for a length that is not a number.
        """
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise problem("bad-request", "Content-Length is no number")
        if int(length) > self._largest(path):
            raise self._too_large(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application; cut its body off at the limit."""
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

    def _largest(self, path: str) -> int:
        return FORM_BYTES + self._upload_bytes * (GENERATE_FACTOR if path == "/v1/generate" else 1)

    def _too_large(self, path: str) -> ProblemError:
        return problem("too-large", f"the request is larger than {self._largest(path) / 2**20:.1f} MB; send less")


class _Cut(BaseException):
    """A body went beyond its limit. Not an Exception, or a route would handle it as a fault of its own."""
