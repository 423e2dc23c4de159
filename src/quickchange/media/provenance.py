"""C2PA content credentials for generated files, through the library ``c2pa`` (the extra of that name).

With the signature the operator attests that a generative model made the file. So the certificate is the operator's.
The signature has no time stamp, so signing needs no network.
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
SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}  # a thumbnail would add about 100 KB to a small picture


def sign_file(path: Path, mime: str, certificate: Path, key: Path) -> None:
    """Sign a file in place; after an error it is unchanged.

    Args:
        path: a generated file.
        mime: its type, ``video/mp4`` or ``image/png``.
        certificate: a PEM file, the signer's certificate first, then its issuers.
        key: a PEM file, the private key of that certificate, PKCS 8, P-256.

    Raises:
        InputError: the certificate or the key cannot be used.
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
    """Sign a test picture, so that an unusable certificate or key is found early. Errors as ``sign_file``."""
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
