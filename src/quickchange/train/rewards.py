"""Rewards that tell good frames from worn ones; they set how much each chunk's gradient counts."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Reward(Protocol):
    """Scores frames. Higher is better; the scale is set against the temperature tau."""

    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        """frames in [-1, 1] of a rollout, the image it started from -> [B, T]."""
        ...


def detail(frames_NCHW: Tensor) -> Tensor:
    """Mean absolute Laplacian per image, [N]: falls with blur, rises with grain."""
    kernel = frames_NCHW.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return F.conv2d(frames_NCHW.mean(1, keepdim=True), kernel).abs().mean((1, 2, 3))


class DetailReward:
    """Keeps the reference's amount of detail: ``-|log(detail of frame / detail of reference)|``, at most 0."""

    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        frames = detail(frames_BCTHW.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(frames_BCTHW), -1))
        return -torch.log((frames + 1e-4) / (detail(reference_BCHW)[:, None] + 1e-4)).abs()


def chunk_weights(scores_BT: Tensor, chunk: int, temporal: int, tau: float) -> Tensor:
    """Weight of every chunk: softmax(-R / tau) over chunks, times their number (mean 1); METHOD section 5.

    Args:
        scores_BT: reward per frame of a segment, 1 + temporal * (latents - 1) frames.
        chunk: latent frames per chunk. temporal: frames per latent after the first.
        tau: temperature, > 0; smaller concentrates on the worst chunk.

    Returns:
        [B, chunks].
    """
    later = scores_BT[:, 1:].unflatten(1, (-1, temporal)).mean(2)
    per_latent = torch.cat([scores_BT[:, :1], later], 1)
    per_chunk = per_latent.unflatten(1, (-1, chunk)).mean(2)
    return torch.softmax(-per_chunk / tau, 1) * per_chunk.shape[1]
