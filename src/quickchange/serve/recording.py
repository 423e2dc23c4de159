"""Recordings: fragmented MP4 while they grow, a plain MP4 when they are done.

Because of the fragments, a crash loses about half a second.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from quickchange.files import atomic_path
from quickchange.media.video import SYNTHETIC_NOTE, YuvConverter, default_scale, tag_colours

logger = logging.getLogger(__name__)

Frame = NDArray[np.uint8]

FRAGMENT_SECONDS = 0.5
BACKLOG = 48  # frames that may wait to be encoded; further ones are lost


class Recording:
    """One recording, written by a thread of its own.

    Args:
        path: the MP4 to write. Until ``finish``, the same path ending in ``.part.mp4`` grows; it is always playable.
        width: of the frames, px.
        height: of the frames, px.
        fps: frames per second.
        seconds: the longest that it may become.

    Attributes:
        lost: frames that came faster than they could be encoded.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, seconds: float) -> None:
        self.path, self.part = path, path.with_suffix(".part.mp4")
        self.fps, self.lost = fps, 0
        self._most = round(seconds * fps)
        self._convert = YuvConverter(width, height, default_scale(height))
        self._first: int | None = None
        self._last = -1
        self._frames: queue.Queue[tuple[int, Frame] | None] = queue.Queue(BACKLOG)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Length so far."""
        return 0.0 if self._first is None else (self._last - self._first + 1) / self.fps

    @property
    def full(self) -> bool:
        """Whether it has reached its longest, or can no longer be written."""
        return self._failure is not None or round(self.seconds * self.fps) >= self._most

    def add(self, number: int, frame: Frame) -> None:
        """Add a frame that was shown, without waiting.

        Args:
            number: of the frame. Where numbers are missing, the frame before stands longer; older ones are ignored.
            frame: uint8 [H, W, 3].
        """
        if self.full or number <= self._last:
            return
        try:
            self._frames.put_nowait((number, frame))
        except queue.Full:
            self.lost += 1
            return
        self._first = number if self._first is None else self._first
        self._last = number

    def finish(self) -> Path:
        """End the recording and write the plain MP4, index at the front. Blocks.

        Raises:
            RuntimeError: nothing was recorded, or it could not be written.
        """
        self._stop()
        if self._failure is not None:
            raise RuntimeError(f"the recording could not be written: {self._failure}") from self._failure
        if self._first is None:
            self.part.unlink(missing_ok=True)
            raise RuntimeError("nothing was shown while recording")
        remux(self.part, self.path)
        self.part.unlink()
        return self.path

    def discard(self) -> None:
        """End the recording and delete its files."""
        self._stop()
        self.part.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _stop(self) -> None:
        while self._thread.is_alive():  # one that failed reads no more
            with contextlib.suppress(queue.Full):
                self._frames.put(None, timeout=0.1)
                break
        self._thread.join()

    def _write(self) -> None:
        try:
            self._write_fragments()
        except Exception as error:  # disk full, folder gone: the stream goes on; ``finish`` raises
            logger.exception("recording %s failed", self.part.name)
            self._failure = error

    def _write_fragments(self) -> None:
        rate = Fraction(self.fps).limit_denominator(1001)
        muxing = {"movflags": "+frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        with av.open(str(self.part), "w", format="mp4", options=muxing) as container:
            container.metadata["comment"] = SYNTHETIC_NOTE
            encoding = {"crf": "18", "preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
            stream: Any = container.add_stream("libx264", rate=rate, options=encoding)
            stream.width, stream.height, stream.pix_fmt = self._convert.width, self._convert.height, "yuv420p"
            context = stream.codec_context
            context.gop_size = max(1, round(FRAGMENT_SECONDS * self.fps))  # a fragment ends before a key frame
            context.time_base = 1 / rate
            tag_colours(context)
            first = None
            while (item := self._frames.get()) is not None:
                number, frame = item
                first = number if first is None else first
                picture = self._convert(frame)
                picture.pts = number - first
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


def remux(source: Path, target: Path) -> None:
    """Copy an MP4's pictures into a plain MP4 that plays everywhere; ``target`` is written whole or not at all."""
    with (
        atomic_path(target) as temporary,
        av.open(str(source)) as reading,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as writing,
    ):
        writing.metadata["comment"] = SYNTHETIC_NOTE
        video = reading.streams.video[0]
        copy = writing.add_stream_from_template(video)
        for packet in reading.demux(video):
            if packet.dts is not None:  # the flush at the end
                packet.stream = copy
                writing.mux(packet)


class RecordingStore:
    """The recordings of all sessions: where they lie, what they are called, and their signature.

    A recording's name is secret: a client that knows it can fetch the file.

    Args:
        folder: keeps recordings after their session has ended; None: a temporary folder, emptied session by session.
        certificate: PEM file of the certificate chain to sign with (C2PA); None: files are not signed.
        key: PEM file of its private key.

    Attributes:
        folder: where the files are.
    """

    def __init__(self, folder: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="quickchange-recordings-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep = folder is not None
        self._certificate, self._key = certificate, key
        self._finished: dict[str, Path] = {}

    def begin(self, width: int, height: int, fps: float, seconds: float) -> Recording:
        """Start a recording under a new name.

        Args:
            width: of the frames, px.
            height: of the frames, px.
            fps: frames per second.
            seconds: the longest that it may become.
        """
        return Recording(self.folder / f"{secrets.token_hex(16)}.mp4", width, height, fps, seconds)

    def finish(self, recording: Recording) -> str:
        """End a recording, sign it where there is a certificate, and return its name. Blocks.

        Raises:
            RuntimeError: nothing was recorded, or it could not be written.
        """
        path = recording.finish()
        self.sign(path, "video/mp4")
        self._finished[path.stem] = path
        return path.stem

    def find(self, name: str) -> Path | None:
        """Return the finished recording of that name, or None."""
        return self._finished.get(name)

    def release(self, running: Recording | None, finished: Iterable[str]) -> None:
        """End what an ended session recorded. Its files are deleted, unless the folder keeps recordings. Blocks.

        Args:
            running: a recording that has not been finished.
            finished: names of finished ones; nobody can fetch them any more.
        """
        try:
            if running is not None and self._keep:
                self._finished.pop(self.finish(running), None)
            elif running is not None:
                running.discard()
        except Exception:  # disk full, a certificate that has gone: the session is freed all the same
            logger.exception("a recording was lost")
        for name in finished:
            path = self._finished.pop(name, None)
            if path is not None and not self._keep:
                path.unlink(missing_ok=True)

    def sign(self, path: Path, mime: str) -> None:
        """Sign a generated file in place (C2PA), if there is a certificate."""
        if self._certificate is not None and self._key is not None:
            from quickchange.media.provenance import sign_file

            sign_file(path, mime, self._certificate, self._key)

    def close(self) -> None:
        """Delete the folder, if it is a temporary one."""
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
