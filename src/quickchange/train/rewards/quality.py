"""A learned quality reward for the generated world: a small convolutional scorer of (frame, reference) pairs.

Trained to tell true frames from degraded ones: codec round trips, chunks that the model generated from a true past,
long streams, and synthetic degradation. Its score is minus the error it expects (0: as good as rendered). It was
trained on 96x128 frames of people of the "easy" world and knows nothing else. How well it follows true error is in
``models/quality/README.md``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from quickchange.errors import InputError
from quickchange.files import save_safetensors_atomic, write_json_atomic

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """widths: channels of the stages, each at half the size of the one before."""

    widths: tuple[int, ...] = (16, 32, 48, 64)


class QualityScorer(nn.Module):
    """Frame and reference -> one score.

    Local judgements are averaged, and the worst fifth of them counts extra: damage sits on faces and hands, a small
    part of the picture.
    """

    def __init__(self, config: QualityConfig) -> None:
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        into = 6
        for width in config.widths:
            blocks += [nn.Conv2d(into, width, 3, 2, 1), nn.GroupNorm(8, width), nn.SiLU()]
            blocks += [nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(8, width), nn.SiLU()]
            into = width
        self.body = nn.Sequential(*blocks)
        self.local = nn.Conv2d(into, 1, 1)
        self.overall = nn.Sequential(nn.Linear(into, into), nn.SiLU(), nn.Linear(into, 1))

    def forward(self, frames_NCHW: Tensor, references_NCHW: Tensor) -> Tensor:
        """Score frames and their references, in [-1, 1]: [N] scores, at most about 0."""
        x = torch.cat([frames_NCHW, references_NCHW], 1)
        x = self.body(x)
        cells = self.local(x).flatten(1)
        worst = cells.topk(max(1, cells.shape[1] // 5), 1, largest=False).values.mean(1)
        return cells.mean(1) + worst + self.overall(x.mean((2, 3)))[:, 0]

    def save(self, folder: Path) -> None:
        """Write config and weights, each complete or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json_atomic(folder / CONFIG, asdict(self.config))
        save_safetensors_atomic(self.state_dict(), folder / WEIGHTS)

    @staticmethod
    def load(folder: Path) -> QualityScorer:
        """Raises InputError where the files are missing or do not fit."""
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise InputError(
                f"weights not found at {folder}; models/quality of the repository has them, "
                f"experiments/quality_reward/train.py makes them"
            )
        try:
            config = QualityConfig(widths=tuple(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["widths"]))
            scorer = QualityScorer(config)
            scorer.load_state_dict(load_file(folder / WEIGHTS))
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{folder}: not a quality scorer ({error})") from error
        return scorer


class QualityReward:
    """The scorer as a reward: minus the expected error of every frame, about -1 to 0.

    Args:
        weights: folder with ``config.json`` and ``model.safetensors``. device: torch device.
    """

    def __init__(self, weights: Path, device: torch.device | str = "cpu", batch: int = 128) -> None:
        self.scorer = QualityScorer.load(weights).eval().requires_grad_(False).to(device)
        self.batch = batch

    @torch.no_grad()
    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        """Minus the expected error of every frame, [B, T]."""
        count, _, length = frames_BCTHW.shape[:3]
        frames = frames_BCTHW.float().clamp(-1, 1).transpose(1, 2).flatten(0, 1)
        references = reference_BCHW.float().clamp(-1, 1).repeat_interleave(length, 0)
        if references.shape[2:] != frames.shape[2:]:
            references = F.interpolate(references, frames.shape[2:], mode="bilinear", antialias=True)
        parts = zip(frames.split(self.batch), references.split(self.batch), strict=True)
        return torch.cat([self.scorer(*part) for part in parts]).view(count, length)
