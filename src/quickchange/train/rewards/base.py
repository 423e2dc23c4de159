"""The interface of a reward, and how its scores become weights of chunks (docs/method.md section 5)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Reward(Protocol):
    """Scores frames. Higher is better; the scale is set against the temperature tau."""

    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        """Score the frames of a rollout, in [-1, 1], given the image that it started from: [B, T]."""
        ...


def chunk_scores(scores_BT: Tensor, chunk: int, temporal: int) -> Tensor:
    """Mean reward of every chunk, [B, chunks]: frames are averaged to latents, latents to chunks."""
    later = scores_BT[:, 1:].unflatten(1, (-1, temporal)).mean(2)
    per_latent = torch.cat([scores_BT[:, :1], later], 1)
    return per_latent.unflatten(1, (-1, chunk)).mean(2)


def chunk_weights(scores_BK: Tensor, tau: float) -> Tensor:
    """Weight of every chunk: softmax(-R / tau) over chunks, times their number (mean 1); docs/method.md section 5.

    Args:
        scores_BK: ``chunk_scores``.
        tau: temperature, > 0; smaller concentrates on the worst chunk.

    Returns:
        [B, chunks].
    """
    return torch.softmax(-scores_BK / tau, 1) * scores_BK.shape[1]
