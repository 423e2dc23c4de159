"""Where a stream looks: the share of self-attention that falls on reference, garment, history and the chunk itself.

The paper's analysis behind the rescheduling (FashionChameleon section 3.4): with a new garment alone, attention goes
on resting on history that shows the old one. ``AttentionMass`` stands in for the cache's attention and computes the
same outputs with the probabilities written out, so it is slow and for measuring only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from quickchange.cache import KVCache, Thread
from quickchange.session import Session

GROUPS = ("reference", "garment", "history", "itself")


class AttentionMass:
    """A ``transformer.SelfAttention`` through the cache that also sums up where its queries look.

    Attributes:
        mass: float64 [len(GROUPS)], the share of attention on every group, averaged over the passes, layers, heads and
            queries of chunks since ``reset``; sums to one. Passes of the conditions are not counted.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.reset()

    def reset(self) -> None:
        """Starts counting anew."""
        self._total, self._calls = torch.zeros(len(GROUPS), dtype=torch.float64), 0

    @property
    def mass(self) -> Tensor:
        """See the class; ValueError before the first chunk."""
        if not self._calls:
            raise ValueError("no chunk was generated since the last reset; generate one first")
        return self._total / self._calls

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        view = self.cache.layer(layer)
        k, v, mask = view.update(k_BHLD, v_BHLD)
        q = view.rotate(q_BHLD)
        logits = q.float() @ k.float().transpose(2, 3) * q.shape[-1] ** -0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        probability = logits.softmax(-1)
        frames = view.frames
        if frames.entries[0].thread is Thread.HISTORY:
            slot_S = probability.unflatten(3, (frames.prefix, -1)).sum(4).mean((0, 1, 2)).double().cpu()
            self._total += self._by_group(slot_S)
            self._calls += 1
        return (probability @ v.float()).to(q_BHLD.dtype)

    def _by_group(self, slot_S: Tensor) -> Tensor:
        shares = torch.zeros(len(GROUPS), dtype=torch.float64)
        own = {entry.slot for entry in self.cache.slots.writing}
        for entry in self.cache.visible:
            group = "itself" if entry.slot in own else entry.thread.value
            shares[GROUPS.index(group)] += slot_S[entry.slot]
        return shares


@contextmanager
def watch_attention(session: Session) -> Iterator[AttentionMass]:
    """Replaces a session's attention by one that is measured, as long as the context lasts."""
    rollout = session.rollout
    before = rollout.attention
    watching = AttentionMass(session.cache)
    rollout.attention = watching
    try:
        yield watching
    finally:
        rollout.attention = before
