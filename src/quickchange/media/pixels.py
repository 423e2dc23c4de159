"""Conversion of pixels between bytes 0..255 (screens, files) and floats -1..1 (networks).

It works element by element and keeps the order of dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(pixels: Tensor) -> Tensor:
    """Convert uint8 0..255 to float32 in [-1, 1]. Any shape, same device."""
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """Round floats in [-1, 1] to uint8 0..255; values outside are clipped. Any shape, same device."""
    return ((x.float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
