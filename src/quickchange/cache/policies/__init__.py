"""Eviction policies: which frames leave when the window is full.

A policy only ever chooses among entries that the state machine calls evictable. It sees entries, never tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from quickchange.cache.policies.fifo import Fifo
from quickchange.cache.threads import Entry


class EvictionPolicy(Protocol):
    """Chooses what to give up."""

    def choose(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        """Picks at least ``needed`` of ``evictable``, which come oldest first; ``needed >= 1``."""
        ...


__all__ = ["EvictionPolicy", "Fifo"]
