"""Small caches and the moves of a stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from quickchange.cache import CacheConfig, KVCache, Thread
from quickchange.cache.threads import GARMENT, REFERENCE
from quickchange.kernels.rope import RotaryEmbedding

BATCH, HEADS, HEAD_DIM, GRID, LAYERS = 1, 2, 8, (1, 2), 2


@pytest.fixture
def make_cache() -> Callable[..., KVCache]:
    def make(
        max_frames: int = 1024, dtype: torch.dtype = torch.float32, device: str = "cpu", **sizes: object
    ) -> KVCache:
        config = CacheConfig(
            layers=LAYERS,
            heads=HEADS,
            head_dim=HEAD_DIM,
            tokens_per_frame=GRID[0] * GRID[1],
            **{"window": 11, "chunk": 3, "sink": 1, **sizes},  # type: ignore[arg-type]
        )
        rotary = RotaryEmbedding(HEAD_DIM, GRID, max_frames, device=device)
        return KVCache(config, rotary, batch=BATCH, dtype=dtype, device=device)

    return make


class Stream:
    """A network of random numbers: every pass writes seeded keys and values into a cache."""

    def __init__(self, cache: KVCache, seed: int = 0) -> None:
        self.cache, self.generator = cache, torch.Generator().manual_seed(seed)

    def randn(self, frames: int) -> torch.Tensor:
        """[LAYERS, 2, B, H, L, D]: keys and values of every layer."""
        tokens = frames * self.cache.config.tokens_per_frame
        shape = (LAYERS, 2, BATCH, HEADS, tokens, HEAD_DIM)
        return torch.randn(shape, generator=self.generator).to(self.cache.v.device, self.cache.v.dtype)

    def write(self, kv: torch.Tensor) -> None:
        for layer in range(LAYERS):
            self.cache.layer(layer).update(*kv[layer])

    def conditions(self, *given: Thread) -> None:
        self.cache.begin_conditions(*given)
        self.write(self.randn(2))
        self.cache.commit()

    def chunk(self) -> None:
        frames = self.cache.begin_chunk()
        self.write(self.randn(len(frames.entries)))
        self.cache.commit()

    def open(self, chunks: int = 0) -> Stream:
        self.conditions(REFERENCE, GARMENT)
        for _ in range(chunks):
            self.chunk()
        return self


@pytest.fixture
def stream(make_cache: Callable[..., KVCache]) -> Callable[..., Stream]:
    return lambda seed=0, **sizes: Stream(make_cache(**sizes), seed)
