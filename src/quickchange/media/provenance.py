"""Signing what was generated with C2PA content credentials, through the library ``c2pa`` (the extra of that name).

The signature says who vouches for it that the file was made by a generative model; so the certificate is the
operator's. No time stamp is asked for: signing needs no network.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import Image

from quickchange.errors import InputError
from quickchange.files import atomic_path

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}  # one would add some 100 KB to a picture that is small itself


def sign_file(path: Path, mime: str, certificate: Path, key: Path) -> None:
    """Signs ``path`` in place, whole or not at all.

    Args:
        path: a generated file.
        mime: its type, ``video/mp4`` or ``image/png``.
        certificate: PEM, the signer's certificate first, then its issuers.
        key: PEM, its private key, PKCS 8, P-256.

    Raises:
        InputError: certificate or key cannot be used.
        ModuleNotFoundError: ``c2pa`` is not installed.
    """
    import c2pa

    try:
        chain, secret = certificate.read_bytes(), key.read_bytes()
    except OSError as error:
        raise InputError(f"the C2PA certificate or key cannot be read: {error}") from error
    with atomic_path(path) as temporary:
        try:
            info = c2pa.C2paSignerInfo("es256", chain, secret, None)
            with (
                c2pa.Context.from_dict(SETTINGS) as context,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(_manifest(path.name, mime), context) as builder,
                path.open("rb") as source,
                temporary.open("w+b") as target,
            ):
                builder.sign(signer, mime, source, target)
        except c2pa.C2paError as error:
            raise InputError(
                f"cannot sign with {certificate.name} and {key.name}: {error}; expected a PEM chain, the signer's "
                "certificate first, and its P-256 key in PKCS 8"
            ) from error


def check_signer(certificate: Path, key: Path) -> None:
    """Signs something small, to learn now rather than later whether that works. Errors as ``sign_file``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.png"
        Image.new("RGB", (16, 16)).save(path)
        sign_file(path, "image/png", certificate, key)


def _manifest(title: str, mime: str) -> str:
    try:
        release = version("quickchange")
    except PackageNotFoundError:  # run from a checkout without being installed
        release = "0"
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    return json.dumps(
        {
            "claim_generator_info": [{"name": "quickchange", "version": release}],
            "title": title,
            "format": mime,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
    )
