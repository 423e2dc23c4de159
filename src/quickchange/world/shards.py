"""Data sets on disk: shards of clips.

Several processes write them, and an interrupted run can be resumed. Reading needs no torch. A shard is an uncompressed
tar. The names of a clip's members are `{seed:08d}` followed by

    .json            spec, prompt, fps, picture size, number of frames
    .video.mkv       frames, lossless FFV1       .ids.mkv     labels, lossless FFV1 (grey)
    .reference.png   .reference_ids.png          .garment.png
    .keypoints.npy   f32[T,17,3]
    .video_b.mkv .ids_b.mkv .garment_b.png       only where the second garment was rendered too
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import queue
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from quickchange.files import atomic_path, write_json_atomic
from quickchange.world.clip import Clip, Prompt, render_clip
from quickchange.world.render import Renderer
from quickchange.world.sampling import sample_spec
from quickchange.world.spec import ClipSpec, Difficulty

MAX_MEMBER_BYTES = 1 << 30
MAX_PIXELS = 1 << 32  # frames x height x width of one clip
# One thread per process, because the processes already use all cores.
SINGLE_THREAD = {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class ShardJob:
    """Order for one shard; the fields are those of `render_shards`."""

    path: Path
    seeds: range
    size: tuple[int, int]
    frames: int
    fps: float
    difficulty: Difficulty
    supersampling: float
    both: bool


def encode_video(frames: NDArray[np.uint8], fps: float) -> bytes:
    """Encode frames u8[T,H,W,3] or labels u8[T,H,W] as lossless FFV1 in Matroska."""
    buffer = io.BytesIO()
    colour = frames.ndim == 4
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=max(1, round(fps)))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if colour else "gray"
        stream.codec_context.thread_count = 1
        stream.options = {"level": "3", "slicecrc": "0", "coder": "1", "context": "1" if colour else "0"}
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if colour else "gray")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_video(data: bytes, grey: bool) -> NDArray[np.uint8]:
    """Decode a video that `encode_video` made.

    Args:
        data: the bytes of the file.
        grey: True for labels.

    Returns:
        u8[T,H,W,3], or u8[T,H,W] for labels.

    Raises:
        ValueError: no video, a video without frames, or one of more than `MAX_PIXELS` pixels.
    """
    frames: list[NDArray[np.uint8]] = []
    with av.open(io.BytesIO(data), "r") as container:
        if not container.streams.video:
            raise ValueError("shard member: expected a video stream, found none")
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            if (len(frames) + 1) * frame.width * frame.height > MAX_PIXELS:
                raise ValueError(f"shard member: video above the limit of {MAX_PIXELS} pixels")
            # One thread: pictures are small, and sharing them among threads costs more than it saves.
            picture = frame.reformat(format="gray" if grey else "rgb24", threads=1)
            frames.append(picture.to_ndarray().astype(np.uint8, copy=False))
    if not frames:
        raise ValueError("shard member: video without frames")
    return np.stack(frames)


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _members(clip: Clip) -> dict[str, bytes]:
    meta = {
        "spec": json.loads(clip.spec.to_json()), "fps": clip.fps, "frames": len(clip.frames),
        "height": clip.frames.shape[1], "width": clip.frames.shape[2],
        "prompt": {"dynamic": clip.prompt.dynamic, "static": clip.prompt.static},
    }  # fmt: skip
    members = {
        "json": json.dumps(meta, separators=(",", ":")).encode(),
        "video.mkv": encode_video(clip.frames, clip.fps),
        "ids.mkv": encode_video(clip.ids, clip.fps),
        "reference.png": _png(clip.reference),
        "reference_ids.png": _png(clip.reference_ids),
        "garment.png": _png(clip.garment),
        "keypoints.npy": _npy(clip.keypoints),
    }
    if clip.frames_b is not None and clip.ids_b is not None and clip.garment_b is not None:
        members["video_b.mkv"] = encode_video(clip.frames_b, clip.fps)
        members["ids_b.mkv"] = encode_video(clip.ids_b, clip.fps)
        members["garment_b.png"] = _png(clip.garment_b)
    return members


_renderers: dict[tuple[int, int, float], Renderer] = {}


def _render_shard(job: ShardJob, progress: Any = None) -> Path:
    """Render one shard. The file has its name only once it is complete."""
    key = (*job.size, job.supersampling)
    if key not in _renderers:
        _renderers[key] = Renderer(*job.size, supersampling=job.supersampling)
    with atomic_path(job.path) as partial, tarfile.open(partial, "w") as tar:
        for seed in job.seeds:
            clip = render_clip(_renderers[key], sample_spec(seed, job.difficulty), job.frames, job.fps, both=job.both)
            for name, data in _members(clip).items():
                info = tarfile.TarInfo(f"{seed:08d}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            if progress is not None:
                progress.put(1)
    return job.path


def render_shards(out: Path, seed: int, count: int, size: tuple[int, int] = (96, 128), frames: int = 33,
                  fps: float = 24.0, difficulty: Difficulty = "easy", processes: int = 2, clips_per_shard: int = 50,
                  supersampling: float = 2.0, both: bool = False, quiet: bool = False) -> list[Path]:  # fmt: skip
    """Render the clips of seeds `seed` .. `seed + count - 1` into shards.

    Shard n holds `clips_per_shard` consecutive seeds from `seed + n * clips_per_shard` on. Complete shards that exist
    are kept. So the same call again resumes an interrupted run, and a larger `count` extends a data set. Partial files
    of killed workers are removed.

    Args:
        out: folder for `shard-000000.tar`, ... and `dataset.json`.
        seed: of the first clip.
        count: number of clips, at least 1.
        size: (width, height), pixels.
        frames: number of frames per clip.
        fps: frames per second.
        difficulty: see `sample_spec`.
        processes: number of processes that render, at least 1.
        clips_per_shard: number of clips per file, at least 1; the last file may hold fewer.
        supersampling: samples per pixel and direction.
        both: render every clip in its second garment as well, as paired ground truth for switches.
        quiet: show no progress bar.

    Returns:
        The paths of all shards of the data set.

    Raises:
        ValueError: a count below 1, or `out` holds a data set made with other settings.
        RuntimeError: no OpenGL context can be made.
    """
    if min(count, processes, clips_per_shard) < 1:
        raise ValueError(f"render_shards: count, processes and clips_per_shard must be at least 1, "
                         f"got {count}, {processes}, {clips_per_shard}")  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(out, {
        "seed": seed, "size": list(size), "frames": frames, "fps": float(fps), "difficulty": difficulty,
        "clips_per_shard": clips_per_shard, "supersampling": float(supersampling), "both": both,
    })  # fmt: skip
    for leftover in out.glob(".shard-*.tar"):
        leftover.unlink(missing_ok=True)
    shards = [out / f"shard-{n:06d}.tar" for n in range(-(-count // clips_per_shard))]
    jobs = []
    for n, path in enumerate(shards):
        first = seed + n * clips_per_shard
        seeds = range(first, min(first + clips_per_shard, seed + count))
        # The last shard of an earlier, smaller request may be shorter: it is rendered again in full.
        if not path.exists() or _clips_in(path) < len(seeds):
            jobs.append(ShardJob(path, seeds, size, frames, fps, difficulty, supersampling, both))
    with tqdm(total=count, initial=count - sum(len(job.seeds) for job in jobs), unit="clip", disable=quiet) as bar:
        _run(jobs, min(processes, len(jobs)), bar)
    return shards


def _clips_in(path: Path) -> int:
    with tarfile.open(path, "r:") as tar:
        return sum(name.endswith(".json") for name in tar.getnames())


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings next to the shards, or compare them with those on disk."""
    path = out / "dataset.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found != settings:
            raise ValueError(f"{path}: holds a data set made with {found}, asked for {settings}; "
                             "choose another folder or the same settings")  # fmt: skip
        return
    write_json_atomic(path, settings)


