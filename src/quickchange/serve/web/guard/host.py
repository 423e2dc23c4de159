"""The Host header: only this server's own names and IP addresses are answered.

Against DNS rebinding: another site's name can be made to point at this machine, but the browser still sends that name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from urllib.parse import urlsplit

from quickchange.serve.protocol.problems import problem


def check_host(host: str, allowed: Container[str]) -> None:
    """Refuse a request for another server's name.

    Args:
        host: the Host header, with or without port.
        allowed: names without port, beside IP addresses.

    Raises:
        ProblemError: "unknown-host".
    """
    name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
    if name not in allowed and not _is_address(name):
        detail = f"this server does not answer as {name[:100]!r}; start it with --allow-host for another name"
        raise problem("unknown-host", detail)


def _is_host(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").netloc == host and "@" not in host
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    """Whether a Host is an IP address: no other site's name can be made to look like one."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
