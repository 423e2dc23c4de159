"""The network: Wan2.2's diffusion transformer at any size.

Parameter names are those of diffusers' ``WanTransformer3DModel``, and with the extensions switched off the function
is the same (tested). What it does not know: where keys and values come from. Self-attention is handed in
(``SelfAttention``), so one forward serves full sequences, masked training and the streaming KV cache.

Two things are spent once instead of per token or per pass: time embeddings are per latent frame, and the prompt's
cross-attention keys and values are computed once per prompt (``embed_text``).

Shape suffixes: B batch, F latent frames, C channels, H W latent grid, P tokens per latent frame, L = F*P tokens,
E width, H heads and D head size in attention tensors (q_BHLD), T text tokens.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickchange.model.precondition import Preconditioner

REFERENCE_ROLE, GARMENT_ROLE, VIDEO_ROLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Size of the network. The first block of fields is diffusers' config; the second is ours.

    Attributes:
        rope_theta: base of the rotary frequencies (Wan: 10000; short grids learn faster with 10).
        role_embedding: adds a learned vector per role (reference, garment, video). Wan tells them apart by position.
        grid: learned embedding per token place for a fixed token grid (rows, columns); None as in Wan.
        channel_std: standard deviation of every latent channel, for per-channel preconditioning of input and
            output (Karras et al. 2022, carried over to flow matching); None as in Wan.
    """

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    in_channels: int = 48
    out_channels: int = 48
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 14336
    num_layers: int = 30
    eps: float = 1e-6

    rope_theta: float = 10000.0
    role_embedding: bool = False
    grid: tuple[int, int] | None = None
    channel_std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("num_attention_heads", "num_layers", "in_channels", "out_channels", "text_dim", "ffn_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.patch_size[0] != 1:
            raise ValueError(f"patch_size is {self.patch_size}; expected 1 in time, e.g. (1, 2, 2)")
        if self.attention_head_dim % 2 or self.attention_head_dim < 6:
            raise ValueError(f"attention_head_dim is {self.attention_head_dim}; expected an even number >= 6")
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim is {self.freq_dim}; expected an even number")
        std = self.channel_std
        if std is not None and (len(std) != self.in_channels or min(std) <= 0):
            raise ValueError(
                f"channel_std has {len(std)} values; expected a positive one for each of {self.in_channels}"
            )

    @property
    def dim(self) -> int:
        """Width of the network."""
        return self.num_attention_heads * self.attention_head_dim

    def to_dict(self) -> dict[str, Any]:
        """Values for ``config.json``."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TransformerConfig:
        """Reads our own or a diffusers ``config.json`` (keys it does not know, such as ``qk_norm``, are dropped)."""
        known = {k: v for k, v in values.items() if k in TransformerConfig.__dataclass_fields__}
        for key in ("patch_size", "grid", "channel_std"):
            if known.get(key) is not None:
                known[key] = tuple(known[key])
        return TransformerConfig(**known)


class SelfAttention(Protocol):
    """Answers one layer's self-attention. Queries and keys arrive normalised but not rotated, all [B, H, L, D]."""

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """Attend in one layer; returns [B, H, L, D]."""
        ...


class TimeEmbedding(NamedTuple):
    """Per latent frame: ``level`` [B, F] in [0, 1], ``temb`` [B, F, E], ``modulation`` [B, F, 6, E]."""

    level_BF: Tensor
    temb_BFE: Tensor
    modulation_BF6E: Tensor


class TextContext(NamedTuple):
    """Cross-attention keys and values of a prompt, one [B, H, T, D] tensor per layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


def _modulate(x_BFPE: Tensor, shift_BF1E: Tensor, scale_BF1E: Tensor, eps: float) -> Tensor:
    normed = F.layer_norm(x_BFPE.float(), x_BFPE.shape[-1:], eps=eps)
    return (normed * (1 + scale_BF1E) + shift_BF1E).to(x_BFPE.dtype)


def _normal(*shape: int) -> Tensor:
    """``torch.randn``, by in-place operations that loading a stored model can skip."""
    return torch.empty(shape).normal_()


class Attention(nn.Module):
    """Projections of self- or cross-attention; RMS norm of queries and keys across all heads."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=eps), nn.RMSNorm(dim, eps=eps)

    def split(self, x_BLE: Tensor) -> Tensor:
        """Split into heads: [B, H, L, D]."""
        return x_BLE.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def query(self, x_BLE: Tensor) -> Tensor:
        """Normalised queries, [B, H, L, D]."""
        q = self.to_q(x_BLE)
        return self.split(self.norm_q(q.to(self.norm_q.weight.dtype)).to(q.dtype))

    def key_value(self, x_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised keys, and values, [B, H, L, D] each."""
        k = self.to_k(x_BLE)
        return self.split(self.norm_k(k.to(self.norm_k.weight.dtype)).to(k.dtype)), self.split(self.to_v(x_BLE))

    def merge(self, out_BHLD: Tensor) -> Tensor:
        """Join the heads and project: [B, L, E]."""
        return self.to_out[0](out_BHLD.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """``net.0.proj`` -> tanh-GELU -> ``net.2``, as diffusers names them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        first = nn.Module()
        first.proj = nn.Linear(dim, hidden)
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(hidden, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """Feed forward, token by token."""
        return self.net[2](F.gelu(self.net[0].proj(x), approximate="tanh"))


class Block(nn.Module):
    """Self-attention, cross-attention to the prompt, feed-forward; modulated per latent frame."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim, self.eps = config.dim, config.eps
        self.attn1 = Attention(dim, config.num_attention_heads, config.eps)
        self.attn2 = Attention(dim, config.num_attention_heads, config.eps)
        self.norm2 = nn.LayerNorm(dim, eps=config.eps)
        self.ffn = FeedForward(dim, config.ffn_dim)
        self.scale_shift_table = nn.Parameter(_normal(1, 6, dim).div_(dim**0.5))

    def forward(
        self,
        x_BFPE: Tensor,
        modulation_BF6E: Tensor,
        text_kv: tuple[Tensor, Tensor],
        attention: SelfAttention,
        layer: int,
    ) -> Tensor:
        """One block over all frames, [B, F, P, E]."""
        table = (self.scale_shift_table[None].float() + modulation_BF6E.float()).unsqueeze(3)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = table.unbind(2)
        frames = x_BFPE.shape[1:3]

        y_BLE = _modulate(x_BFPE, shift, scale, self.eps).flatten(1, 2)
        q_BHLD = self.attn1.query(y_BLE)
        k_BHLD, v_BHLD = self.attn1.key_value(y_BLE)
        attended = self.attn1.merge(attention(layer, q_BHLD, k_BHLD, v_BHLD)).unflatten(1, frames)
        x_BFPE = (x_BFPE.float() + attended * gate).to(x_BFPE.dtype)

        weight, bias = self.norm2.weight.float(), self.norm2.bias.float()
        y_BLE = F.layer_norm(x_BFPE.float(), weight.shape, weight, bias, self.eps).to(x_BFPE.dtype).flatten(1, 2)
        attended = F.scaled_dot_product_attention(self.attn2.query(y_BLE), *text_kv)
        x_BFPE = x_BFPE + self.attn2.merge(attended).unflatten(1, frames)

        y_BFPE = _modulate(x_BFPE, ffn_shift, ffn_scale, self.eps)
        return (x_BFPE.float() + self.ffn(y_BFPE).float() * ffn_gate).to(x_BFPE.dtype)


class _Pair(nn.Module):
    """Two linear layers under the key names ``linear_1`` and ``linear_2``."""

    def __init__(self, inner: int, hidden: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inner, hidden), nn.Linear(hidden, hidden)


class ConditionEmbedder(nn.Module):
    """Time and text embeddings."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.freq_dim = config.freq_dim
        self.time_embedder = _Pair(config.freq_dim, config.dim)
        self.time_proj = nn.Linear(config.dim, 6 * config.dim)
        self.text_embedder = _Pair(config.text_dim, config.dim)

    def sinusoid(self, timestep_BF: Tensor) -> Tensor:
        """Sinusoidal features of timesteps, float32 [B, F, freq_dim]."""
        half = self.freq_dim // 2
        frequency = torch.exp(-math.log(10000) * torch.arange(half, device=timestep_BF.device) / half)
        angle = timestep_BF.float()[..., None] * frequency
        return torch.cat([angle.cos(), angle.sin()], -1)

    def time(self, timestep_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding [B, F, E] and modulation [B, F, 6, E] of timesteps."""
        e = self.time_embedder
        temb_BFE = e.linear_2(F.silu(e.linear_1(self.sinusoid(timestep_BF).to(e.linear_1.weight.dtype))))
        return temb_BFE, self.time_proj(F.silu(temb_BFE)).unflatten(-1, (6, -1))

    def text(self, hidden_BTE: Tensor) -> Tensor:
        """Text encoder states, projected to the network's width."""
        e = self.text_embedder
        return e.linear_2(F.gelu(e.linear_1(hidden_BTE), approximate="tanh"))


class WanTransformer(nn.Module):
    """Velocity of latent frames, given what their tokens may attend to.

    See the module header for shapes. ``patch_embedding`` is kept as a Conv3d for its parameter names; kernel and
    stride are equal, so it runs as one matrix product.
    """

    channel_std: Tensor | None

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config, dim = config, config.dim
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, config.patch_size, config.patch_size)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.num_layers)])
        self.proj_out = nn.Linear(dim, config.out_channels * math.prod(config.patch_size))
        self.scale_shift_table = nn.Parameter(_normal(1, 2, dim).div_(dim**0.5))
        self.role_embedding = nn.Parameter(_normal(3, dim).mul_(0.5)) if config.role_embedding else None
        self.grid_embedding = nn.Parameter(_normal(math.prod(config.grid), dim).mul_(0.5)) if config.grid else None
        std = None if config.channel_std is None else torch.tensor(config.channel_std)[:, None, None, None]
        self.register_buffer("channel_std", std, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix products; ``needs_float32`` names the weights that keep theirs."""
        return self.proj_out.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.proj_out.weight.device

    @staticmethod
    def needs_float32(name: str) -> bool:
        """Whether a weight or buffer keeps float32 in a network of lower precision.

        Sinusoids need more digits than bfloat16 has, modulation and norms are computed in float32, and all of these
        are small. The same modules stay in float32 in diffusers.
        """
        kept = {"time_embedder", "time_proj", "scale_shift_table", "norm2", "channel_std"}
        return not kept.isdisjoint(name.split("."))

    def embed_time(self, timestep_BF: Tensor) -> TimeEmbedding:
        """Embeds timesteps in [0, 1000], one per latent frame."""
        temb, modulation = self.condition_embedder.time(timestep_BF)
        return TimeEmbedding(timestep_BF.float() / 1000, temb, modulation)

    def embed_text(self, hidden_BTE: Tensor) -> TextContext:
        """Every layer's cross-attention keys and values of a prompt (text encoder states, padding zeroed)."""
        context_BTE = self.condition_embedder.text(hidden_BTE.to(self.dtype))
        pairs = [block.attn2.key_value(context_BTE) for block in self.blocks]
        return TextContext(tuple(k for k, _ in pairs), tuple(v for _, v in pairs))

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """Token rows and columns of a latent of this size; ValueError where patches do not fit."""
        rows, columns = self.config.patch_size[1:]
        if height % rows or width % columns:
            raise ValueError(f"latent is {height}x{width}; expected multiples of the patch {rows}x{columns}")
        return height // rows, width // columns

    def _patchify(self, x_BCFHW: Tensor) -> Tensor:
        _, p, q = self.config.patch_size
        rows, columns = self.token_grid(*x_BCFHW.shape[3:])
        x = x_BCFHW.unflatten(4, (columns, q)).unflatten(3, (rows, p))  # B C F h p w q
        x_BFPX = x.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(2, 3)
        return F.linear(x_BFPX, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def _unpatchify(self, x_BFPX: Tensor, rows: int, columns: int) -> Tensor:
        _, p, q = self.config.patch_size
        x = x_BFPX.unflatten(3, (p, q, -1)).unflatten(2, (rows, columns))  # B F h w p q C
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)

    def forward(
        self, x_BCFHW: Tensor, time: TimeEmbedding, text: TextContext, attention: SelfAttention, roles_F: Tensor
    ) -> Tensor:
        """Predicts ``noise - x0`` for every latent frame.

        Args:
            x_BCFHW: noisy (or, at timestep 0, clean) latents.
            time: ``embed_time`` of the frames' timesteps; B may be 1.
            text: ``embed_text`` of the prompt.
            attention: answers self-attention.
            roles_F: int64, 0 reference, 1 garment, 2 video; used only with ``role_embedding``.

        Returns:
            Velocity, same shape and dtype as ``x_BCFHW``.
        """
        rows, columns = self.token_grid(*x_BCFHW.shape[3:])
        scaled = None if self.channel_std is None else Preconditioner.at(time.level_BF, self.channel_std)
        x_in = x_BCFHW if scaled is None else x_BCFHW * scaled.c_in
        x_BFPE = self._patchify(x_in.to(self.dtype))
        if self.grid_embedding is not None:
            if (rows, columns) != self.config.grid:
                raise ValueError(f"token grid is {rows}x{columns}; this model was made for {self.config.grid}")
            x_BFPE = x_BFPE + self.grid_embedding
        if self.role_embedding is not None:
            x_BFPE = x_BFPE + self.role_embedding[roles_F][:, None]
        for layer, block in enumerate(self.blocks):
            x_BFPE = block(x_BFPE, time.modulation_BF6E, (text.keys[layer], text.values[layer]), attention, layer)
        shift, scale = (self.scale_shift_table[None].float() + time.temb_BFE[:, :, None].float()).unsqueeze(3).unbind(2)
        out = self._unpatchify(self.proj_out(_modulate(x_BFPE, shift, scale, self.config.eps)), rows, columns)
        return (out if scaled is None else scaled.velocity(x_BCFHW, out)).to(x_BCFHW.dtype)
