"""The settings of a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything but the model.

    Attributes:
        token: bearer token that every route and socket asks for; None: no token.
        ahead: how far in front of the screen a finished chunk may begin, seconds.
        max_sessions: sessions at a time; None: what memory and speed allow, measured once the model is warm.
        resume_seconds: how long a session outlives its socket.
        hosts: values of the Host header that are answered, without port, beside IP addresses.
        origins: origins of other hosts whose pages may use the API, e.g. ``https://example.org``.
        recordings: folder that keeps recordings; None: a temporary one, each file deleted with its session.
        recording_seconds: longest recording.
        upload_bytes: largest upload.
        uploads: how many pictures a session may hold.
        generate_seconds: longest video of ``POST /v1/generate``.
        certificate: PEM file of the certificate chain that signs generated files (C2PA); None: not signed.
        key: PEM file of its private key.
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
