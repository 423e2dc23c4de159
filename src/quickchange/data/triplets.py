"""Real training data: folders of ``x.mp4``, ``x_src.png`` (reference), ``x_cloth.png`` (garment) and captions.

``captions.json`` lies in the folder or beside it. It maps the video's path below the folder to its two captions:
``{"a/x.mp4": {"dynamic": "...", "static": "..."}}``. A clip is the start of its video, because the reference shows the
video's first frame in other clothes (docs/method.md section 3). Video and reference are scaled and cropped alike, to
the bucket that crops least. The garment is placed on white (docs/method.md section 9), in the same box as in a stream.

A sample that cannot be used is left out, counted, and reported with the reason. No other sample replaces it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from numpy.typing import NDArray
from tqdm import tqdm

from quickchange.data.buckets import Size, choose_bucket
from quickchange.data.latents import Clips, Latents, encode_columns, to_float
from quickchange.errors import InputError
from quickchange.media.images import Box, fit_garment, fit_reference, load_image
from quickchange.model.codec import TEMPORAL, Codec

log = logging.getLogger(__name__)
VIDEO, REFERENCE, GARMENT, CAPTIONS = ".mp4", "_src.png", "_cloth.png", "captions.json"
SAME_SHAPE = 0.01  # greatest relative difference between the side ratios of a video and its reference
REPEATED = 0.1  # greatest share of repeated frames when a slow video is resampled to the model's rate


class BadSampleError(ValueError):
    """A sample cannot be used; the message gives the reason."""


@dataclass(frozen=True)
class Problem:
    """A sample that was left out.

    Attributes:
        name: path of the sample below the folder, without ending.
        reason: cause, for the report.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Triplet:
    """A sample whose files exist.

    Attributes:
        name: path below the folder, without ending.
        video: file of the video.
        reference: file of the reference.
        garment: file of the garment.
        prompts: (dynamic, static).
        size: its bucket.
    """

    name: str
    video: Path
    reference: Path
    garment: Path
    prompts: tuple[str, str]
    size: Size


@dataclass(frozen=True)
class Sample:
    """A decoded triplet.

    Attributes:
        video: uint8 [T, H, W, 3].
        reference: uint8 [H, W, 3].
        garment: uint8 [H, W, 3].
        prompts: (dynamic, static).
    """

    video: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    garment: NDArray[np.uint8]
    prompts: tuple[str, str]


def is_triplet_folder(folder: Path) -> bool:
    """Whether a file of a triplet exists in or below ``folder``."""
    return any(next(folder.rglob(f"*{ending}"), None) for ending in (VIDEO, REFERENCE, GARMENT))


