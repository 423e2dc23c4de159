"""Stage "quality": fits the learned quality reward (rewards/quality.py) on degraded frames.

There are two losses. Where a truth is known, the score is minus the true error. A free stream has no truth: each of its
frames must score below a codec round trip of its clip, by a margin that grows with the depth in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from experiments.quality_reward.degraded import DegradedFrames
from experiments.quality_reward.error import error_of
from quickchange.evaluate.types import Frames
from quickchange.train.config import StageConfig
from quickchange.train.plots import save_sheet
from quickchange.train.rewards.quality import QualityScorer
from quickchange.train.stage import Stage

SCALE = 0.1  # of errors, where the squared loss turns linear
RANK_MARGIN, RANK_WEIGHT = 0.02, 0.3  # score per chunk of depth; weight of the second loss


@dataclass(frozen=True)
class QualityData:
    """Training data of the reward.

    Attributes:
        references: u8[clips, H, W, 3].
        frames: u8[N, H, W, 3], degraded.
        error: f32[N], true error of each frame.
        clip: i64[N], clip of each frame.
        deep: free streams.
        round_trip: u8[clips, H, W, 3], one frame per clip after codec and back, which streams are compared with.
    """

    references: Frames
    frames: Frames
    error: NDArray[np.float32]
    clip: NDArray[np.int64]
    deep: DegradedFrames
    round_trip: Frames


def gather(
    references: Frames, known: Sequence[DegradedFrames], deep: DegradedFrames, round_trip: Frames
) -> QualityData:
    """Join families with a truth and measure their errors.

    Args:
        references: u8[clips, H, W, 3].
        known: families with a truth.
        deep: free streams.
        round_trip: u8[clips, H, W, 3], see ``QualityData``.
    """
    return QualityData(
        references,
        np.concatenate([family.frames for family in known]),
        np.concatenate([error_of(family) for family in known]),
        np.concatenate([family.clip for family in known]),
        deep,
        round_trip,
    )


def as_images(pictures: Frames) -> Tensor:
    """Convert u8[N, H, W, 3] to f32[N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float().div_(127.5).sub_(1)


class QualityStage(Stage):
    """Training of the scorer; ``finish`` exports its average to ``out``."""

    name = "quality"

    def __init__(self, scorer: QualityScorer, data: QualityData, config: StageConfig, out: Path) -> None:
        super().__init__(config, {"scorer": scorer})
        self.scorer, self.data, self.out = scorer, data, out

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``regression`` to the true error, ``ranking`` of streams below round trips, and their weighted sum."""
        rng, data = np.random.default_rng([self.config.seed, step]), self.data
        known = rng.integers(0, len(data.frames), self.config.batch)
        deep = rng.integers(0, len(data.deep), max(1, self.config.batch // 4))
        clips = data.deep.clip[deep]
        frames = np.concatenate([data.frames[known], data.deep.frames[deep], data.round_trip[clips]])
        references = data.references[np.concatenate([data.clip[known], clips, clips])]
        flip = torch.from_numpy(rng.random(len(frames)) < 0.5).view(-1, 1, 1, 1)
        x, y = (torch.where(flip, z.flip(-1), z) for z in (as_images(frames), as_images(references)))
        # Twice as fast in bfloat16 where the CPU has AMX.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            scores = self.scorer(x, y).float()
        score, stream, real = scores.split([len(known), len(deep), len(deep)])
        error = torch.from_numpy(data.error[known])
        regression = F.huber_loss(score / SCALE, -error / SCALE)
        margin = RANK_MARGIN * (1 + torch.from_numpy(data.deep.depth[deep]).float())
        ranking = F.softplus((stream - real + margin) / SCALE).mean()
        return {"loss": regression + RANK_WEIGHT * ranking, "regression": regression, "ranking": ranking}

    def sample(self, path: Path) -> None:
        """Write a sheet of training frames from worst to best score."""
        index = np.random.default_rng(0).integers(0, len(self.data.frames), 96)
        frames, references = self.data.frames[index], self.data.references[self.data.clip[index]]
        order = self.scorer(as_images(frames), as_images(references)).argsort().numpy()
        save_sheet([list(frames[row]) for row in order.reshape(6, 16)], path, scale=1)

    def finish(self) -> None:
        """Save the averaged scorer."""
        self.scorer.save(self.out)
