"""Optimisers, learning-rate schedule and weight averaging of all stages."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from quickchange.train.config import StageConfig


def make_optimizers(modules: Iterable[nn.Module], config: StageConfig) -> list[torch.optim.Optimizer]:
    """AdamW, or Muon for the matrices inside transformer blocks and AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in modules:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                inside = config.muon > 0 and parameter.ndim == 2 and name.startswith("blocks.")
                (matrices if inside else rest).append(parameter)
    decay = config.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=config.learning_rate, betas=config.betas, weight_decay=decay)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices, lr=config.muon, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def rate_factor(step: int, config: StageConfig) -> float:
    """Warm-up, constant, linear decay; in (0, 1] for 0 <= step < steps."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.decay <= 0:
        return warm
    return warm * min(1.0, max(0.0, (config.steps - step) / (config.steps * config.decay)))


def apply_gradients(
    optimizers: list[torch.optim.Optimizer], parameters: list[nn.Parameter], factor: float, clip: float = 1.0
) -> Tensor:
    """Clips, steps at ``factor`` of the peak rates, clears. Returns the gradient norm before clipping.

    A norm that is not finite leaves the weights as they are; the loop stops on it.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    if not torch.isfinite(norm):
        return norm
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm


class Average:
    """Exponential moving average of modules' weights; the decay grows to its final value."""

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self._live: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, module in modules.items():
            for key, value in module.state_dict().items():
                if value.data_ptr() not in seen:  # tied weights count once, or a swap would not undo itself
                    seen.add(value.data_ptr())
                    self._live[f"{name}.{key}"] = value.detach()
        self.weights = {key: value.clone().float() for key, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for key, value in self._live.items():
            self.weights[key].lerp_(value.float(), weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges live and averaged weights; call again to undo."""
        for key, live in self._live.items():
            before = live.clone()
            live.copy_(self.weights[key])
            self.weights[key].copy_(before)


def pack_optimizers(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Optimiser state as flat tensors, for safetensors."""
    packed = {}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                packed[f"optimizer.{i}.{parameter}.{key}"] = torch.as_tensor(value)
    return packed


def unpack_optimizers(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Inverse of ``pack_optimizers``; rates and groups stay as configured."""
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer" and rest.startswith(f"{i}."):
                _, parameter, key = rest.split(".", 2)
                state.setdefault(int(parameter), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
