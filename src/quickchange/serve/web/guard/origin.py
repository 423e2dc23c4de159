"""The Origin header: web pages of other hosts may not use this server, unless they are named."""

from __future__ import annotations

from collections.abc import Container
from urllib.parse import urlsplit

from quickchange.serve.protocol.problems import problem


def check_origin(origin: str | None, host: str, allowed: Container[str]) -> None:
    """Refuse a request that a page of another host makes.

    Args:
        origin: the Origin header; None: not sent by a page of another host.
        host: the Host header.
        allowed: origins of other hosts that may call.

    Raises:
        ProblemError: "forbidden-origin".
    """
    if origin is not None and _authority(origin) != host and origin not in allowed:
        detail = "web pages of other origins may not use this server; start it with --allow-origin for them"
        raise problem("forbidden-origin", detail)


def _authority(origin: str) -> str:
    """Host and port of an origin; empty if it is not one."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
