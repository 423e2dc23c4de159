"""Rewards that tell good frames from degraded ones; they set how much each chunk's gradient counts.

Plug-ins by name: ``make_reward("quality", Path("models/quality"))``. Another one is a class that satisfies ``Reward``
and a line in ``REWARDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from quickchange.errors import InputError
from quickchange.train.rewards.aesthetic import AestheticReward
from quickchange.train.rewards.base import Reward, chunk_scores, chunk_weights
from quickchange.train.rewards.detail import DetailReward, detail
from quickchange.train.rewards.quality import QualityReward

__all__ = [
    "REWARDS",
    "AestheticReward",
    "DetailReward",
    "QualityReward",
    "Reward",
    "chunk_scores",
    "chunk_weights",
    "detail",
    "make_reward",
]

# Called with the folder of weights (None: not given) and the device.
REWARDS: dict[str, Callable[[Path | None, torch.device | str], Reward]] = {
    "detail": lambda weights, device: DetailReward(),
    "aesthetic": lambda weights, device: AestheticReward(_needed("aesthetic", weights), device),
    "quality": lambda weights, device: QualityReward(_needed("quality", weights), device),
}


def make_reward(name: str = "detail", weights: Path | str | None = None, device: torch.device | str = "cpu") -> Reward:
    """The reward called ``name`` (stage options ``reward`` and ``reward_weights``).

    Raises:
        InputError: unknown name; weights not given, missing or unusable.
    """
    if name not in REWARDS:
        raise InputError(f"reward is {name!r}; expected one of {', '.join(REWARDS)}")
    return REWARDS[name](None if weights is None else Path(weights), device)


def _needed(name: str, weights: Path | None) -> Path:
    if weights is None:
        raise InputError(f"reward {name!r} needs weights; set reward_weights to their folder")
    return weights
