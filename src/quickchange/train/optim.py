"""Optimisers, learning-rate schedule and weight averaging of all stages. Sharded or not: see distributed.py."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from safetensors import safe_open
from torch import Tensor, nn

from quickchange.train.config import StageConfig
from quickchange.train.distributed import full, like, local


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
    """Warm-up, times the last milestone's factor, times linear decay at the end; positive for 0 <= step < steps."""
    factor = min(1.0, (step + 1) / max(1, config.warmup))
    for start, held in reversed(config.milestones):
        if step >= start:
            factor *= held
            break
    if config.decay > 0:
        factor *= min(1.0, max(0.0, (config.steps - step) / (config.steps * config.decay)))
    return factor


def apply_gradients(
    optimizers: list[torch.optim.Optimizer], parameters: list[nn.Parameter], factor: float, clip: float = 1.0
) -> Tensor:
    """Clips, steps at ``factor`` of the peak rates, clears. Returns the gradient norm before clipping, over all shards.

    On a CPU, a norm that is not finite leaves the weights as they are. On a GPU finding out would make the host wait
    at every step; there the loop stops before such weights reach a checkpoint.
    """
    norm = full(torch.nn.utils.clip_grad_norm_(parameters, clip))
    if norm.device.type == "cpu" and not torch.isfinite(norm):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        return norm
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm


class Average:
    """Exponential moving average of modules' weights.

    Args:
        modules: whose parameters are averaged, by name.
        decay: final value, in [0, 1).
        start: step from which on is averaged; before, the average is the live weights.
        ramp: let the decay grow to its final value, (1 + n) / (10 + n) after n steps.

    Attributes:
        weights: float32, by ``module.parameter`` name; sharded as the live ones are.
    """

    def __init__(self, modules: dict[str, nn.Module], decay: float, start: int = 0, ramp: bool = True) -> None:
        self.decay, self.start, self.ramp = decay, start, ramp
        self._live: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, module in modules.items():
            for key, value in module.state_dict(keep_vars=True).items():
                if id(value) not in seen:  # tied weights count once, or a swap would not undo itself
                    seen.add(id(value))
                    self._live[f"{name}.{key}"] = value
        with torch.no_grad():
            self.weights = {key: value.detach().clone().float() for key, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after the 0-based ``step``."""
        since = step - self.start
        decay = min(self.decay, (1 + since) / (10 + since)) if self.ramp else self.decay
        weight = 1 - decay if since >= 0 else 1.0
        for key, value in self._live.items():
            local(self.weights[key]).lerp_(local(value).float(), weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges live and averaged weights; call again to undo."""
        for key, value in self._live.items():
            live, held = local(value), local(self.weights[key])
            before = live.clone()
            live.copy_(held)
            held.copy_(before)


def pack_optimizers(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Optimiser state as flat tensors, for safetensors: ``optimizer.{number}.{parameter}.{name}``."""
    packed = {}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                packed[f"optimizer.{i}.{parameter}.{key}"] = torch.as_tensor(value)
    return packed


def unpack_optimizers(optimizers: list[torch.optim.Optimizer], tensors: safe_open) -> None:
    """Restore what ``pack_optimizers`` packed from an open file, into shards where there are any.

    Rates and groups stay as configured.
    """
    names = list(tensors.keys())
    for i, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name in names:
            kind, _, rest = name.partition(".")
            if kind == "optimizer" and rest.startswith(f"{i}."):
                _, number, key = rest.split(".", 2)
                value, target = tensors.get_tensor(name), parameters[int(number)]
                # Counters are scalars and stay where they are; everything else is shaped like its parameter.
                state.setdefault(int(number), {})[key] = like(value, target) if value.shape == target.shape else value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
