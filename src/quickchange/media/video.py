"""Writers of generated frames: MP4, contact sheets and PNG.

A file appears only when it is complete. This module does not know models or sessions: frames are uint8 RGB arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from quickchange.files import atomic_path

SYNTHETIC_NOTE = "Synthetic media: made by a generative model (quickchange). It shows no real event."

Frame = NDArray[np.uint8]
Item = TypeVar("Item")


class Mp4Writer:
    """Writer of an MP4 that plays everywhere: H.264, yuv420p, BT.709, index at the front.

    A context manager. The file appears at ``path`` when the block ends without an error, else no file is left.
    The last column or row is repeated where a size is odd, because yuv420p needs even sizes.

    Args:
        path: the file to write; its folder must exist.
        width: of the frames given to ``write``, pixels.
        height: of the frames given to ``write``, pixels.
        fps: frames per second, > 0.
        scale: whole factor, >= 1, by which frames are enlarged (bicubic) before encoding.

    Raises:
        ValueError: a size, rate or scale out of range.
        RuntimeError: at the end of the block, if no frame was written.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, *, scale: int = 1) -> None:
        if width < 1 or height < 1 or scale < 1 or not (math.isfinite(fps) and fps > 0):
            raise ValueError(
                f"MP4 of {width}x{height} at {fps} frames/s, scale {scale}: size and scale must be >= 1, the rate > 0"
            )
        self.source_width, self.source_height = width, height
        self.scale = scale
        self._convert = YuvConverter(width, height, scale)
        self.width, self.height = self._convert.width, self._convert.height
        self.fps = fps
        self.frames = 0
        self._path = path

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._container = stack.enter_context(
                av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._container.metadata["comment"] = SYNTHETIC_NOTE
            rate = Fraction(self.fps).limit_denominator(1001)
            # A lower crf than x264's default: artefacts are easy to see in small frames that were enlarged.
            stream = self._container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            tag_colours(stream.codec_context)
            self._stream = stream
            self._stack = stack.pop_all()
        return self

    def write(self, frames: Frame) -> None:
        """Encode ``frames``, uint8 ``[T, height, width, 3]``.

        Raises:
            ValueError: another shape or dtype.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != (self.source_height, self.source_width, 3):
            raise ValueError(
                f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 "
                f"[T, {self.source_height}, {self.source_width}, 3]"
            )
        for image in frames:
            picture = self._convert(image)
            picture.pts = self.frames
            self._container.mux(self._stream.encode(picture))
            self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self.frames == 0:
                raise RuntimeError(f"no frame was written to {self._path}")
            self._container.mux(self._stream.encode(None))


class YuvConverter:
    """Converter of RGB frames for video encoders: enlarged, yuv420p, BT.709 of limited range.

    Use one converter for a whole video: setting it up costs more than converting a small frame.

    Args:
        width: of the frames, pixels.
        height: of the frames, pixels.
        scale: whole factor, >= 1, by which frames are enlarged (bicubic).

    Attributes:
        width: of the result, pixels. Even: yuv420p needs it, so the last column is repeated if necessary.
        height: of the result, pixels. Even, likewise.
    """

    def __init__(self, width: int, height: int, scale: int = 1) -> None:
        self._scale = scale
        self.width, self.height = _even(width * scale), _even(height * scale)
        self._reformatter = VideoReformatter()

    def __call__(self, image: Frame) -> av.VideoFrame:
        """Convert one frame, uint8 [height, width, 3] of the size given at the start."""
        enlarged = enlarge(image, self._scale)
        height, width = enlarged.shape[:2]
        if (height, width) != (self.height, self.width):
            enlarged = np.pad(enlarged, ((0, self.height - height), (0, self.width - width), (0, 0)), mode="edge")
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(enlarged), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )


def tag_colours(context: Any) -> None:
    """Tag an encoder's stream with the colour space of ``YuvConverter``.

    Without tags, players guess BT.601 or BT.709 from the size, and the colours of the clothes shift.
    """
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def _even(size: int) -> int:
    return size + size % 2


def enlarge(image: Frame, scale: int) -> Frame:
    """Enlarge an image, uint8 ``[H, W, 3]``, by the whole factor ``scale``, bicubic."""
    if scale == 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def default_scale(height: int, wanted: int = 512) -> int:
    """The whole factor that brings a frame of ``height`` pixels closest to ``wanted``, at least 1."""
    return max(1, round(wanted / height))


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One row of a contact sheet: a garment, then the frames generated while it was asked for.

    Attributes:
        garment: picture at the left.
        title: text below it; may have several lines.
        frames: pairs of (uint8 ``[H, W, 3]``, label).
    """

    garment: Image.Image
    title: str
    frames: Sequence[tuple[Frame, str]]


def contact_sheet(rows: Sequence[SheetRow], *, cell_height: int = 256, columns: int = 8) -> Image.Image:
    """Draw rows below each other: garment and title at the left, then frames with their labels.

    A row with more frames than ``columns`` shows some of them, evenly spaced, the first and the last included.

    Args:
        rows: at least one.
        cell_height: height of a frame on the sheet, pixels.
        columns: greatest number of frames in a row.

    Raises:
        ValueError: no row, or a row without frames.
    """
    if not rows or not all(row.frames for row in rows):
        raise ValueError("a contact sheet needs at least one row, and every row at least one frame")
    gap, caption = 6, 18
    height, width = rows[0].frames[0][0].shape[:2]
    cell_width = max(1, round(cell_height * width / height))
    side = max(cell_width, 128)
    font = ImageFont.load_default(13)
    chosen = [even_choice(row.frames, columns) for row in rows]
    across = max(len(frames) for frames in chosen)
    row_height = cell_height + caption + gap
    sheet = Image.new("RGB", (side + 2 * gap + across * (cell_width + gap), len(rows) * row_height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (row, frames) in enumerate(zip(rows, chosen, strict=True)):
        top = gap + index * row_height
        lines = row.title.splitlines()
        room = side, max(1, cell_height + caption - 16 * len(lines) - gap)
        thumbnail = ImageOps.contain(row.garment.convert("RGB"), room, Image.Resampling.BICUBIC)
        sheet.paste(thumbnail, (gap + (side - thumbnail.width) // 2, top))
        for number, line in enumerate(lines):
            draw.text((gap, top + thumbnail.height + 4 + 16 * number), line, fill="black", font=font)
        for column, (frame, label) in enumerate(frames):
            left = side + 2 * gap + column * (cell_width + gap)
            sheet.paste(Image.fromarray(frame).resize((cell_width, cell_height), Image.Resampling.BICUBIC), (left, top))
            draw.text((left + 2, top + cell_height + 2), label, fill="black", font=font)
    return sheet


def even_choice(items: Sequence[Item], count: int) -> list[Item]:
    """Choose at most ``count`` items, evenly spaced, with the first and (if ``count`` > 1) the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]


def save_png_atomic(image: Image.Image, path: Path) -> None:
    """Write a PNG, complete or not at all. Its metadata say that it is synthetic."""
    info = PngInfo()
    info.add_text("Comment", SYNTHETIC_NOTE)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)
