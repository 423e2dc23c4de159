"""3-D rotary embedding: the place of a token in time, height and width, as rotations of pairs of channels.

Same function as diffusers' ``WanRotaryPosEmbed`` (tested): of the D channels of a head, ``2 * (D // 6)`` turn with the
row, as many with the column, the rest with the frame. What it does not know: which frame index a latent frame has;
that is the caller's choice, which is what makes cached keys re-positionable.

Shape suffixes: B batch, H heads, F latent frames, P tokens per frame (rows first), L = F*P tokens, D head size,
K = D/2 channel pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def apply_rotary(x_BHLD: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    """Turn the channel pairs (0, 1), (2, 3), ... of every token by its angles.

    Computed in float32, returned in the dtype of ``x_BHLD``.
    """
    even, odd = x_BHLD.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos_LK - odd * sin_LK, even * sin_LK + odd * cos_LK), -1)
    return turned.flatten(-2).type_as(x_BHLD)


class RotaryEmbedding:
    """Cosines and sines for every frame index and token place, float32, computed once in float64.

    Args:
        head_dim: channels per attention head, even, at least 6.
        grid: token rows and columns of one latent frame.
        max_frames: number of frame indices in the table; positions run from 0 to ``max_frames - 1``.
        theta: base of the frequencies (Wan: 10000).
        device: where the tables live.

    Raises:
        ValueError: a size that cannot be rotated.
    """

    def __init__(
        self,
        head_dim: int,
        grid: tuple[int, int],
        max_frames: int = 1024,
        theta: float = 10000.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if head_dim < 6 or head_dim % 2:
            raise ValueError(f"head_dim is {head_dim}; expected an even number >= 6, e.g. 128")
        if min(*grid, max_frames) < 1:
            raise ValueError(f"grid is {grid}, max_frames {max_frames}; expected positive numbers, e.g. (40, 22), 1024")
        if theta <= 0:
            raise ValueError(f"theta is {theta}; expected a positive number, e.g. 10000.0")
        rows, columns = grid
        self.head_dim, self.theta, self.device = head_dim, theta, torch.device(device)
        self.max_frames, self.tokens_per_frame = max_frames, rows * columns
        spatial = 2 * (head_dim // 6)
        row_PK = self._angles(rows, spatial).repeat_interleave(columns, 0)
        column_PK = self._angles(columns, spatial).repeat(rows, 1)
        space_PK, time_FK = torch.cat([row_PK, column_PK], 1), self._angles(max_frames, head_dim - 2 * spatial)
        self._time = tuple(f(time_FK).float().to(device) for f in (torch.cos, torch.sin))
        self._space = tuple(f(space_PK).float().to(device) for f in (torch.cos, torch.sin))

    def _angles(self, places: int, channels: int) -> Tensor:
        exponent = torch.arange(0, channels, 2, dtype=torch.float64) / channels
        return torch.outer(torch.arange(places, dtype=torch.float64), 1.0 / self.theta**exponent)

    def cos_sin(self, positions_F: Tensor) -> tuple[Tensor, Tensor]:
        """Tables for the tokens of frames at these indices.

        Args:
            positions_F: int64, in any order, each in [0, max_frames).

        Returns:
            (cos, sin), float32 [L, K], tokens in frame-major order.
        """
        index = positions_F.to(self.device)
        cos, sin = (
            torch.cat(
                [
                    time_FK.index_select(0, index)[:, None].expand(-1, self.tokens_per_frame, -1),
                    space_PK.expand(len(index), -1, -1),
                ],
                2,
            ).flatten(0, 1)
            for time_FK, space_PK in zip(self._time, self._space, strict=True)
        )
        return cos, sin

    def rotate(self, x_BHLD: Tensor, positions_F: Tensor) -> Tensor:
        """Queries or keys of the frames at these indices, rotated; same shape and dtype."""
        return apply_rotary(x_BHLD, *self.cos_sin(positions_F))
