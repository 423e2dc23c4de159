"""The server's token: programs send it as a bearer token, browsers get a cookie from the first link."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from quickchange.serve.protocol.problems import problem

COOKIE = "quickchange_token"


def check_token(scope: Scope, headers: Headers, token: str | None) -> Response | None:
    """Check that a request brings the token.

    Args:
        scope: of the request or socket.
        headers: its headers.
        token: the server's; None: it asks for none.

    Returns:
        None: let the request pass. A redirect: a browser brought the token in the address of its first request.

    Raises:
        ProblemError: "unauthorized".
    """
    if token is None:
        return None
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


def _cookie(header: str) -> str:
    """The value of the token's cookie; empty if there is none."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _digest(token: str) -> str:
    return hashlib.sha256(b"quickchange cookie " + token.encode()).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