class TripletFolder:
    """The triplets in and below a folder, in the order of their names. Iteration decodes them.

    Args:
        folder: see the module header.
        buckets: sizes that clips may have.
        fps: frames per second of the model.
        frames: length of a clip, 1 + 4 n.
        garment_box: target box of garments on their canvas, as in ``StreamConfig``.

    Attributes:
        triplets: samples whose files and captions exist; after an iteration, those that could be decoded.
        problems: all other samples.

    Raises:
        ValueError: ``frames`` is not 1 + 4 n, or the captions do not have the form of the module header.
    """

    def __init__(self, folder: Path, buckets: Sequence[Size], fps: float, frames: int, garment_box: Box) -> None:
        if frames % TEMPORAL != 1:
            raise ValueError(f"clips of {frames} frames; expected 1 + {TEMPORAL} n, e.g. 81")
        self.folder, self.buckets, self.fps, self.frames = folder, tuple(buckets), fps, frames
        self.garment_box = garment_box
        self.triplets: list[Triplet] = []
        self.problems: list[Problem] = []
        captions = _captions(folder)
        for name in _names(folder):
            try:
                self.triplets.append(self._triplet(name, captions))
            except BadSampleError as error:
                self.problems.append(Problem(name, str(error)))

    def _triplet(self, name: str, captions: dict[str, tuple[str, str]]) -> Triplet:
        video, reference, garment = (self.folder / f"{name}{ending}" for ending in (VIDEO, REFERENCE, GARMENT))
        for path in (video, reference, garment):
            if not path.is_file():
                raise BadSampleError(f"{path.name} is missing")
        prompts = captions.get(f"{name}{VIDEO}")
        if prompts is None:
            raise BadSampleError(f"no caption: {CAPTIONS} has no {name + VIDEO!r} with a dynamic and a static text")
        shape = _video_shape(video)
        size = choose_bucket(shape, self.buckets)
        _check_large("video", shape, size)
        return Triplet(name, video, reference, garment, prompts, size)

    def __iter__(self) -> Iterator[tuple[Triplet, Sample]]:
        good = []
        for triplet in tqdm(self.triplets, desc="read triplets", unit="clip"):
            try:
                sample = self.read(triplet)
            except BadSampleError as error:
                self.problems.append(Problem(triplet.name, str(error)))
            else:
                good.append(triplet)
                yield triplet, sample
        self.triplets = good

    def read(self, triplet: Triplet) -> Sample:
        """Decode one triplet at its bucket's size; BadSampleError if it cannot be used."""
        width, height = triplet.size
        box = self.garment_box
        reference, garment = _image("reference", triplet.reference), _image("garment", triplet.garment)
        tall, wide = reference.shape[:2]
        shape = _video_shape(triplet.video)
        if abs(wide * shape.height / (tall * shape.width) - 1) > SAME_SHAPE:
            raise BadSampleError(f"reference is {wide}x{tall}, video {shape}; expected the same shape")
        _check_large("reference", Size(wide, tall), triplet.size)
        return Sample(
            video=read_clip(triplet.video, triplet.size, self.fps, self.frames),
            reference=fit_reference(reference, width, height),
            garment=fit_garment(garment, np.ones(garment.shape[:2], np.float32), width, height, box),
            prompts=triplet.prompts,
        )

    def report(self) -> None:
        """Log every problem and the counts."""
        for problem in self.problems:
            log.warning("%s: left out: %s", problem.name, problem.reason)
        log.info("%s: %d triplets usable, %d left out", self.folder, len(self.triplets), len(self.problems))

    def origin(self) -> str:
        """Digest of all inputs of decoding: files (by name and size), captions, sizes, rate, length, box."""
        parts = [
            (t.name, t.prompts, t.size, *(p.stat().st_size for p in (t.video, t.reference, t.garment)))
            for t in self.triplets
        ]
        return hashlib.sha256(json.dumps([parts, self.fps, self.frames, self.garment_box]).encode()).hexdigest()


def _names(folder: Path) -> list[str]:
    found = set()
    for ending in (VIDEO, REFERENCE, GARMENT):
        found |= {p.relative_to(folder).as_posix().removesuffix(ending) for p in folder.rglob(f"*{ending}")}
    return sorted(found)


def _captions(folder: Path) -> dict[str, tuple[str, str]]:
    """(dynamic, static) by video, without incomplete entries. Empty if there is no file of captions."""
    path = next((p for p in (folder / CAPTIONS, folder.resolve().parent / CAPTIONS) if p.is_file()), None)
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f'{path} holds a {type(values).__name__}; expected {{"x.mp4": {{"dynamic": ..., ...}}}}')
    found = {}
    for key, entry in values.items():
        dynamic, static = (entry.get(k) if isinstance(entry, dict) else None for k in ("dynamic", "static"))
        if isinstance(dynamic, str) and isinstance(static, str) and dynamic.strip() and static.strip():
            found[key] = (dynamic, static)
    return found


def _check_large(what: str, shape: Size, bucket: Size) -> None:
    if shape.width < bucket.width or shape.height < bucket.height:
        raise BadSampleError(f"{what} is {shape}, smaller than its bucket {bucket}")


def _image(what: str, path: Path) -> NDArray[np.uint8]:
    try:
        return load_image(path)
    except InputError as error:
        raise BadSampleError(f"{what} {error}".replace(str(path), path.name)) from error


def _video_shape(path: Path) -> Size:
    try:
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            width, height = context.width, context.height
    except (FFmpegError, IndexError, ValueError) as error:
        raise BadSampleError(f"{path.name} cannot be read as a video: {type(error).__name__}") from error
    if not (width and height):
        raise BadSampleError(f"{path.name} has no frame size")
    return Size(width, height)


