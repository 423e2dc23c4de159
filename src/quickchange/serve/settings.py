"""What the server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything but the model.

    Attributes:
        token: bearer token asked of every route and socket; None: none.
        ahead: how far generation may run in front of the screen when a chunk begins, seconds.
        max_sessions: streams at a time; None: what memory and speed allow, measured when warm.
        resume_seconds: how long a session outlives its socket.
        hosts: values of the Host header that are answered, without port, beside IP addresses.
        origins: web pages of other hosts that may use the API, e.g. ``https://example.org``.
        recordings: folder that keeps recordings; None: a temporary one, each freed with its session.
        recording_seconds: longest recording.
        upload_bytes, uploads: largest upload, and how many a session may hold.
        generate_seconds: longest video of ``POST /v1/generate``.
        certificate, key: PEM files to sign what is generated with (C2PA); None: not signed.
    """

    token: str | None = None
    ahead: float = 0.25
    max_sessions: int | None = None
    resume_seconds: float = 30.0
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    origins: tuple[str, ...] = ()
    recordings: Path | None = None
    recording_seconds: float = 600.0
    upload_bytes: int = 20 * MEGABYTE
    uploads: int = 32
    generate_seconds: float = 60.0
    certificate: Path | None = None
    key: Path | None = None
