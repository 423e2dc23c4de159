"""Comparison with the true frames, one by one (torchmetrics)."""

from __future__ import annotations

import torch
from torch import Tensor

from quickchange.evaluate.scorecard.metrics.base import Case, Metric
from quickchange.evaluate.types import Frames

EVERY = 3  # frames
SAME = 60.0  # dB from which frames count as equal; keeps the mean finite


def _tensors(case: Case) -> tuple[Tensor, Tensor]:
    length = min(len(case.shown), len(case.truth))

    def pixels_TCHW(frames: Frames) -> Tensor:
        return torch.from_numpy(frames[:length:EVERY]).permute(0, 3, 1, 2).float() / 255

    return pixels_TCHW(case.shown.frames), pixels_TCHW(case.truth.frames)


def psnr(case: Case) -> float:
    """Peak signal-to-noise ratio to the true frames, dB, at most ``SAME``."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    shown, truth = _tensors(case)
    found = peak_signal_noise_ratio(shown, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return float(found.clamp(max=SAME).mean())


def ssim(case: Case) -> float:
    """Structural similarity to the true frames, -1 to 1."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(*_tensors(case), data_range=1.0)
    return float(found) if isinstance(found, Tensor) else float(found[0])


METRICS: tuple[Metric[Case], ...] = (
    Metric(
        "psnr",
        f"peak signal-to-noise ratio to the true frames in dB, at most {SAME:g}; a stream that does the same a little "
        "earlier or later scores low, too",
        f"0..{SAME:g}",
        "higher",
        "other person",
        psnr,
        digits=1,
    ),
    Metric("ssim", "structural similarity to the true frames", "-1..1", "higher", "other person", ssim),
)
