"""Content credentials: a signed file says how it was made, still plays, and shows when it was tampered with."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from quickchange.errors import InputError
from quickchange.media.provenance import SOURCE_TYPE, sign_file
from quickchange.media.video import Mp4Writer, save_png_atomic


def name(common: str) -> x509.Name:
    parts = ((NameOID.COUNTRY_NAME, "AQ"), (NameOID.ORGANIZATION_NAME, "test"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def issue(
    subject: str, public: ec.EllipticCurvePublicKey, issuer: str, key: ec.EllipticCurvePrivateKey, ca: bool
) -> bytes:
    """A certificate for ``public``, signed with ``key``."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
            critical=True,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A throwaway certificate chain and its key."""
    folder = tmp_path_factory.mktemp("signer")
    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = issue("leaf", leaf.public_key(), "root", root, False) + issue("root", root.public_key(), "root", root, True)
    (folder / "chain.pem").write_bytes(chain)
    secret = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "chain.pem", folder / "key.pem"


def video(path: Path) -> Path:
    with Mp4Writer(path, 32, 24, 24) as writer:
        writer.write(np.random.default_rng(0).integers(0, 256, (12, 24, 32, 3), np.uint8))
    return path


def picture(path: Path) -> Path:
    save_png_atomic(Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)), path)
    return path


def credentials(path: Path, mime: str) -> tuple[dict, list[str]]:
    """The active manifest, and the codes of what failed."""
    with path.open("rb") as file, c2pa.Reader(mime, file) as reader:
        read = json.loads(reader.json())
    failed = read.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    return read["manifests"][read["active_manifest"]], [failure["code"] for failure in failed]


@pytest.mark.parametrize(("make", "mime"), [(video, "video/mp4"), (picture, "image/png")])
def test_signed_files_say_how_they_were_made(make, mime: str, signer: tuple[Path, Path], tmp_path: Path) -> None:
    path = make(tmp_path / f"generated.{mime[-3:]}")
    sign_file(path, mime, *signer)
    manifest, failed = credentials(path, mime)
    actions = next(a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions"))["data"]["actions"]
    assert [(a["action"], a["digitalSourceType"]) for a in actions] == [("c2pa.created", SOURCE_TYPE)]
    assert manifest["claim_generator_info"][0]["name"] == "quickchange"
    assert set(failed) <= {"signingCredential.untrusted"}  # nobody knows a throwaway authority
    if mime == "video/mp4":
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 12
            assert "Synthetic" in container.metadata["comment"]
    else:
        assert Image.open(path).size == (32, 24)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tampering_shows(signer: tuple[Path, Path], tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4")
    sign_file(path, "video/mp4", *signer)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"mdat") + 400
    data[at] ^= 255
    path.write_bytes(data)
    assert any("mismatch" in code.lower() for code in credentials(path, "video/mp4")[1])


def test_a_wrong_key_is_named_and_leaves_the_file(signer: tuple[Path, Path], tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png")
    before = path.read_bytes()
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(InputError, match=r"bad\.pem"):
        sign_file(path, "image/png", signer[0], tmp_path / "bad.pem")
    with pytest.raises(InputError, match="cannot be read"):
        sign_file(path, "image/png", signer[0], tmp_path / "missing.pem")
    assert path.read_bytes() == before
