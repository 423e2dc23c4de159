"""HTTP answers for errors: every error of the application becomes an RFC 9457 problem (protocol/problems.py)."""

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
from quickchange.serve.protocol.problems import KINDS, Problem, ProblemError, problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
BY_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}


def response(error: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    """Make an HTTP response from ``error``, with the headers that its kind needs."""
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
"""Every problem that a route may answer with, for ``APIRouter(responses=...)``."""


def install(app: FastAPI) -> None:
    """Register handlers that answer every error of ``app`` with a problem, and declare so in its OpenAPI schema."""

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
