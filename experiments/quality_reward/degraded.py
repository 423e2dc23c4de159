"""Worn frames with a known truth, for learning and judging a quality reward.

A model's free stream soon moves otherwise than the clip it started from, so its frames have no truth. Three families
do: the clip's frames after synthetic wear; after a trip through the codec; and chunks that the model generates from the
clip's *true* past (teacher forcing), whose true continuation is known. What still moves differently in the third is
taken out by ``aligned_error``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quickchange.cache import KVCache
from quickchange.data.latents import to_float
from quickchange.engine.components import Components
from quickchange.engine.rollout import Rollout
from quickchange.evaluate.types import Frame, Frames
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.train.plots import to_uint8
from quickchange.world.clip import Clip

WINDOW = 7  # pixels over which errors are local
JUST_WRONG = 25.0  # L*a*b* distance that counts as fully wrong
WEAR = ("blur", "fading", "contrast", "ghosting", "noise", "blocks", "tint")


@dataclass(frozen=True)
class WornFrames:
    """Frames of one family. frames u8 [N, H, W, 3]; truth u8 [N, H, W, 3] and person bool [N, H, W], or None where
    there is no truth; clip: index of the clip each belongs to [N]; depth: chunk of the stream, from 0 [N]."""

    family: str
    frames: Frames
    clip: NDArray[np.int64]
    depth: NDArray[np.int64]
    truth: Frames | None = None
    person: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.frames)


def to_lab(frames_NHWC: Frames) -> Tensor:
    """u8 [N, H, W, 3] -> CIE L*a*b* (D65), float32 [N, 3, H, W]."""
    tall = frames_NHWC.reshape(-1, *frames_NHWC.shape[2:]).astype(np.float32) / 255
    lab = cv2.cvtColor(tall, cv2.COLOR_RGB2LAB).reshape(frames_NHWC.shape)
    return torch.from_numpy(np.ascontiguousarray(lab.transpose(0, 3, 1, 2), np.float32))


def _local(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, 2)


def aligned_error(frames: Frames, truth: Frames, person: NDArray[np.bool_], reach: int = 4) -> NDArray[np.float32]:
    """Error of the person after local motion compensation, [N], 0 (equal) to about 1.

    Half of it is 1 - SSIM of lightness, half the L*a*b* distance in units of ``JUST_WRONG`` (at most 1), both over
    7-pixel windows; every window takes its best match within ``reach`` pixels; mean over windows on the person.

    Args:
        frames, truth: u8 [N, H, W, 3]. person: where the person is in ``truth`` [N, H, W].
        reach: pixels, even; 0 compares in place.
    """
    a, b = to_lab(frames), to_lab(truth)
    padded = F.pad(a, (reach,) * 4, mode="replicate")
    height, width = a.shape[2:]
    mean_b, square_b = _local(b[:, :1]), _local(b[:, :1].square())
    best: Tensor | None = None
    for dy in range(0, 2 * reach + 1, 2):
        for dx in range(0, 2 * reach + 1, 2):
            x = padded[:, :, dy : dy + height, dx : dx + width]
            mean_a = _local(x[:, :1])
            spread = _local(x[:, :1].square()) - mean_a.square() + square_b - mean_b.square()
            both = _local(x[:, :1] * b[:, :1]) - mean_a * mean_b
            # The usual constants, for L in 0..100.
            ssim = ((2 * mean_a * mean_b + 1) * (2 * both + 9)) / (
                (mean_a.square() + mean_b.square() + 1) * (spread + 9)
            )
            colour = (_local((x - b).square().sum(1, keepdim=True)).sqrt() / JUST_WRONG).clamp(max=1)
            cost = (1 - ssim + colour) / 2
            best = cost if best is None else torch.minimum(best, cost)
    if best is None:
        raise ValueError(f"reach is {reach}; expected 0 or more pixels")
    weight = _local(torch.from_numpy(person.astype(np.float32))[:, None])
    return ((best * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)).numpy()


def wear(frame: Frame, kind: str, strength: float, ghost: Frame) -> Frame:
    """One frame with one kind of damage, ``strength`` in (0, 1]; ``ghost`` is what shows through in "ghosting"."""
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
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(WEAR)}")
    return np.asarray(x.round().clip(0, 255), np.uint8)


def _videos(clips: Sequence[Clip]) -> Tensor:
    return to_float(np.stack([clip.frames for clip in clips]))


def _pictures(frames_BCTHW: Tensor) -> Frames:
    """u8 [B, T, H, W, 3]."""
    return np.stack([to_uint8(clip) for clip in frames_BCTHW])


def _with_truth(
    family: str, clips: Sequence[Clip], worn: Frames, times: NDArray[np.int64], depth: NDArray[np.int64]
) -> WornFrames:
    """``worn`` [B, T, H, W, 3] shows the clips' frames ``times`` [T], generated in chunks ``depth`` [T]."""
    count, length = worn.shape[:2]
    return WornFrames(
        family,
        worn.reshape(-1, *worn.shape[2:]),
        np.repeat(np.arange(count), length),
        np.tile(depth, count),
        np.concatenate([clip.frames[times] for clip in clips]),
        np.concatenate([clip.ids[times] != 0 for clip in clips]),
    )


