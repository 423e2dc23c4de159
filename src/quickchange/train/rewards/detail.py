"""The reward without weights: keeps the reference's amount of detail."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def detail(frames_NCHW: Tensor) -> Tensor:
    """Mean absolute Laplacian per image, [N]: falls with blur, rises with grain."""
    kernel = frames_NCHW.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return F.conv2d(frames_NCHW.mean(1, keepdim=True), kernel).abs().mean((1, 2, 3))


class DetailReward:
    """Keeps the reference's amount of detail: ``-|log(detail of frame / detail of reference)|``, at most 0."""

    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        """Minus the difference in detail to the reference, [B, T]."""
        frames = detail(frames_BCTHW.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(frames_BCTHW), -1))
        return -torch.log((frames + 1e-4) / (detail(reference_BCHW)[:, None] + 1e-4)).abs()
