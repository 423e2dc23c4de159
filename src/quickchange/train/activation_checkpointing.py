"""Activation checkpointing: blocks forget what happens inside them and compute it again for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(module: nn.Module) -> None:
    """Wraps the forward of every block of a transformer, in place.

    Same gradients, about a third more computing, memory of one block instead of all. Passes without gradients are left
    alone; modules without ``blocks`` too.
    """
    for block in getattr(module, "blocks", []):
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # No block draws random numbers, so there is no generator's state to bring back.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return wrapped