def true_frames(clips: Sequence[Clip], times: Iterable[int]) -> WornFrames:
    """The clips' own frames: error 0."""
    at = np.array(list(times))
    return _with_truth("true", clips, np.stack([clip.frames[at] for clip in clips]), at, 0 * at)


def synthetic(clips: Sequence[Clip], times: Iterable[int], rng: np.random.Generator) -> list[WornFrames]:
    """Every kind of ``WEAR`` at a strength drawn per frame; ghosts are the same clip four frames earlier or later."""
    at = np.array(list(times))
    families = []
    for kind in WEAR:
        worn = [
            [
                wear(clip.frames[t], kind, float(rng.uniform(0.05, 1)), clip.frames[t - 4 if t >= 4 else t + 4])
                for t in at
            ]
            for clip in clips
        ]
        families.append(_with_truth(kind, clips, np.asarray(worn, np.uint8), at, 0 * at))
    return families


@torch.inference_mode()
def round_trips(clips: Sequence[Clip], components: Components, times: Iterable[int]) -> WornFrames:
    """The clips' frames after codec and back."""
    at, codec = np.array(list(times)), components.codec
    out = _pictures(codec.decode(codec.encode(_videos(clips)), codec.new_state()))
    return _with_truth("codec", clips, out[:, at], at, 0 * at)


def open_rollout(components: Components, clips: Sequence[Clip]) -> Rollout:
    """A rollout over a batch of clips (network in float32), conditioned on each one's reference, garment and prompt."""
    network, codec, stream = components.transformer, components.codec, components.stream
    c = network.config
    grid = network.token_grid(stream.height // codec.spatial, stream.width // codec.spatial)
    rotary = RotaryEmbedding(c.attention_head_dim, grid, theta=c.rope_theta)
    cache = KVCache(components.cache_config(rotary.tokens_per_frame), rotary, batch=len(clips))
    rollout = Rollout(network, cache, stream.schedule())
    hidden = components.prompts.encode([clip.prompt.dynamic for clip in clips]).hidden_BTE
    rollout.say(network.embed_text(hidden))
    reference, garment = (
        codec.encode(to_float(np.stack([getattr(clip, name)[None] for clip in clips]))).float()
        for name in ("reference", "garment")
    )
    rollout.conditions(reference, garment)
    return rollout


@torch.inference_mode()
def next_chunks(clips: Sequence[Clip], components: Components, steps: int, seed: int, stride: int = 3) -> WornFrames:
    """Every chunk generated from its clip's true past with ``steps`` denoising steps; every ``stride``-th frame."""
    codec, chunk = components.codec, components.stream.chunk
    latents = codec.encode(_videos(clips)).float()
    worn, times, depth = [], [], []
    for number in range(latents.shape[2] // chunk):
        rollout, past = open_rollout(components, clips), latents[:, :, : number * chunk]
        if number:
            rollout.recache(past.split(chunk, 2))
        made = rollout.chunk(torch.Generator().manual_seed(seed + number), steps=steps)
        state = codec.new_state()
        if number:
            codec.decode(past, state)
        frames = _pictures(codec.decode(made, state))
        first = 0 if number == 0 else 1 + codec.temporal * (number * chunk - 1)
        picks = np.arange(stride - 1, frames.shape[1], stride)
        worn.append(frames[:, picks])
        times.append(first + picks)
        depth.append(np.full(len(picks), number))
    return _with_truth(
        f"next chunk, {steps} steps", clips, np.concatenate(worn, 1), np.concatenate(times), np.concatenate(depth)
    )


@torch.inference_mode()
def streams(clips: Sequence[Clip], components: Components, chunks: int, seed: int, stride: int = 6) -> WornFrames:
    """Free streams of ``chunks`` chunks from each clip's conditions; every ``stride``-th frame. No truth."""
    rollout, codec = open_rollout(components, clips), components.codec
    generator, state = torch.Generator().manual_seed(seed), codec.new_state()
    worn, depth = [], []
    for number in range(chunks):
        frames = _pictures(codec.decode(rollout.chunk(generator), state))[:, stride - 1 :: stride]
        worn.append(frames)
        depth += [number] * frames.shape[1]
    together = np.concatenate(worn, 1)
    count, length = together.shape[:2]
    clip = np.repeat(np.arange(count), length)
    return WornFrames("stream", together.reshape(-1, *together.shape[2:]), clip, np.tile(np.array(depth), count))


def in_batches(clips: Sequence[Clip], make: Callable[[Sequence[Clip], int], WornFrames], batch: int = 16) -> WornFrames:
    """``make(part of the clips, number of its first clip)`` part by part, joined."""
    starts = range(0, len(clips), batch)
    parts = [make(clips[i : i + batch], i) for i in starts]
    truths = [part.truth for part in parts if part.truth is not None]
    people = [part.person for part in parts if part.person is not None]
    return WornFrames(
        parts[0].family,
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.clip + i for part, i in zip(parts, starts, strict=True)]),
        np.concatenate([part.depth for part in parts]),
        np.concatenate(truths) if truths else None,
        np.concatenate(people) if people else None,
    )
