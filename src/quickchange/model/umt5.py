"""The text encoder: umT5's encoder (Chung et al. 2023, "UniMax") at any size.

Parameter names are those of transformers' ``UMT5EncoderModel``, and the states are the same (tested). This module does
not import transformers, whose modelling code takes seconds to load. Unlike T5 (Raffel et al. 2020), every layer has a
relative position bias of its own. As in T5, queries are not scaled, norms do not centre, and projections have no bias.

There is no dropout: nothing here trains with it.

Shape suffixes: B prompts, T tokens (queries, then keys), E width, H heads, D width of a head.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickchange.files import save_safetensors_atomic, write_json_atomic

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
EMBEDDING = "shared.weight"
TIED = "encoder.embed_tokens.weight"  # transformers' second name of the embedding; a file holds either, or both


@dataclass(frozen=True, slots=True)
class UMT5EncoderConfig:
    """Size of the encoder; names and defaults are those of transformers' ``UMT5Config``.

    Attributes:
        vocab_size: rows of the embedding.
        d_model: E, width of the states.
        d_kv: D, width of a head.
        d_ff: inner width of the feed-forward layers.
        num_layers: blocks of attention and feed-forward layer.
        num_heads: H, heads of attention.
        relative_attention_num_buckets: classes of distance between two tokens, both directions together; even.
        relative_attention_max_distance: from this distance on, in tokens, all distances are one class.
        layer_norm_epsilon: added to the mean square in norms.
        feed_forward_proj: kind of the feed-forward layers; only "gated-gelu".
        pad_token_id: fills a batch's shorter prompts.
        eos_token_id: ends a prompt.

    Raises:
        ValueError: a value out of range, or another kind of feed-forward layer.
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "gated-gelu"
    pad_token_id: int = 0
    eos_token_id: int = 1

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1")
        buckets, farthest = self.relative_attention_num_buckets, self.relative_attention_max_distance
        if buckets < 4 or buckets % 2:
            raise ValueError(f"relative_attention_num_buckets is {buckets}; expected an even number >= 4")
        if farthest <= buckets // 4:
            raise ValueError(
                f"relative_attention_max_distance is {farthest}; expected more than the {buckets // 4} distances "
                f"that have a bucket of their own among {buckets}"
            )
        if self.feed_forward_proj != "gated-gelu":
            raise ValueError(f"feed_forward_proj is {self.feed_forward_proj!r}; expected 'gated-gelu'")

    def to_dict(self) -> dict[str, Any]:
        """Values for a ``config.json`` that transformers reads as well."""
        return {
            "architectures": ["UMT5EncoderModel"],
            "model_type": "umt5",
            **asdict(self),
            "dense_act_fn": "gelu_new",
            "is_gated_act": True,
            "dropout_rate": 0.0,
            "tie_word_embeddings": True,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> UMT5EncoderConfig:
        """Read transformers' ``config.json``; settings of a decoder or of its training are left out.

        Raises:
            ValueError: another architecture, a size is missing, or a value out of range.
        """
        for name, expected in (("model_type", "umt5"), ("dense_act_fn", "gelu_new"), ("is_gated_act", True)):
            if values.get(name, expected) != expected:
                raise ValueError(f"{name} of the text encoder is {values[name]!r}; expected {expected!r}")
        known = {field.name: values[field.name] for field in fields(UMT5EncoderConfig) if field.name in values}
        try:
            return UMT5EncoderConfig(**known)
        except TypeError as error:
            raise ValueError(f"the text encoder's config is incomplete: {error}") from error


class _Linear(nn.Linear):
    """Without bias and without initial values."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Draw nothing: stored weights follow, and random draws on the meta device import much of torch."""


class _Embedding(nn.Embedding):
    """Without initial values."""

    def reset_parameters(self) -> None:
        """Draw nothing, as in ``_Linear``."""


class _RMSNorm(nn.Module):
    """Root-mean-square norm, measured in float32; the result has the weight's precision if that is half."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(dim)), eps

    def forward(self, x_BTE: Tensor) -> Tensor:
        scale_BT1 = torch.rsqrt(x_BTE.float().pow(2).mean(-1, keepdim=True) + self.eps)
        normed_BTE = x_BTE * scale_BT1
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            normed_BTE = normed_BTE.to(self.weight.dtype)
        return self.weight * normed_BTE


class _SelfAttention(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        outer, inner = config.d_model, config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.q, self.k, self.v = _Linear(outer, inner), _Linear(outer, inner), _Linear(outer, inner)
        self.o = _Linear(inner, outer)
        self.relative_attention_bias = _Embedding(config.relative_attention_num_buckets, config.num_heads)

    def forward(self, x_BTE: Tensor, mask_BT: Tensor, bucket_TT: Tensor) -> Tensor:
        q_BHTD, k_BHTD, v_BHTD = (
            projection(x_BTE).unflatten(2, (self.heads, -1)).transpose(1, 2) for projection in (self.q, self.k, self.v)
        )
        bias_HTT = self.relative_attention_bias(bucket_TT).permute(2, 0, 1)
        # The least finite number instead of -inf: a row of padding alone stays finite.
        bias_BHTT = torch.where(mask_BT[:, None, None], bias_HTT, torch.finfo(k_BHTD.dtype).min).contiguous()
        out_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=bias_BHTT, scale=1.0)
        out: Tensor = self.o(out_BHTD.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = _Linear(config.d_model, config.d_ff), _Linear(config.d_model, config.d_ff)
        self.wo = _Linear(config.d_ff, config.d_model)

    def forward(self, x_BTE: Tensor) -> Tensor:
        gate = self.wi_0(x_BTE)
        # GELU by tanh, spelled out: torch's own rounds differently from the function that the weights were trained with
        gate = 0.5 * gate * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (gate + 0.044715 * gate.pow(3.0))))
        inner = gate * self.wi_1(x_BTE)
        out: Tensor = self.wo(inner.to(self.wo.weight.dtype))
        return out


class _AttentionLayer(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.SelfAttention = _SelfAttention(config)
        self.layer_norm = _RMSNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x_BTE: Tensor, mask_BT: Tensor, bucket_TT: Tensor) -> Tensor:
        return _finite(x_BTE + self.SelfAttention(self.layer_norm(x_BTE), mask_BT, bucket_TT))


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.DenseReluDense = _FeedForward(config)
        self.layer_norm = _RMSNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x_BTE: Tensor) -> Tensor:
        return _finite(x_BTE + self.DenseReluDense(self.layer_norm(x_BTE)))


class _Block(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(config), _FeedForwardLayer(config)])

    def forward(self, x_BTE: Tensor, mask_BT: Tensor, bucket_TT: Tensor) -> Tensor:
        x_BTE = self.layer[0](x_BTE, mask_BT, bucket_TT)
        x_BTE = self.layer[1](x_BTE)
        return x_BTE


class _Stack(nn.Module):
    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.buckets, self.farthest = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self.block = nn.ModuleList([_Block(config) for _ in range(config.num_layers)])
        self.final_layer_norm = _RMSNorm(config.d_model, config.layer_norm_epsilon)

    def forward(self, x_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        bucket_TT = distance_buckets(x_BTE.shape[1], self.buckets, self.farthest, x_BTE.device)
        for block in self.block:
            x_BTE = block(x_BTE, mask_BT, bucket_TT)
        x_BTE = self.final_layer_norm(x_BTE)
        return x_BTE


class UMT5Encoder(nn.Module):
    """Token ids to states. A new one has no values: ``from_state`` and ``from_pretrained`` give it weights.

    Attributes:
        config: its size.
    """

    def __init__(self, config: UMT5EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.shared = _Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Encode a batch of prompts. Differentiable.

        Args:
            ids_BT: token ids, int64.
            mask_BT: bool, True where a token is; no token attends to the others.

        Returns:
            States [B, T, E], in the dtype of the weights. Those where the mask is False mean nothing.
        """
        states: Tensor = self.encoder(self.shared(ids_BT), mask_BT)
        return states

    @staticmethod
    def from_state(config: UMT5EncoderConfig, weights: Mapping[str, Tensor]) -> UMT5Encoder:
        """Build an encoder around tensors, without a copy of them.

        Args:
            config: its size.
            weights: by the names of transformers' ``UMT5EncoderModel``. The embedding may have either of its two
                names, or both.

        Returns:
            The encoder, in evaluation mode and trainable.

        Raises:
            ValueError: weights are missing or unknown.
            RuntimeError: a weight has another shape.
        """
        given = {name: value for name, value in weights.items() if name != TIED}
        if TIED in weights:
            given.setdefault(EMBEDDING, weights[TIED])
        with torch.device("meta"):
            module = UMT5Encoder(config)
        expected = module.state_dict().keys()
        lacking = [name for name in expected if name not in given]
        unknown = [name for name in given if name not in expected]
        if lacking or unknown:
            raise ValueError(
                f"the text encoder's weights do not fit its config of {config.num_layers} layers: "
                f"{len(lacking)} missing, e.g. {lacking[:2]}; {len(unknown)} unknown, e.g. {unknown[:2]}"
            )
        module.load_state_dict(given, assign=True)
        return module.eval()

    @staticmethod
    def from_pretrained(folder: Path | str, dtype: torch.dtype = torch.float32) -> UMT5Encoder:
        """Load a ``text_encoder/`` folder: ``config.json`` and one safetensors file, or shards with an index.

        Args:
            folder: as this class or transformers saves it.
            dtype: of the weights. In float16, ``wo`` stays float32, as in transformers: its sums overflow.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: another architecture, or files that do not fit together.
        """
        folder = Path(folder)
        config = UMT5EncoderConfig.from_dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        weights: dict[str, Tensor] = {}
        for name, tensor in _stored(folder):
            kept = dtype == torch.float16 and name.endswith(".wo.weight")
            weights[name] = tensor.to(torch.float32 if kept else dtype)
        return UMT5Encoder.from_state(config, weights)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``config.json`` and ``model.safetensors``, each complete or not at all; transformers reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_safetensors_atomic(self.state_dict(), folder / WEIGHTS, {"format": "pt"})
        dtype = str(self.shared.weight.dtype).removeprefix("torch.")
        write_json_atomic(folder / CONFIG, {**self.config.to_dict(), "dtype": dtype})


def distance_buckets(tokens: int, buckets: int, farthest: int, device: torch.device | str = "cpu") -> Tensor:
    """Classes of the distance between two tokens (Raffel et al. 2020, section 2.1), for both directions.

    In each direction, half of the classes hold one distance each and the other half grow logarithmically.

    Args:
        tokens: T.
        buckets: number of classes, both directions together.
        farthest: from this distance on all are one class.
        device: torch device.

    Returns:
        int64 [T, T], queries by keys, in [0, buckets).
    """
    place_T = torch.arange(tokens, device=device)
    ahead_TT = place_T[None, :] - place_T[:, None]
    distance_TT = ahead_TT.abs()
    half, exact = buckets // 2, buckets // 4
    ratio_TT = torch.log(distance_TT.clamp(min=exact).float() / exact) / math.log(farthest / exact)
    wide_TT = (exact + (ratio_TT * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance_TT < exact, distance_TT, wide_TT) + half * (ahead_TT > 0)


def _finite(x: Tensor) -> Tensor:
    """In float16, replace infinite sums by large finite ones, with room for the next addition."""
    if x.dtype != torch.float16:
        return x
    greatest = torch.finfo(x.dtype).max
    limit = torch.where(x.isinf().any(), greatest - 1000, greatest)
    return x.clamp(-limit, limit)


def _stored(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of the one file, else of the shards that its index names (plain file names only)."""
    from safetensors import safe_open

    names, index = [WEIGHTS], folder / f"{WEIGHTS}.index.json"
    if not (folder / WEIGHTS).is_file() and index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names the shard {name!r}; expected a safetensors file in the same folder")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} not found; expected the weights of the text encoder")
        with safe_open(folder / name, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                yield key, tensors.get_tensor(key)
