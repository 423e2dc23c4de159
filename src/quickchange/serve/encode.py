"""Encode frames for a browser: H.264 (Annex B), VP8, or JPEG pictures.

An encoder belongs to one client and is not thread-safe. Small frames are enlarged first: video stores colour at half
the resolution (4:2:0), so a garment's edge would otherwise be a single smeared pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from quickchange.media.video import YuvConverter, enlarge, tag_colours
from quickchange.serve.protocol.messages import Codec

Frame = NDArray[np.uint8]

LEAST_HEIGHT = 256  # px, of an encoded picture
KEY_SECONDS = 10.0  # at most between two key frames
JPEG_QUALITY = 88
BITS_PER_PIXEL = 0.35  # of VP8, which needs a target bit rate


@dataclass(frozen=True)
class Encoded:
    """One encoded picture.

    Attributes:
        data: its bytes.
        key: whether it can be decoded on its own.
    """

    data: bytes
    key: bool


class Encoder(Protocol):
    """Encodes the frames of one client.

    Attributes:
        codec: as in the protocol.
        width: of the encoded pictures, px.
        height: of the encoded pictures, px.
    """

    codec: Codec
    width: int
    height: int

    @property
    def decoder(self) -> str:
        """Codec string for WebCodecs. For H.264 it is known after the first picture."""
        ...

    def encode(self, frame: Frame, key: bool = False) -> Encoded:
        """Encode a frame.

        Args:
            frame: uint8 [H, W, 3], of the size that the encoder was made for.
            key: make the picture decodable on its own.
        """
        ...


def wire_scale(height: int) -> int:
    """Return the whole factor by which frames of this height are enlarged."""
    return max(1, -(-LEAST_HEIGHT // height))


def make_encoder(codec: Codec, width: int, height: int, fps: float) -> Encoder:
    """Make an encoder.

    Args:
        codec: as in the protocol.
        width: of the frames, px.
        height: of the frames, px.
        fps: frames per second.

    Raises:
        ValueError: unknown codec.
    """
    match codec:
        case "h264":
            return _VideoEncoder(codec, "libx264", width, height, fps)
        case "vp8":
            return _VideoEncoder(codec, "libvpx", width, height, fps)
        case "jpeg":
            return _JpegEncoder(width, height)
    raise ValueError(f"codec is {codec!r}; expected h264, vp8 or jpeg")


def h264_decoder(annex_b: bytes) -> str | None:
    """Read the codec string for WebCodecs from a sequence parameter set; None if these bytes hold none."""
    at = annex_b.find(b"\0\0\1")
    while at >= 0:
        unit = annex_b[at + 3 : at + 7]
        if len(unit) == 4 and unit[0] & 31 == 7:
            return f"avc1.{unit[1:].hex().upper()}"
        at = annex_b.find(b"\0\0\1", at + 3)
    return None


class _VideoEncoder:
    def __init__(self, codec: Codec, library: str, width: int, height: int, fps: float) -> None:
        self.codec = codec
        self._convert = YuvConverter(width, height, wire_scale(height))
        self.width, self.height = self._convert.width, self._convert.height
        rate = Fraction(fps).limit_denominator(1001)
        options = {"threads": "1"}
        if codec == "h264":
            # No B-frames, no look-ahead, one slice: a picture out for every picture in.
            options |= {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "crf": "20"}
        else:
            options |= {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "0"}
        context: Any = av.CodecContext.create(library, "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base, context.framerate = 1 / rate, rate
        context.gop_size, context.max_b_frames = round(KEY_SECONDS * fps), 0
        tag_colours(context)
        if codec == "vp8":
            context.bit_rate = int(BITS_PER_PIXEL * self.width * self.height * fps)
        context.options = options
        self._context = context
        self._count = 0
        self._decoder = "vp8" if codec == "vp8" else ""

    @property
    def decoder(self) -> str:
        return self._decoder

    def encode(self, frame: Frame, key: bool = False) -> Encoded:
        picture = self._convert(frame)
        picture.pts = self._count
        picture.pict_type = PictureType.I if key or not self._count else PictureType.NONE
        self._count += 1
        packets = self._context.encode(picture)
        data = b"".join(bytes(packet) for packet in packets)
        is_key = any(packet.is_keyframe for packet in packets)
        if self.codec == "h264" and is_key and not self._decoder:
            self._decoder = h264_decoder(data) or ""
        return Encoded(data, is_key)


class _JpegEncoder:
    codec: Codec = "jpeg"
    decoder = "image/jpeg"

    def __init__(self, width: int, height: int) -> None:
        self._scale = wire_scale(height)
        self.width, self.height = width * self._scale, height * self._scale

    def encode(self, frame: Frame, key: bool = False) -> Encoded:
        bgr = cv2.cvtColor(enlarge(frame, self._scale), cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise RuntimeError(f"a frame of {frame.shape[1]}x{frame.shape[0]} px could not be encoded as JPEG")
        return Encoded(data.tobytes(), key=True)
