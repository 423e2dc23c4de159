"""Augmentations of rendered frames that train the parser to read generated ones.

Generated frames are soft, grainy, blocky, off in colour, and place the person elsewhere in the picture. All functions
take frames_BCHW, float in [-1, 1], and draw from ``generator`` alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from quickchange.parsing.reading import MIRRORED

BLOCK = 8  # pixels, as in JPEG


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def move(
    frames_BCHW: Tensor, ids_BHW: Tensor, keypoints_BK3: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror half of the pictures, scale them by 0.9 to 1.15 and shift them by up to 6 % of their size.

    The border is continued outwards. Keypoints (x, y in pixels, visibility) move along, change sides in mirrored
    pictures, and get visibility 0 where they leave the picture.

    Args:
        frames_BCHW: float in [-1, 1].
        ids_BHW: label ids.
        keypoints_BK3: float.
        generator: draws.

    Returns:
        The three, changed alike.
    """
    b, _, height, width = frames_BCHW.shape
    mirrored = torch.rand(b, generator=generator) < 0.5
    scale = 1 / _uniform((b,), 0.9, 1.15, generator)
    shift = _uniform((b, 2), -0.12, 0.12, generator)  # in units of half the picture
    factor = torch.stack([torch.where(mirrored, -scale, scale), scale], 1)
    theta = torch.cat([torch.diag_embed(factor), shift[..., None]], 2).to(frames_BCHW)
    grid = F.affine_grid(theta, [b, 1, height, width], align_corners=False)
    frames = F.grid_sample(frames_BCHW, grid, "bilinear", "border", align_corners=False)
    ids = F.grid_sample(ids_BHW[:, None].float(), grid, "nearest", "border", align_corners=False)[:, 0].to(
        ids_BHW.dtype
    )
    size = keypoints_BK3.new_tensor([width, height])
    place = keypoints_BK3[..., :2] / size * 2 - 1  # where the picture was sampled from -> where it now is
    place = ((place - theta[:, None, :, 2]) / factor.to(place)[:, None] + 1) / 2 * size
    inside = ((place >= 0) & (place < size)).all(-1)
    points = torch.cat([place, (keypoints_BK3[..., 2] * inside)[..., None]], 2)
    return frames, ids, torch.where(mirrored.to(points.device)[:, None, None], points[:, list(MIRRORED)], points)


def recolour(frames_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mix colour channels a little, change contrast by up to a quarter and shift every channel."""
    b = len(frames_BCHW)
    mix = torch.eye(3) + 0.06 * torch.randn(b, 3, 3, generator=generator)
    mix = mix * _uniform((b, 1, 1), 0.75, 1.2, generator)
    shift = 0.08 * torch.randn(b, 3, 1, 1, generator=generator)
    return torch.einsum("bij,bjhw->bihw", mix.to(frames_BCHW), frames_BCHW) + shift.to(frames_BCHW)


def soften(frames_BCHW: Tensor) -> Tensor:
    """Halve the resolution and restore the size."""
    small = F.avg_pool2d(frames_BCHW, 2)
    return F.interpolate(small, size=frames_BCHW.shape[2:], mode="bilinear", align_corners=False)


def smear(frames_BCHW: Tensor) -> Tensor:
    """Blur with a binomial kernel of 5x5 pixels."""
    line = frames_BCHW.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = (line[:, None] * line).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(frames_BCHW, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)


def quantise(frames_BCHW: Tensor, step: Tensor) -> Tensor:
    """Round the cosine coefficients of 8x8 blocks to multiples of ``step``, as JPEG does.

    Args:
        frames_BCHW: height and width are multiples of 8.
        step: [B]. Steps grow with frequency.
    """
    b, c, height, width = frames_BCHW.shape
    index = torch.arange(BLOCK, dtype=torch.float32)
    basis = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    basis = basis.to(frames_BCHW)
    blocks = frames_BCHW.reshape(b, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    coefficients = torch.einsum("ui,bcyixj,vj->bcyuxv", basis, blocks, basis)
    growth = (1 + index[:, None] + index).to(frames_BCHW)[:, None]  # u, 1, v
    steps = step.to(frames_BCHW).view(b, 1, 1, 1, 1, 1) * growth
    coefficients = (coefficients / steps).round() * steps
    return torch.einsum("ui,bcyuxv,vj->bcyixj", basis, coefficients, basis).reshape(frames_BCHW.shape)


def disturb(frames_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Change the colours of all pictures, soften or smear a third, quantise a quarter, and add grain to all.

    The strength of the grain is random.
    """
    x = recolour(frames_BCHW, generator)
    chance = torch.rand(3, len(x), generator=generator).to(x.device)
    for effect, share in ((soften, chance[0] < 0.2), (smear, chance[1] < 0.15)):
        if share.any():
            x = torch.where(share[:, None, None, None], effect(x), x)
    blocky = (chance[2] < 0.25).nonzero()[:, 0]
    if len(blocky):
        step = _uniform((len(blocky),), 0.03, 0.2, generator)
        x = x.index_copy(0, blocky, quantise(x[blocky], step))
    strength = 0.12 * torch.rand(len(x), 1, 1, 1, generator=generator) ** 2
    return (x + (strength * torch.randn(x.shape, generator=generator)).to(x)).clamp(-1, 1)
