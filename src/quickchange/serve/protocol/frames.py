"""Video on the wire: one frame in one binary message, behind a header of fixed size. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quickchange.serve.protocol import VERSION
from quickchange.serve.protocol.problems import ProtocolError

KEY, CUT = 1, 2  # flags
_HEADER = struct.Struct(">BBHIIIQ")


@dataclass(frozen=True)
class FrameHeader:
    """The header of a binary message, 24 bytes, big-endian.

    Its fields: version u8, flags u8, size of the header u16, number u32, obeys u32, epoch u32, media time u64.

    Attributes:
        number: of the frame in the stream, from 0. Numbers and media times only grow; dropped frames leave gaps.
        obeys: sequence id of the last control that the frame follows; 0 before the first.
        epoch: grows with every flush. Frames of an older epoch that are not on the screen yet are void.
        media_us: when the frame is due on the stream's own clock, microseconds. The clock stands while paused.
        key: whether the picture can be decoded on its own.
        cut: whether it is the first frame of an epoch.
    """

    number: int
    obeys: int
    epoch: int
    media_us: int
    key: bool = False
    cut: bool = False

    def pack(self) -> bytes:
        """Encode the header: 24 bytes."""
        flags = KEY * self.key | CUT * self.cut
        return _HEADER.pack(VERSION, flags, _HEADER.size, self.number, self.obeys, self.epoch, self.media_us)

    @staticmethod
    def unpack(message: bytes) -> tuple[FrameHeader, bytes]:
        """Split a binary message into its header and the encoded picture.

        Raises:
            ProtocolError: not a frame of this protocol version.
        """
        if len(message) < _HEADER.size or message[0] != VERSION:
            raise ProtocolError(f"{len(message)} bytes are no frame of protocol version {VERSION}")
        _, flags, size, number, obeys, epoch, media = _HEADER.unpack_from(message)
        return FrameHeader(number, obeys, epoch, media, bool(flags & KEY), bool(flags & CUT)), message[size:]
