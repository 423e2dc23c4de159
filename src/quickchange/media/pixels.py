"""Pixels between the two ranges in use: bytes 0..255 on screens and in files, floats -1..1 in networks.

Element by element; layouts (channels first or last) are the caller's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(pixels: Tensor) -> Tensor:
    """Convert uint8 0..255 to float32 in [-1, 1]. Any shape, same device."""
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """Round floats in [-1, 1] to uint8 0..255; what lies outside is clipped. Any shape, same device."""
    return ((x.float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
