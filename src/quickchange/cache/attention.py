"""A layer's self-attention answered through the KV cache (``transformer.SelfAttention``)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from quickchange.cache.cache import KVCache


class CachedAttention:
    """Self-attention through the KV cache: writes the frames being computed, reads what they may see."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """Write a layer's keys and values, and attend to what the queries may see."""
        view = self.cache.layer(layer)
        k, v, mask = view.update(k_BHLD, v_BHLD)
        return F.scaled_dot_product_attention(view.rotate(q_BHLD), k, v, attn_mask=mask)
