"""One video from a plan: generate chunk by chunk, switch garments on time, encode while generating, measure.

Of the model it knows only the three small protocols below, so anything that streams chunks can stand behind it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from quickchange.files import atomic_path
from quickchange.generate.plan import Garment, Plan
from quickchange.media.images import PlacedGarment
from quickchange.media.video import Frame, Mp4Writer, SheetRow, contact_sheet, default_scale, save_png_atomic

SHEET_FRAMES_PER_GARMENT = 8


class ChunkLike(Protocol):
    """A piece of a stream."""

    @property
    def frames(self) -> Frame:
        """uint8 [T, H, W, 3]."""
        ...

    @property
    def obeys(self) -> int:
        """Sequence id of the last control that the frames obey."""
        ...


class ChunkStream(Protocol):
    """An endless stream of chunks."""

    def __iter__(self) -> Iterator[ChunkLike]: ...

    def wear(self, garment: Frame | PlacedGarment, *, cutout: bool) -> int:
        """Change the garment from the next chunk on and return the control's sequence id."""
        ...


class StudioLike(Protocol):
    """Opens streams."""

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...

    @property
    def width(self) -> int:
        """Of a frame, px."""
        ...

    @property
    def height(self) -> int:
        """Of a frame, px."""
        ...

    def place_garment(self, rgb: Frame, alpha: NDArray[np.float32]) -> Frame:
        """Place a cut-out garment where the model expects garments; see ``Studio.place_garment``."""
        ...

    def open(
        self, *, reference: Frame, garment: Frame | PlacedGarment, prompt: str, seed: int, cutout: bool
    ) -> AbstractContextManager[ChunkStream]:
        """Open a stream; see ``Studio.open``."""
        ...


@dataclass(frozen=True)
class SwitchReport:
    """What became of one switch.

    Attributes:
        at: seconds of video, as asked.
        obeyed_frame: number of the first frame in the new garment; None: the video ended before it.
        ms: time from ``wear`` to delivery of that frame, background removal not included; None likewise.
    """

    at: float
    obeyed_frame: int | None = None
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a plan.

    Attributes:
        fps: generated frames per second of opening, switching, denoising and decoding, without loading and encoding.
        fps_with_mp4: the same with MP4 encoding.
        first_frame_ms: time from opening the stream, encoding of both images included, to the first chunk.
        switches: one report for each switch of the plan.
        frames: in the file.
        seconds: length of the file.
        width: of the file, px.
        height: of the file, px.
        seed: of the noise.
        model: name of the model.
        threads: CPU threads that computed.
        out: the MP4.
        sheet: the contact sheet, if there is one.
    """

    fps: float
    fps_with_mp4: float
    first_frame_ms: float
    switches: tuple[SwitchReport, ...]
    frames: int
    seconds: float
    width: int
    height: int
    seed: int
    model: str
    threads: int
    out: str
    sheet: str | None

    def to_json(self) -> str:
        """Format as one JSON object over several lines, without a final newline."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def generate(studio: StudioLike, plan: Plan, *, model: str, threads: int, progress: bool = True) -> Summary:
    """Generate ``plan`` into its MP4 and contact sheet.

    A switch at time ``t`` reaches the stream before the first chunk that starts at or after ``t``, as a click in the
    studio would. Each chunk border takes one switch, so every garment is seen. Memory does not grow with the length of
    the video.

    Args:
        studio: opens the stream.
        plan: what to generate.
        model: its name, for the report.
        threads: CPU threads that compute, for the report.
        progress: show a progress bar on stderr.

    Raises:
        RuntimeError: the stream ended before the video did. No file is left behind then.
    """
    total = max(1, round(plan.seconds * studio.fps))
    scale = plan.scale or default_scale(studio.height)
    garments = [_placed(garment, studio) for garment in (plan.garment, *(garment for _, garment in plan.switches))]
    controls = _Controls([at for at, _ in plan.switches], garments[1:], studio.fps)
    sheet = _Sheet(garments, studio.fps, total)
    shown = handed_out = 0
    first_frame = encoding = 0.0
    with (
        atomic_path(plan.sheet) if plan.sheet else nullcontext() as sheet_file,
        Mp4Writer(plan.out, studio.width, studio.height, studio.fps, scale=scale) as writer,
        tqdm(total=total, unit="frame", desc="generating", disable=not progress) as bar,
    ):
        started = time.perf_counter()
        with studio.open(
            reference=plan.reference, garment=garments[0], prompt=plan.prompt, seed=plan.seed, cutout=False
        ) as stream:
            for chunk in stream:
                received = time.perf_counter()
                first_frame = first_frame or received - started
                controls.obeyed(chunk.obeys, shown, received)
                handed_out += len(chunk.frames)
                frames = chunk.frames[: total - shown]
                writer.write(frames)
                sheet.add(frames, shown, controls.reports)
                shown += len(frames)
                bar.update(len(frames))
                encoding += time.perf_counter() - received
                if shown == total:
                    break
                controls.ask(stream, shown)
            took = time.perf_counter() - started
        if shown < total:
            raise RuntimeError(f"the session ended after {shown} of {total} frames")
        # Both files move into place together, after the last thing that can fail.
        if sheet_file:
            save_png_atomic(contact_sheet(sheet.rows(controls.reports)), sheet_file)
    return Summary(
        fps=handed_out / (took - encoding),
        fps_with_mp4=handed_out / took,
        first_frame_ms=1000 * first_frame,
        switches=tuple(controls.reports),
        frames=shown,
        seconds=shown / studio.fps,
        width=writer.width,
        height=writer.height,
        seed=plan.seed,
        model=model,
        threads=threads,
        out=str(plan.out),
        sheet=str(plan.sheet) if plan.sheet else None,
    )


