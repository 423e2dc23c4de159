"""Rotary embedding: equal to diffusers' Wan, and free to be re-positioned."""

from __future__ import annotations

import pytest
import torch

from quickchange.kernels.rope import RotaryEmbedding, apply_rotary


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def wan_apply(x_BHLD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The formula of diffusers' Wan attention processor, on [B, L, H, D]."""
    x = x_BHLD.transpose(1, 2)
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = x1 * cos - x2 * sin
    out[..., 1::2] = x1 * sin + x2 * cos
    return out.transpose(1, 2)


@pytest.mark.parametrize("head_dim", [8, 16, 44, 128])
@pytest.mark.parametrize("theta", [10000.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_diffusers(head_dim: int, theta: float, dtype: torch.dtype) -> None:
    wan = pytest.importorskip("diffusers.models.transformers.transformer_wan")
    frames, rows, columns = 5, 3, 4
    cos, sin = wan.WanRotaryPosEmbed(head_dim, (1, 2, 2), 64, theta)(torch.zeros(1, 1, frames, 2 * rows, 2 * columns))
    x = randn(2, 3, frames * rows * columns, head_dim, dtype=dtype)
    ours = RotaryEmbedding(head_dim, (rows, columns), 64, theta).rotate(x, torch.arange(frames))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, wan_apply(x, cos, sin), atol=1e-6, rtol=0)


def test_raw_keys_can_be_placed_anew() -> None:
    rotary = RotaryEmbedding(16, (2, 3))
    frames = randn(1, 2, 4 * 6, 16)
    order = torch.tensor([9, 2, 7, 30])
    together = rotary.rotate(frames, order)
    for i, position in enumerate(order):
        alone = rotary.rotate(frames[:, :, 6 * i : 6 * i + 6], position[None])
        assert torch.equal(alone, together[:, :, 6 * i : 6 * i + 6])


def test_scores_depend_only_on_relative_positions() -> None:
    rotary = RotaryEmbedding(24, (2, 2))
    q, k = randn(1, 1, 8, 24, seed=1).double(), randn(1, 1, 8, 24, seed=2).double()
    positions = torch.tensor([3, 6])

    def scores(shift: int) -> torch.Tensor:
        tables = rotary.cos_sin(positions + shift)
        return apply_rotary(q, *tables) @ apply_rotary(k, *tables).mT

    torch.testing.assert_close(scores(0), scores(40), atol=1e-4, rtol=0)
    moved = rotary.rotate(q, positions) @ rotary.rotate(k, positions + 1).mT
    assert not torch.allclose(moved, scores(0), atol=1e-3)


def test_rotation_keeps_lengths_and_gradients_flow() -> None:
    rotary = RotaryEmbedding(8, (1, 2))
    x = randn(1, 1, 4, 8).requires_grad_()
    y = rotary.rotate(x, torch.tensor([5, 1]))
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head_dim": 7}, "head_dim is 7"),
        ({"head_dim": 4}, "head_dim is 4"),
        ({"grid": (0, 3)}, r"grid is \(0, 3\)"),
        ({"max_frames": 0}, "max_frames 0"),
        ({"theta": 0.0}, "theta is 0.0"),
    ],
)
def test_bad_sizes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RotaryEmbedding(**{"head_dim": 8, "grid": (2, 2), **arguments})  # type: ignore[arg-type]
