"""Degraded frames with a known truth, for training and measuring a quality reward.

A model's free stream soon moves otherwise than the clip it started from, so its frames have no truth. Three families
do: the clip's frames after a synthetic degradation; the clip's frames after codec and back; and chunks that the model
generates from the clip's *true* past (teacher forcing), whose true continuation is known. Motion still differs a little
in the third; ``aligned_error`` compensates for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.data.latents import to_float
from quickchange.engine.components import Components
from quickchange.engine.rollout import Rollout
from quickchange.evaluate.types import Frame, Frames
from quickchange.train.plots import to_uint8
from quickchange.world.clip import Clip

DEGRADATIONS = ("blur", "fading", "contrast", "ghosting", "noise", "blocks", "tint")


@dataclass(frozen=True)
class DegradedFrames:
    """Frames of one family.

    Attributes:
        family: how the frames were degraded.
        frames: u8[N, H, W, 3].
        clip: i64[N], index of the clip that each frame belongs to.
        depth: i64[N], chunk of the stream, from 0.
        truth: u8[N, H, W, 3]; None for free streams.
        person: bool[N, H, W], where the person is in ``truth``; None for free streams.
    """

    family: str
    frames: Frames
    clip: NDArray[np.int64]
    depth: NDArray[np.int64]
    truth: Frames | None = None
    person: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.frames)


def degrade(frame: Frame, kind: str, strength: float, ghost: Frame) -> Frame:
    """Degrade one frame.

    Args:
        frame: u8[H, W, 3].
        kind: one of ``DEGRADATIONS``.
        strength: in (0, 1].
        ghost: u8[H, W, 3], the picture that shows through in "ghosting".

    Raises:
        ValueError: an unknown kind.
    """
    x: NDArray[np.floating] = frame.astype(np.float32)
    if kind == "blur":
        x = cv2.GaussianBlur(x, (0, 0), 0.4 + 2.6 * strength)
    elif kind == "fading":
        x = x + 0.7 * strength * (x.mean((0, 1)) - x)
    elif kind == "contrast":
        x = (x - 128) * (1 + 0.9 * strength) + 128
    elif kind == "ghosting":
        x = x + 0.5 * strength * (ghost.astype(np.float32) - x)
    elif kind == "noise":
        seed = np.random.default_rng(int(frame.sum()) % 2**32)
        x = x + seed.normal(0, 30 * strength, x.shape)
    elif kind == "blocks":
        height, width = x.shape[:2]
        size = 1 + 5 * strength
        small = cv2.resize(x, (round(width / size), round(height / size)), interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    elif kind == "tint":
        shift = np.random.default_rng(int(frame.sum()) % 2**32).normal(0, 1, 3)
        x = x + 45 * strength * shift / np.linalg.norm(shift)
    else:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(DEGRADATIONS)}")
    return np.asarray(x.round().clip(0, 255), np.uint8)


def _videos(clips: Sequence[Clip]) -> Tensor:
    return to_float(np.stack([clip.frames for clip in clips]))


def _pictures(frames_BCTHW: Tensor) -> Frames:
    """u8 [B, T, H, W, 3]."""
    return np.stack([to_uint8(clip) for clip in frames_BCTHW])


def _with_truth(
    family: str, clips: Sequence[Clip], degraded: Frames, times: NDArray[np.int64], depth: NDArray[np.int64]
) -> DegradedFrames:
    """Pair degraded videos with their truth.

    Args:
        family: of the result.
        clips: B clips.
        degraded: u8[B, T, H, W, 3].
        times: i64[T], which frames of the clips they show.
        depth: i64[T], chunk in which each was generated.
    """
    count, length = degraded.shape[:2]
    return DegradedFrames(
        family,
        degraded.reshape(-1, *degraded.shape[2:]),
        np.repeat(np.arange(count), length),
        np.tile(depth, count),
        np.concatenate([clip.frames[times] for clip in clips]),
        np.concatenate([clip.ids[times] != 0 for clip in clips]),
    )


def true_frames(clips: Sequence[Clip], times: Iterable[int]) -> DegradedFrames:
    """The clips' own frames ``times``, whose error is 0."""
    at = np.array(list(times))
    return _with_truth("true", clips, np.stack([clip.frames[at] for clip in clips]), at, 0 * at)


def synthetic(clips: Sequence[Clip], times: Iterable[int], rng: np.random.Generator) -> list[DegradedFrames]:
    """One family per kind of ``DEGRADATIONS``, at a strength drawn per frame.

    Ghosts are the same clip four frames earlier, or later where there is no earlier one.

    Args:
        clips: each with frames at ``times`` and four frames after them.
        times: frames to degrade.
        rng: draws the strengths.
    """
    at = np.array(list(times))
    families = []
    for kind in DEGRADATIONS:
        degraded = [
            [
                degrade(clip.frames[t], kind, float(rng.uniform(0.05, 1)), clip.frames[t - 4 if t >= 4 else t + 4])
                for t in at
            ]
            for clip in clips
        ]
        families.append(_with_truth(kind, clips, np.asarray(degraded, np.uint8), at, 0 * at))
    return families


