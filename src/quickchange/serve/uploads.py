"""Uploaded pictures: read with care, in a worker that cannot be flooded, and kept for one session."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickchange.errors import InputError, NotAnImageError
from quickchange.generate.plan import Garment
from quickchange.media.images import FORMATS, READABLE, cut_out, fit_reference, load_image
from quickchange.serve.catalogue import Role
from quickchange.serve.protocol.messages import Kind
from quickchange.serve.protocol.problems import problem

RGB = NDArray[np.uint8]
Result = TypeVar("Result")

MAX_MEGAPIXELS = 50
PREVIEW_SIDE, PREVIEW_MARGIN = 384, 0.04
KEPT_SIDE = 2048  # px a side, of pictures that are kept while a video is made
BACKLOG = 4  # pictures that may wait
BUSY_RETRY = 2.0  # seconds
# First bytes of formats that are refused by name. The decoder refuses everything else that it does not know.
REFUSED = (
    (b"<svg", "an SVG drawing"), (b"<?xml", "XML"), (b"<!doc", "an HTML page"), (b"<html", "an HTML page"),
    (b"%pdf", "a PDF"), (b"pk\x03\x04", "a ZIP archive"), (b"%!ps", "PostScript"),
)  # fmt: skip


class Fitter(Protocol):
    """The part of a studio that fits pictures."""

    @property
    def width(self) -> int:
        """Of a frame, px."""
        ...

    @property
    def height(self) -> int:
        """Of a frame, px."""
        ...

    def place_garment(self, rgb: RGB, alpha: NDArray[np.float32]) -> RGB:
        """Place a cut-out garment where the model expects garments; see ``Studio.place_garment``."""
        ...


@dataclass(frozen=True)
class Upload:
    """An uploaded picture.

    Attributes:
        id: in the protocol.
        role: what it shows.
        kind: of a garment; None: unknown, or a person.
        picture: as the model sees it, uint8 [H, W, 3].
        preview: PNG of at most 384 px a side. Of a garment, the removed background is transparent.
        recognised: False if a background was to be removed and could not be told apart.
        width: of the uploaded picture, px.
        height: of the uploaded picture, px.
    """

    id: str
    role: Role
    kind: Kind | None
    picture: RGB
    preview: bytes
    recognised: bool
    width: int
    height: int


class ImageWorker:
    """One thread that decodes pictures and removes backgrounds. Few may wait: each can take a second.

    Args:
        backlog: how many jobs may wait.
    """

    def __init__(self, backlog: int = BACKLOG) -> None:
        self._most, self._waiting = 1 + backlog, 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")

    async def run(self, job: Callable[..., Result], *args: Any) -> Result:
        """Run ``job(*args)``. Call this on the event loop.

        Raises:
            ProblemError: "busy", too many jobs wait.
        """
        if self._waiting >= self._most:
            raise problem("busy", "too many pictures are being read; try again in a moment", BUSY_RETRY)
        self._waiting += 1
        loop, work = asyncio.get_running_loop(), self._thread.submit(job, *args)
        # Counted until it is done, also if the caller gives up waiting.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(work)

    def _done(self) -> None:
        self._waiting -= 1

    def shutdown(self) -> None:
        """Cancel the jobs that wait, and wait for the one that runs."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def read_picture(data: bytes) -> RGB:
    """Read an uploaded still picture, upright and without metadata.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ProblemError: "unsupported-media", not a picture in an accepted format, or an animation.
        InputError: empty, too large, or damaged.
    """
    if not data:
        raise InputError("the upload is empty; choose a picture file")
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what in REFUSED:
        if start.startswith(magic):
            raise problem("unsupported-media", f"the upload is {what}; expected a photo as {READABLE}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:  # reads the header only
            width, height = image.size
            moving = image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # Pillow raises nearly anything on damaged files; load_image says it in words
        width, height, moving = 0, 0, False
    if moving:
        raise problem("unsupported-media", f"the upload is an animation; expected a still picture as {READABLE}")
    if width * height > MAX_MEGAPIXELS * 10**6:
        raise InputError(f"{width}x{height} px; at most {MAX_MEGAPIXELS} megapixels are taken: make it smaller")
    try:
        return load_image(data)
    except NotAnImageError as error:
        raise problem("unsupported-media", str(error)) from error


def read_person(data: bytes) -> RGB:
    """Read an uploaded person, at most 2048 px a side; errors as ``read_picture``."""
    return _shrunk(read_picture(data))


def read_garment(data: bytes, cutout: bool) -> Garment:
    """Read an uploaded garment, at most 2048 px a side, cut out if ``cutout``; errors as ``read_picture``."""
    rgb = _shrunk(read_picture(data))
    return Garment(*cut_out(rgb)) if cutout else Garment(rgb)


def _shrunk(rgb: RGB) -> RGB:
    scale = KEPT_SIDE / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def read_upload(data: bytes, studio: Fitter, role: Role, kind: Kind | None, cutout: bool) -> Upload:
    """Decode an upload, cut it out and fit it to the model; errors as ``read_picture``.

    Args:
        data: bytes of the file.
        studio: fits the picture.
        role: what it shows.
        kind: of a garment, or None.
        cutout: remove a garment's background.
    """
    name = f"{role}-{secrets.token_hex(8)}"
    rgb = read_picture(data)
    height, width = rgb.shape[:2]
    if role == "person":
        picture = fit_reference(rgb, studio.width, studio.height)
        preview = fit_reference(rgb, round(PREVIEW_SIDE * studio.width / studio.height), PREVIEW_SIDE)
        return Upload(name, role, None, picture, _png(Image.fromarray(preview)), True, width, height)
    alpha = np.ones(rgb.shape[:2], np.float32)
    if cutout:
        rgb, alpha = cut_out(rgb)
    recognised = not cutout or bool(alpha.min() < 1)
    picture = studio.place_garment(rgb, alpha)
    return Upload(name, role, kind, picture, _png(_crop(rgb, alpha)), recognised, width, height)


def _crop(rgb: RGB, alpha: NDArray[np.float32]) -> Image.Image:
    """The garment alone, with a small margin."""
    rows, columns = (np.flatnonzero((alpha > 0.05).any(axis)) for axis in (1, 0))
    margin = round(PREVIEW_MARGIN * max(len(rows), len(columns)))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    part = np.s_[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]
    cover = (255 * alpha[part]).round().astype(np.uint8)
    return Image.fromarray(np.dstack([rgb[part] * (cover[..., None] > 0), cover]))


def _png(image: Image.Image) -> bytes:
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return data.getvalue()
