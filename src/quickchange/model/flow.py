"""Flow matching: the straight path between data and noise, and the few-step schedule that walks it back.

Convention (docs/method.md section 2): ``x_t = (1 - s) x0 + s noise`` with noise level ``s`` in [0, 1] and timestep
``t = 1000 s``; the network predicts the velocity ``v = noise - x0``, hence ``x0 = x_t - s v``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

TRAIN_TIMESTEPS = 1000.0


def warp(level: Tensor | float, shift: float) -> Tensor | float:
    """Moves a uniform noise level in [0, 1] towards noise: ``shift s / (1 + (shift - 1) s)`` (Wan flow shift)."""
    return shift * level / (1 + (shift - 1) * level)


def add_noise(x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """``x_t``; ``level`` in [0, 1] broadcasts against ``x0``."""
    return (1 - level) * x0 + level * noise


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The regression target ``noise - x0``."""
    return noise - x0


def to_x0(x_t: Tensor, v: Tensor, level: Tensor | float) -> Tensor:
    """Clean estimate from a velocity prediction at noise level ``level``."""
    return x_t - level * v


@dataclass(frozen=True, slots=True)
class FewStepSchedule:
    """The student's denoising steps.

    Attributes:
        timesteps: descending, in (0, 1000], before the warp (paper: 1000, 750, 500, 250).
        shift: flow shift, > 0 (paper: 5.0).
        labels: what the network is told of each step's noise level, in [0, 1000]; None for 1000 times the level.
            Checkpoints that were distilled with rounded labels need theirs (public code: 1000, 936, 832, 624).
    """

    timesteps: tuple[float, ...] = (1000.0, 750.0, 500.0, 250.0)
    shift: float = 5.0
    labels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        steps = self.timesteps
        if not steps or any(not 0 < t <= TRAIN_TIMESTEPS for t in steps) or list(steps) != sorted(set(steps))[::-1]:
            raise ValueError(
                f"timesteps are {steps}; expected distinct values in (0, 1000], descending, e.g. (1000, 500)"
            )
        if self.shift <= 0:
            raise ValueError(f"shift is {self.shift}; expected a positive number, e.g. 5.0")
        labels = self.labels
        if labels is not None and (len(labels) != len(steps) or any(not 0 <= t <= TRAIN_TIMESTEPS for t in labels)):
            raise ValueError(f"labels are {labels}; expected one in [0, 1000] for each of {len(steps)} timesteps")

    @property
    def levels(self) -> tuple[float, ...]:
        """Warped noise levels, one per step, descending, in (0, 1]."""
        return tuple(float(warp(t / TRAIN_TIMESTEPS, self.shift)) for t in self.timesteps)

    @property
    def time_labels(self) -> tuple[float, ...]:
        """Timesteps that the network's time embedding is given, one per step, in [0, 1000]."""
        return self.labels or tuple(level * TRAIN_TIMESTEPS for level in self.levels)
