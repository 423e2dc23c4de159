"""Errors that clients are told: RFC 9457 problem details, each of a known kind."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from quickchange.errors import InputError
from quickchange.serve.protocol.messages import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
KINDS: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The message cannot be understood"),
    "unauthorized": (401, "A token is needed"),
    "forbidden-origin": (403, "Not from this page"),
    "not-found": (404, "Not found"),
    "unknown-session": (404, "Unknown session"),
    "method-not-allowed": (405, "Method not allowed"),
    "invalid-transition": (409, "Not possible now"),
    "too-many-uploads": (409, "Too many uploads"),
    "too-large": (413, "Too large"),
    "unsupported-media": (415, "Not a picture that can be used"),
    "unknown-host": (421, "Not the server of this name"),
    "invalid": (422, "Something cannot be used"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "Fault in the server"),
    "busy": (503, "Busy"),
    "warming-up": (503, "Warming up"),
}
BY_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}


class ProblemError(Exception):
    """A problem to be told to the client."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem(kind: str, detail: str, retry_after: float | None = None) -> ProblemError:
    """An error of one of the ``KINDS``. ``detail`` says what was found, what is expected, and what to do."""
    status, title = KINDS[kind]
    urn = f"urn:quickchange:problem:{kind}"
    return ProblemError(Problem(type=urn, title=title, status=status, detail=detail, retry_after=retry_after))


def response(error: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    """``error`` as an HTTP response, with the headers that its kind asks for."""
    details, extra = error.problem, dict(headers or {})
    if details.retry_after is not None:
        extra["Retry-After"] = str(max(1, math.ceil(details.retry_after)))
    if details.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return Response(details.model_dump_json(exclude_none=True), details.status, extra, media_type=MEDIA_TYPE)


def _declared(status: int) -> dict[str, Any]:
    titles = " / ".join(title for other, title in KINDS.values() if other == status)
    return {"description": titles, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


RESPONSES: dict[int | str, dict[str, Any]] = {status: _declared(status) for status in {s for s, _ in KINDS.values()}}
"""For routers: every problem that a route may answer with."""


def install(app: FastAPI) -> None:
    """Makes every error of ``app`` a problem, and its schema say so."""

    def known(_: Request, error: Exception) -> Response:
        if not isinstance(error, ProblemError):
            raise error
        return response(error)

    def unusable(_: Request, error: Exception) -> Response:
        return response(problem("invalid", str(error)))

    def invalid(_: Request, error: Exception) -> Response:
        fault = jsonable_encoder(error.errors())[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(str(part) for part in fault.get("loc", ())[1:]) or "request"
        return response(problem("invalid", f"{where}: {fault.get('msg', 'not valid')}"))

    def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        kind = BY_STATUS.get(status, "bad-request" if status < 500 else "internal")
        detail = {404: "there is nothing at this address", 405: f"{request.method} is not possible here"}.get(status)
        return response(problem(kind, detail or str(getattr(error, "detail", error))), headers)

    def fault(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return response(problem("internal", "the server failed; its log describes how"))

    app.add_exception_handler(ProblemError, known)
    app.add_exception_handler(InputError, unusable)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, fault)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