def _placed(garment: Garment, studio: StudioLike) -> Frame | PlacedGarment:
    if garment.alpha is None:
        return garment.rgb
    return PlacedGarment(studio.place_garment(garment.rgb, garment.alpha))


class _Controls:
    """Hands each switch to the stream in its time and notes when it was obeyed."""

    def __init__(self, times: Sequence[float], garments: Sequence[Frame | PlacedGarment], fps: float) -> None:
        self.reports = [SwitchReport(at) for at in times]
        self._fps = fps
        self._pending = deque(enumerate(garments))
        self._asked: deque[tuple[int, int, float]] = deque()  # sequence id, index of the switch, when

    def ask(self, stream: ChunkStream, frame: int) -> None:
        """Hand over the next switch if its time has come. Call this before the chunk that starts at ``frame``."""
        # The tolerance lets 0.7 s at 30 frames/s, 20.999... frames in floats, fall on frame 21.
        if self._pending and self.reports[self._pending[0][0]].at * self._fps <= frame + 1e-6:
            index, garment = self._pending.popleft()
            now = time.perf_counter()
            self._asked.append((stream.wear(garment, cutout=False), index, now))

    def obeyed(self, sequence: int, frame: int, now: float) -> None:
        """Note that a chunk came at time ``now`` that starts at ``frame`` and obeys controls up to ``sequence``."""
        while self._asked and self._asked[0][0] <= sequence:
            _, index, asked = self._asked.popleft()
            self.reports[index] = SwitchReport(self.reports[index].at, frame, 1000 * (now - asked))


class _Sheet:
    """Collects the frames of the contact sheet, one row for each garment."""

    def __init__(self, garments: Sequence[Frame | PlacedGarment], fps: float, total: int) -> None:
        self._garments = [garment.rgb if isinstance(garment, PlacedGarment) else garment for garment in garments]
        self._fps = fps
        self._rows: list[list[tuple[Frame, str]]] = [[] for _ in self._garments]
        self._step = max(1, total // (SHEET_FRAMES_PER_GARMENT * len(garments)))

    def add(self, frames: Frame, start: int, reports: Sequence[SwitchReport]) -> None:
        row = self._rows[sum(report.obeyed_frame is not None for report in reports)]
        for index, frame in enumerate(frames, start):
            if not row or index % self._step == 0:
                row.append((frame.copy(), f"{index / self._fps:.2f} s"))

    def rows(self, reports: Sequence[SwitchReport]) -> list[SheetRow]:
        titles = ["from the start"]
        for report in reports:
            shown_at = "never" if report.obeyed_frame is None else f"{report.obeyed_frame / self._fps:.2f} s"
            titles.append(f"asked {report.at:.2f} s\nobeyed {shown_at}")
        worn = zip(self._garments, titles, self._rows, strict=True)
        return [
            SheetRow(garment=Image.fromarray(garment), title=title, frames=frames)
            for garment, title, frames in worn
            if frames
        ]