@torch.inference_mode()
def round_trips(clips: Sequence[Clip], components: Components, times: Iterable[int]) -> DegradedFrames:
    """The clips' frames ``times`` after codec and back."""
    at, codec = np.array(list(times)), components.codec
    out = _pictures(codec.decode(codec.encode(_videos(clips)), codec.new_state()))
    return _with_truth("codec", clips, out[:, at], at, 0 * at)


def conditioned_rollout(components: Components, clips: Sequence[Clip]) -> Rollout:
    """A rollout over a batch of clips, conditioned on each clip's reference, garment and prompt.

    Args:
        components: with the transformer in float32.
        clips: one row of the batch each.
    """
    network, codec = components.transformer, components.codec
    rollout = components.open_rollout(batch=len(clips))
    hidden = components.prompts.encode([clip.prompt.dynamic for clip in clips]).hidden_BTE
    rollout.say(network.embed_text(hidden))
    reference, garment = (
        codec.encode(to_float(np.stack([getattr(clip, name)[None] for clip in clips]))).float()
        for name in ("reference", "garment")
    )
    rollout.conditions(reference, garment)
    return rollout


@torch.inference_mode()
def next_chunks(
    clips: Sequence[Clip], components: Components, steps: int, seed: int, stride: int = 3
) -> DegradedFrames:
    """Generate every chunk from its clip's true past and keep every ``stride``-th frame.

    Args:
        clips: in equal lengths, whole chunks.
        components: with the transformer in float32.
        steps: denoising steps.
        seed: of the first chunk's noise; the next chunks count up from it.
        stride: frames.
    """
    codec, chunk = components.codec, components.stream.chunk
    latents = codec.encode(_videos(clips)).float()
    degraded, times, depth = [], [], []
    for number in range(latents.shape[2] // chunk):
        rollout, past = conditioned_rollout(components, clips), latents[:, :, : number * chunk]
        if number:
            rollout.recache(past.split(chunk, 2))
        made = rollout.chunk(torch.Generator().manual_seed(seed + number), steps=steps)
        state = codec.new_state()
        if number:
            codec.decode(past, state)
        frames = _pictures(codec.decode(made, state))
        first = 0 if number == 0 else 1 + codec.temporal * (number * chunk - 1)
        picks = np.arange(stride - 1, frames.shape[1], stride)
        degraded.append(frames[:, picks])
        times.append(first + picks)
        depth.append(np.full(len(picks), number))
    return _with_truth(
        f"next chunk, {steps} steps", clips, np.concatenate(degraded, 1), np.concatenate(times), np.concatenate(depth)
    )


@torch.inference_mode()
def streams(clips: Sequence[Clip], components: Components, chunks: int, seed: int, stride: int = 6) -> DegradedFrames:
    """Stream ``chunks`` chunks from each clip's conditions and keep every ``stride``-th frame; no truth.

    Args:
        clips: whose conditions are used.
        components: with the transformer in float32.
        chunks: per stream.
        seed: of the noise.
        stride: frames.
    """
    rollout, codec = conditioned_rollout(components, clips), components.codec
    generator, state = torch.Generator().manual_seed(seed), codec.new_state()
    degraded, depth = [], []
    for number in range(chunks):
        frames = _pictures(codec.decode(rollout.chunk(generator), state))[:, stride - 1 :: stride]
        degraded.append(frames)
        depth += [number] * frames.shape[1]
    together = np.concatenate(degraded, 1)
    count, length = together.shape[:2]
    clip = np.repeat(np.arange(count), length)
    return DegradedFrames("stream", together.reshape(-1, *together.shape[2:]), clip, np.tile(np.array(depth), count))


def in_batches(
    clips: Sequence[Clip], make: Callable[[Sequence[Clip], int], DegradedFrames], batch: int = 16
) -> DegradedFrames:
    """Apply ``make`` to parts of the clips and join the results.

    Args:
        clips: all.
        make: called with a part of the clips and the index of its first clip.
        batch: clips in a part.
    """
    starts = range(0, len(clips), batch)
    parts = [make(clips[i : i + batch], i) for i in starts]
    truths = [part.truth for part in parts if part.truth is not None]
    people = [part.person for part in parts if part.person is not None]
    return DegradedFrames(
        parts[0].family,
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.clip + i for part, i in zip(parts, starts, strict=True)]),
        np.concatenate([part.depth for part in parts]),
        np.concatenate(truths) if truths else None,
        np.concatenate(people) if people else None,
    )
