"""The cache against a slow and obvious one: lists of frames, torch.cat, everything rotated from scratch."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from quickchange.cache import KVCache, Thread
from quickchange.cache.threads import GARMENT, REFERENCE


@dataclass
class Frame:
    kv: torch.Tensor  # LAYERS, 2, B, H, P, D
    position: int
    chunk: int
    pinned: bool
    stale: bool = False


class ObviousCache:
    """First in, first out with pinned sink; reference at 0, garment at 1."""

    def __init__(self, cache: KVCache) -> None:
        self.config, self.rotary = cache.config, cache.rotary
        self.conditions: list[Frame] = []
        self.history: list[Frame] = []
        self.chunks, self.clock = 0, 0

    def split(self, kv: torch.Tensor) -> list[torch.Tensor]:
        return list(kv.split(self.config.tokens_per_frame, dim=4))

    def attend(self, frames: list[Frame], own: int, layer: int, q: torch.Tensor) -> torch.Tensor:
        """Queries of the last ``own`` frames over all of ``frames``."""
        places = torch.tensor([frame.position for frame in frames])
        k = self.rotary.rotate(torch.cat([frame.kv[layer, 0] for frame in frames], 2), places)
        v = torch.cat([frame.kv[layer, 1] for frame in frames], 2)
        return F.scaled_dot_product_attention(self.rotary.rotate(q, places[-own:]), k, v)

    def write_conditions(self, kv: torch.Tensor) -> list[Frame]:
        self.conditions = [Frame(part, i, -1, True) for i, part in enumerate(self.split(kv))]
        return self.conditions

    def write_chunk(self, kv: torch.Tensor, commit: bool) -> list[Frame]:
        c = self.config
        while len(self.history) + 2 + c.chunk > c.window:
            oldest = next(frame.chunk for frame in self.history if not frame.pinned)
            self.history = [frame for frame in self.history if frame.pinned or frame.chunk != oldest]
        seen = [frame for frame in self.history if not frame.stale]
        start = 2 + self.clock
        if c.positions == "window" or (c.positions == "auto" and start + c.chunk > c.window):
            for i, frame in enumerate(seen):
                frame.position = 2 + i
            start = 2 + len(seen)
        pinned = sum(frame.pinned for frame in self.history) < c.sink * c.chunk
        new = [Frame(part, start + i, self.chunks, pinned) for i, part in enumerate(self.split(kv))]
        if commit:
            self.history, self.clock, self.chunks = self.history + new, self.clock + c.chunk, self.chunks + 1
        return self.conditions + seen + new

    def outdate(self) -> None:
        for frame in self.history:
            frame.stale = True

    def retain(self, sink_only: bool) -> None:
        for frame in self.history:
            frame.stale = frame.stale and sink_only and not frame.pinned

    def withdraw(self) -> None:
        self.history = [frame for frame in self.history if not frame.stale]

    def open_segment(self) -> None:
        self.clock = len(self.history)
        for i, frame in enumerate(self.history):
            frame.position = 2 + i


SIZES = [
    {"window": 11, "chunk": 3, "sink": 1, "positions": "auto"},
    {"window": 10, "chunk": 3, "sink": 1, "positions": "auto"},
    {"window": 12, "chunk": 3, "sink": 1, "positions": "window"},
    {"window": 9, "chunk": 2, "sink": 1, "positions": "segment"},
    {"window": 10, "chunk": 2, "sink": 2, "positions": "auto"},
    {"window": 9, "chunk": 3, "sink": 0, "positions": "window"},
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(map(str, sizes.values())))
def test_same_attention_after_any_history(stream: Callable[..., Any], sizes: dict[str, object], seed: int) -> None:
    s = stream(seed=seed, **sizes)
    cache, obvious, choice = s.cache, ObviousCache(s.cache), random.Random(seed)

    def compare(kv: torch.Tensor, frames: list[Frame], own: int) -> None:
        for layer in range(cache.config.layers):
            q = s.randn(own)[0, 0]
            k, v, mask = cache.layer(layer).update(*kv[layer])
            ours = F.scaled_dot_product_attention(cache.layer(layer).rotate(q), k, v, attn_mask=mask)
            torch.testing.assert_close(ours, obvious.attend(frames, own, layer, q), atol=2e-5, rtol=1e-4)

    def conditions(*given: Thread) -> None:
        cache.begin_conditions(*given)
        kv = s.randn(2)
        compare(kv, obvious.write_conditions(kv), 2)
        cache.commit()

    def chunk() -> None:
        commit, own = choice.random() < 0.9, cache.config.chunk
        cache.begin_chunk()
        s.write(s.randn(own))  # an earlier denoising pass leaves no trace
        kv = s.randn(own)
        compare(kv, obvious.write_chunk(kv, commit), own)
        (cache.commit if commit else cache.abort)()

    def switch() -> None:
        given = choice.sample([REFERENCE, GARMENT], choice.choice([1, 2]))
        for thread in given:
            cache.bump(thread)
        obvious.outdate()
        fate = choice.choice(["withdraw", "retain", "keep sink", "leave stale"])
        if fate in ("retain", "keep sink"):
            cache.retain(fate == "keep sink")
            obvious.retain(fate == "keep sink")
        if fate in ("withdraw", "keep sink"):
            cache.withdraw()
            obvious.withdraw()
        conditions()
        if fate != "leave stale" and choice.random() < 0.7:
            choice.choice([cache.open_segment, cache.rewind])()
            obvious.open_segment()

    conditions(REFERENCE, GARMENT)
    for _ in range(30):
        choice.choice([chunk, chunk, chunk, switch])()
