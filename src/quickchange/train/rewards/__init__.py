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

# What is called with the folder of weights and the device; None: needs no weights.
REWARDS: dict[str, Callable[[Path, torch.device | str], Reward] | None] = {
    "detail": None,
    "aesthetic": AestheticReward,
    "quality": QualityReward,
}


def make_reward(name: str = "detail", weights: Path | str | None = None, device: torch.device | str = "cpu") -> Reward:
    """The reward called ``name`` (stage options ``reward`` and ``reward_weights``).

    Raises:
        InputError: unknown name; weights not given, missing or unusable.
    """
    if name not in REWARDS:
        raise InputError(f"reward is {name!r}; expected one of {', '.join(REWARDS)}")
    make = REWARDS[name]
    if make is None:
        return DetailReward()
    if weights is None:
        raise InputError(f"reward {name!r} needs weights; set reward_weights to their folder")
    return make(Path(weights), device)
