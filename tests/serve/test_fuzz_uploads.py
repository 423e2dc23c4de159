"""Damaged and hostile files: whatever comes in, an upload or a refusal that can be shown comes out."""

from __future__ import annotations

import io
import random
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from quickchange.errors import InputError
from quickchange.media.images import fit_garment
from quickchange.serve.protocol.problems import ProblemError
from quickchange.serve.uploads import read_upload

U8 = NDArray[np.uint8]
MUTATIONS = 20  # of every seed file


class Canvas:
    width, height = 48, 64

    def place_garment(self, rgb: U8, alpha: NDArray[np.float32]) -> U8:
        return fit_garment(rgb, alpha, self.width, self.height, (0.1, 0.3, 0.9, 0.8))


def seeds() -> dict[str, bytes]:
    """Small sound pictures in all formats, still and moving."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    image = Image.fromarray(np.kron(noise[:6, :5], np.ones((4, 4, 1), np.uint8)))
    other = Image.fromarray(noise)
    files = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        files[kind] = buffer.getvalue()
    for kind in ("GIF", "WEBP", "PNG", "MPO"):
        buffer = io.BytesIO()
        image.save(buffer, kind, save_all=True, append_images=[other])
        files[f"{kind} of two"] = buffer.getvalue()
    for mode in ("RGBA", "P", "L", "1", "I;16"):
        buffer = io.BytesIO()
        (Image.new("I;16", image.size, 999) if mode == "I;16" else image.convert(mode)).save(buffer, "PNG")
        files[f"PNG {mode}"] = buffer.getvalue()
    return files


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One kind of damage, or several."""
    work = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(max(1, len(work)))
        match rng.randrange(8):
            case 0:
                del work[at:]
            case 1:
                for _ in range(rng.choice((1, 8, 64))):
                    if work:
                        work[rng.randrange(len(work))] ^= 1 << rng.randrange(8)
            case 2:
                work[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff")
                )
            case 3:
                work[at:at] = rng.randbytes(rng.randrange(1, 200))
            case 4:
                del work[at : at + rng.randrange(1, 64)]
            case 5:
                work[: rng.randrange(1, 16)] = rng.choice(others)[: rng.randrange(1, 16)]
            case 6:
                work += rng.choice(others)
            case _:
                work[at:at] = work[at : at + rng.randrange(1, 100)]
    return bytes(work)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def crafted() -> Iterator[bytes]:
    """Files that are made to do harm."""
    magic = b"\x89PNG\r\n\x1a\n"
    for width, height in ((2**31 - 1, 2**31 - 1), (0, 0), (1, 2**31 - 1), (50_000, 50_000), (8192, 8192), (65_535, 16)):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        yield magic + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        yield b"GIF89a" + struct.pack("<HH", width % 65536, height % 65536) + bytes(3) + b";"
        yield b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", height % 65536, width % 65536) + bytes(20)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
    yield magic + head + chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(40_000_000)))
    yield magic + head + chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(20_000_000)))
    yield magic + head + chunk(b"eXIf", b"MM\x00*\x00\x00\x00\x08" + b"\xff" * 40) + chunk(b"IDAT", zlib.compress(b""))
    # a TIFF whose directories go round in a circle
    yield b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 32) + b"\x08\x00\x00\x00"
    starts = (
        b"", b"\x00", b"<svg/>", b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><svg>&a;</svg>", b"<html>",
        b"%PDF-1.7", b"PK\x03\x04", b"%!PS\n(/etc/passwd) run", b"\x1f\x8b\x08", b"RIFF\x04\x00\x00\x00WEBP", b"8BPS",
        b"icns",
        b"\x00\x00\x00\x18ftypheic", b"\x00\x00\x00\x18ftypavif", b"\x00\x00\x00\x18ftypisom", b"\xc5\xd0\xd3\xc6",
        b"P6 99999 99999 255\n", b"#define x_width 99999\n",
    )  # fmt: skip
    for start in starts:
        for tail in (b"", bytes(64), b"\xff" * 64):
            yield start + tail


def files() -> Iterator[bytes]:
    rng = random.Random(20_240_229)
    known = seeds()
    others = list(known.values())
    yield from others
    yield from crafted()
    for data in others:
        for _ in range(MUTATIONS):
            yield mutate(data, rng, others)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is damaged
def test_whatever_comes_in_an_upload_or_a_refusal_comes_out() -> None:
    came: Counter[str] = Counter()
    threads = 0
    for number, data in enumerate(files()):
        try:
            role = "garment" if number % 4 == 0 else "person"
            upload = read_upload(data, Canvas(), role, None, number % 8 == 0)  # type: ignore[arg-type]
        except (InputError, ProblemError) as error:
            said = str(error)
            came["refused"] += 1
            came["said nothing"] += not 10 < len(said) < 500
        else:
            assert upload.picture.shape == (64, 48, 3)
            with Image.open(io.BytesIO(upload.preview), formats=["PNG"]) as preview:
                assert max(preview.size) <= 384
            came["taken"] += 1
        if number == 50:
            threads = threading.active_count()
    assert came["refused"] + came["taken"] > 400
    assert not came["said nothing"]
    assert min(came["refused"], came["taken"]) > 60  # both paths were really taken
    assert threading.active_count() <= threads