def _run(jobs: list[ShardJob], processes: int, bar: Any) -> None:
    if not jobs:
        return
    before = {name: os.environ.get(name) for name in SINGLE_THREAD}
    os.environ.update(SINGLE_THREAD)  # spawned workers inherit these before they load any library
    try:
        context = multiprocessing.get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(processes, mp_context=context) as pool:
            progress = manager.Queue()
            waiting = {pool.submit(_render_shard, job, progress) for job in jobs}
            try:
                while waiting:
                    done = {future for future in waiting if future.done()}
                    waiting -= done
                    for future in done:
                        future.result()
                    _drain(progress, bar)
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise
            _drain(progress, bar)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _drain(progress: Any, bar: Any) -> None:
    """Advance the bar by the finished clips; wait up to half a second for the first one."""
    try:
        bar.update(progress.get(timeout=0.5))
        while True:
            bar.update(progress.get_nowait())
    except queue.Empty:
        return


def read_shard(path: Path) -> Iterator[Clip]:
    """Read the clips of one shard, in order.

    Raises:
        ValueError: a member is too large, missing or malformed.
    """
    members: dict[str, bytes] = {}
    current = ""
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            stem, _, name = info.name.partition(".")
            if not info.isfile() or info.size > MAX_MEMBER_BYTES:
                raise ValueError(f"{path}: member {info.name!r} is no plain file below {MAX_MEMBER_BYTES} bytes")
            if stem != current and members:
                yield _clip(path, current, members)
                members = {}
            current = stem
            stream = tar.extractfile(info)
            members[name] = stream.read() if stream is not None else b""
    if members:
        yield _clip(path, current, members)


def _clip(path: Path, stem: str, members: dict[str, bytes]) -> Clip:
    try:
        meta = json.loads(members["json"])
        video = {name: decode_video(members[f"{name}.mkv"], grey=name.startswith("ids"))
                 for name in ("video", "ids", "video_b", "ids_b") if f"{name}.mkv" in members}  # fmt: skip
        image = {name: np.asarray(Image.open(io.BytesIO(members[f"{name}.png"])))
                 for name in ("reference", "reference_ids", "garment", "garment_b")
                 if f"{name}.png" in members}  # fmt: skip
        return Clip(
            spec=ClipSpec.from_json(json.dumps(meta["spec"])), fps=float(meta["fps"]),
            prompt=Prompt(str(meta["prompt"]["dynamic"]), str(meta["prompt"]["static"])), frames=video["video"],
            ids=video["ids"], reference=image["reference"], reference_ids=image["reference_ids"],
            garment=image["garment"],
            keypoints=np.load(io.BytesIO(members["keypoints.npy"]), allow_pickle=False).astype(np.float32),
            frames_b=video.get("video_b"), ids_b=video.get("ids_b"), garment_b=image.get("garment_b"),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: clip {stem} is incomplete or malformed ({error})") from error
