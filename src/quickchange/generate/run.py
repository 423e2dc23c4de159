"""One video from a plan: generate chunk by chunk, switch garments on time, encode while generating, measure.

Sees of the model only the three small protocols below, so that anything that streams chunks can stand behind it.
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
from quickchange.media.video import Frame, Mp4Writer, SheetRow, contact_sheet, default_scale, save_png_atomic

SHEET_FRAMES_PER_GARMENT = 8


class Chunk(Protocol):
    """``frames`` uint8 ``[T, H, W, 3]``; ``obeys`` the sequence id of the last control the chunk follows."""

    @property
    def frames(self) -> Frame: ...
    @property
    def obeys(self) -> int: ...


class Session(Protocol):
    """An endless stream of chunks; ``wear`` is obeyed from the next chunk on and returns its sequence id."""

    def __iter__(self) -> Iterator[Chunk]: ...
    def wear(self, garment: Frame, *, cutout: bool) -> int: ...


class Studio(Protocol):
    """What opens sessions. Frames per second, and the size of frames in pixels."""

    @property
    def fps(self) -> float: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    def place_garment(self, rgb: Frame, alpha: NDArray[np.float32]) -> Frame: ...
    def open(
        self, *, reference: Frame, garment: Frame, prompt: str, seed: int, cutout: bool
    ) -> AbstractContextManager[Session]: ...


@dataclass(frozen=True)
class SwitchReport:
    """``at`` seconds as asked; ``obeyed_frame`` the first frame of the video in the new garment; ``ms`` from asking
    the session, the garment cut out by then, to that frame's being handed out. The last two are None where the video
    ended before it."""

    at: float
    obeyed_frame: int | None = None
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a plan.

    fps: frames handed out per second of opening, switching, denoising and decoding, without loading and MP4 encoding.
    fps_with_mp4: the same with MP4 encoding.
    first_frame_ms: from opening the session, both images encoded, to the first chunk.
    frames, seconds, width, height: of the file. model, threads: what generated it.
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
        """One JSON object over several lines, without a final newline."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def generate(studio: Studio, plan: Plan, *, model: str, threads: int, progress: bool = True) -> Summary:
    """Generate ``plan`` into its MP4 (and contact sheet), with a progress bar on stderr unless ``progress`` is False.

    A switch asked for at ``t`` is handed to the session before the first chunk that starts at or after ``t``, as a
    live viewer's click would be; one switch per chunk border, so that every garment gets to be seen. Memory does
    not grow with the length of the video. ``model`` and ``threads`` are only reported.

    Raises:
        RuntimeError: where the session ends before the video does. Nothing is left behind then.
    """
    total = max(1, round(plan.seconds * studio.fps))
    scale = plan.scale or default_scale(studio.height)
    garments = [_as_worn(garment, studio) for garment in (plan.garment, *(garment for _, garment in plan.switches))]
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
        ) as session:
            for chunk in session:
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
                controls.ask(session, shown)
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


def _as_worn(garment: Garment, studio: Studio) -> Frame:
    if garment.alpha is None:
        return garment.rgb
    return studio.place_garment(garment.rgb, garment.alpha)


class _Controls:
    """Hands each switch to the session in its time and notes when it was obeyed."""

    def __init__(self, times: Sequence[float], garments: Sequence[Frame], fps: float) -> None:
        self.reports = [SwitchReport(at) for at in times]
        self._fps = fps
        self._pending = deque(enumerate(garments))
        self._asked: deque[tuple[int, int, float]] = deque()  # sequence id, index of the switch, when

    def ask(self, session: Session, frame: int) -> None:
        """Before the chunk that starts at ``frame``: hand over the next switch if its time has come."""
        # The tolerance lets 0.7 s at 30 frames/s, 20.999... frames in floats, fall on frame 21.
        if self._pending and self.reports[self._pending[0][0]].at * self._fps <= frame + 1e-6:
            index, garment = self._pending.popleft()
            now = time.perf_counter()
            self._asked.append((session.wear(garment, cutout=False), index, now))

    def obeyed(self, sequence: int, frame: int, now: float) -> None:
        """A chunk that starts at ``frame`` and follows all controls up to ``sequence`` came at time ``now``."""
        while self._asked and self._asked[0][0] <= sequence:
            _, index, asked = self._asked.popleft()
            self.reports[index] = SwitchReport(self.reports[index].at, frame, 1000 * (now - asked))


class _Sheet:
    """Collects the few frames that the contact sheet shows, one row for each garment worn."""

    def __init__(self, garments: Sequence[Frame], fps: float, total: int) -> None:
        self._garments = garments
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