def read_clip(path: Path, size: Size, fps: float, frames: int) -> NDArray[np.uint8]:
    """Read the start of a video, resampled in time, scaled and centre-cropped.

    Args:
        path: of the video.
        size: of the result, pixels.
        fps: frames per second of the result.
        frames: number of frames of the result.

    Returns:
        uint8 [frames, H, W, 3].

    Raises:
        BadSampleError: the video is damaged, too short, too slow, without time stamps, or rotated by its metadata.
    """
    times: list[float] = []
    pictures: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.time is None or frame.rotation:
                    raise BadSampleError(
                        f"{path.name} has no time stamps, or is turned by its metadata: encode it anew"
                    )
                times.append(frame.time)
                rgb = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                pictures.append(fit_reference(rgb, size.width, size.height))
                if times[-1] - times[0] >= frames / fps:
                    break
    except (FFmpegError, IndexError) as error:
        raise BadSampleError(f"{path.name} is damaged after {len(times)} frames: {type(error).__name__}") from error
    chosen = resample(times, fps, frames)
    if len(set(chosen)) < (1 - REPEATED) * frames:
        raise BadSampleError(
            f"{path.name} has {len(set(chosen))} of {frames} frames needed at {fps:g} frames/s: too slow"
        )
    return np.stack([pictures[i] for i in chosen])


def resample(times: Sequence[float], fps: float, frames: int) -> list[int]:
    """Resample in time: find the nearest frame for moments at a constant rate, the first at ``times[0]``.

    Args:
        times: of the frames, seconds, ascending.
        fps: moments per second.
        frames: number of moments. The last one may lie behind the last frame by half the mean distance of frames.

    Returns:
        Indices into ``times``, one per moment.

    Raises:
        BadSampleError: the video ends before the last moment.
    """
    if not times:
        raise BadSampleError("the video has no frames")
    at = np.asarray(times, np.float64) - times[0]
    moments = np.arange(frames) / fps
    lasts = at[-1] / (len(at) - 1) if len(at) > 1 else 0.0
    if moments[-1] > at[-1] + lasts / 2 + 1e-6:
        raise BadSampleError(
            f"too short: {len(at)} frames, {at[-1] + lasts:.2f} s; clips of {frames} frames last {frames / fps:.2f} s"
        )
    return [int(i) for i in np.abs(at[None] - moments[:, None]).argmin(1)]


@torch.no_grad()
def encode_triplets(folder: TripletFolder, codec: Codec, device: torch.device) -> list[Latents]:
    """Encode a folder and log the report.

    Unlike rendered clips, triplets are not mirrored, because that would mirror letters on clothes as well.

    Returns:
        One ``Latents`` per size that occurs, in the order of the buckets.

    Raises:
        ValueError: no sample is usable.
    """
    columns: dict[Size, list[dict[str, torch.Tensor]]] = {size: [] for size in folder.buckets}
    prompts: dict[Size, list[tuple[str, str]]] = {size: [] for size in folder.buckets}
    for triplet, sample in folder:
        video, reference, garment = (
            to_float(x)[None].to(device) for x in (sample.video, sample.reference[None], sample.garment[None])
        )
        columns[triplet.size].append(encode_columns(codec, video, reference, garment))
        prompts[triplet.size].append(sample.prompts)
    folder.report()
    _require(folder)
    return [
        Latents(**{k: torch.cat([row[k] for row in rows]) for k in rows[0]}, prompts=prompts[size])
        for size, rows in columns.items()
        if rows
    ]


def triplet_clips(folder: TripletFolder) -> Clips:
    """Read a folder with one bucket into memory, as pixels to train the codec.

    All labels are 0 (background), so no part of the picture weighs more than another.

    Raises:
        ValueError: several buckets, or no usable sample.
    """
    if len(folder.buckets) != 1:
        raise ValueError(f"clips in memory have one size; got {len(folder.buckets)} buckets")
    samples = [sample for _, sample in folder]
    folder.report()
    _require(folder)
    video, reference, garment = (np.stack([getattr(s, k) for s in samples]) for k in ("video", "reference", "garment"))
    ids = np.zeros(video.shape[:-1], np.uint8)
    return Clips(video, ids, reference, garment, [s.prompts for s in samples], list(range(len(samples))))


def _require(folder: TripletFolder) -> None:
    if not folder.triplets:
        first = folder.problems[0] if folder.problems else Problem("it", "no file of a triplet is there")
        raise ValueError(
            f"{folder.folder} has no usable triplet; {len(folder.problems)} left out, e.g. {first.name}: {first.reason}"
        )
