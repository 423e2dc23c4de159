"""The MUSIQ network, written for inference with the publicly converted weights (parameter names of pyiqa).

A picture becomes tokens at three sizes (longer side 224, 384, its own), each token a 32x32 patch seen through a small
convolutional stem; positions are hashed onto a 10x10 grid, so any size and shape fits. Source: Ke et al., MUSIQ:
Multi-scale Image Quality Transformer, ICCV 2021, sections 3.1-3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 64


@dataclass(frozen=True, kw_only=True)
class MusiqConfig:
    """Sizes of the published models; ``levels`` is 1 (koniq, spaq, paq2piq) or 10 (ava, a distribution of marks)."""

    width: int = 384
    mlp: int = 1152
    heads: int = 6
    layers: int = 14
    patch: int = 32
    grid: int = 10
    sizes: tuple[int, ...] = (224, 384)
    levels: int = 1


def pad_same(x_NCHW: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding as TensorFlow's "same": the odd pixel goes right and down."""
    height, width = x_NCHW.shape[2:]
    tall, wide = (max(0, (math.ceil(n / stride) - 1) * stride + kernel - n) for n in (height, width))
    return F.pad(x_NCHW, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))


class StandardisedConv(nn.Conv2d):
    """Convolution whose filters are brought to mean 0 and deviation 1 before use."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Convolve [N, C, H, W] with "same" padding."""
        std, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        stride = self.stride[0]
        padded = pad_same(x_NCHW, self.kernel_size[0], stride)
        return F.conv2d(padded, (self.weight - mean) / (std + 1e-5), None, stride)


class Bottleneck(nn.Module):
    """The stem's one residual block."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1, self.gn1 = StandardisedConv(width, width, 1, bias=False), nn.GroupNorm(32, width, eps=1e-4)
        self.conv2, self.gn2 = StandardisedConv(width, width, 3, bias=False), nn.GroupNorm(32, width, eps=1e-4)
        self.conv3, self.gn3 = StandardisedConv(width, out, 1, bias=False), nn.GroupNorm(32, out, eps=1e-4)
        self.conv_proj, self.gn_proj = StandardisedConv(width, out, 1, bias=False), nn.GroupNorm(32, out, eps=1e-4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, width, H, W] to [N, out, H, W]."""
        y = F.relu(self.gn1(self.conv1(x_NCHW)))
        y = F.relu(self.gn2(self.conv2(y)))
        return F.relu(self.gn3(self.conv3(y)) + self.gn_proj(self.conv_proj(x_NCHW)))


class Attention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Attend over [B, T, D]."""
        q, k, v = (
            layer(x_BTD).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.fc2(F.gelu(self.fc1(x_BTD)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: MusiqConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, eps=1e-6) for _ in range(2))
        self.attention, self.mlp = Attention(config.width, config.heads), Mlp(config.width, config.mlp)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x_BTD + self.attention(self.norm1(x_BTD))
        return x + self.mlp(self.norm2(x))


class _Table(nn.Module):
    """One learned table under the name it has in the weights."""

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


class Encoder(nn.Module):
    """Position and size embeddings, class token, transformer."""

    def __init__(self, config: MusiqConfig) -> None:
        super().__init__()
        self.posembed_input = _Table("position_emb", 1, config.grid**2, config.width)
        self.scaleembed_input = _Table("scale_emb", len(config.sizes) + 1, config.width)
        self.cls = nn.Parameter(torch.zeros(1, 1, config.width))
        self.transformer = nn.ModuleDict({f"encoderblock_{i}": Block(config) for i in range(config.layers)})
        self.encoder_norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, tokens_BTD: Tensor, positions_T: Tensor, sizes_T: Tensor) -> Tensor:
        """The class token's last state, [B, D]."""
        place, size = (
            self.posembed_input.get_parameter("position_emb"),
            self.scaleembed_input.get_parameter("scale_emb"),
        )
        x = torch.cat([self.cls.expand(len(tokens_BTD), -1, -1), tokens_BTD + place[0, positions_T] + size[sizes_T]], 1)
        for block in self.transformer.values():
            x = block(x)
        return self.encoder_norm(x)[:, 0]


class Musiq(nn.Module):
    """Pictures of one size -> mean opinion scores."""

    def __init__(self, config: MusiqConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_root, self.gn_root = StandardisedConv(3, STEM, 7, 2, bias=False), nn.GroupNorm(32, STEM, eps=1e-6)
        self.block1 = Bottleneck(STEM, 4 * STEM)
        self.embedding = nn.Linear(4 * STEM * (config.patch // 4) ** 2, config.width)
        self.transformer_encoder = Encoder(config)
        head = nn.Linear(config.width, config.levels)
        self.head = nn.Sequential(head) if config.levels > 1 else head

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        """Score pictures f32[B, 3, H, W] in [0, 1].

        Returns:
            f32[B], marks on the scale of the training set (spaq, koniq: 0..100).
        """
        tokens, positions, sizes = [], [], []
        for number, image in enumerate(self.pyramid(pictures_BCHW * 2 - 1)):
            token, position = self.tokens(image)
            tokens.append(token)
            positions.append(position)
            sizes.append(torch.full_like(position, number))
        out = self.head(self.transformer_encoder(torch.cat(tokens, 1), torch.cat(positions), torch.cat(sizes)))
        if self.config.levels == 1:
            return out[:, 0]
        return out.softmax(1) @ torch.arange(1.0, self.config.levels + 1, device=out.device)

    def pyramid(self, x_BCHW: Tensor) -> list[Tensor]:
        """The picture at each of ``sizes`` (longer side), then as it is."""
        height, width = x_BCHW.shape[2:]
        scaled = []
        for longer in sorted(self.config.sizes):
            scale = longer / max(height, width)
            scaled.append(F.interpolate(x_BCHW, (round(height * scale), round(width * scale)), mode="bicubic"))
        return [*scaled, x_BCHW]

    def tokens(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens [B, T, D] of one size, and their hashed positions [T]."""
        size, grid = self.config.patch, self.config.grid
        x = pad_same(x_BCHW, size, size)
        rows, columns = x.shape[2] // size, x.shape[3] // size
        patches = x.unflatten(2, (rows, size)).unflatten(4, (columns, size)).permute(0, 2, 4, 1, 3, 5)
        stem = F.relu(self.gn_root(self.conv_root(patches.flatten(0, 2))))
        stem = self.block1(F.max_pool2d(pad_same(stem, 3, 2), 3, 2))
        tokens = self.embedding(stem.permute(0, 2, 3, 1).flatten(1)).unflatten(0, (len(x), rows * columns))
        down = torch.arange(rows, device=x.device) * grid // rows
        across = torch.arange(columns, device=x.device) * grid // columns
        return tokens, (down[:, None] * grid + across).flatten()
