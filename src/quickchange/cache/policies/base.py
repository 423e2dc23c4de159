"""The interface of cache policies. The base class is the paper's policy: first in, first out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from quickchange.cache.threads import Entry, Thread

if TYPE_CHECKING:
    from quickchange.cache.layers import LayerCache


class Policy:
    """Chooses what a full cache gives up; here: whole chunks, oldest first.

    Choices are pure and see entries only. Notices may look at tensors, without a host sync. One instance belongs to one
    cache.
    """

    def evict(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        """Choose what leaves. Whole chunks, since training never showed half a chunk in memory.

        Args:
            evictable: what may leave, oldest first.
            needed: frames to give up, 1 or more.

        Returns:
            At least ``needed`` of ``evictable``.
        """
        last = evictable[needed - 1].chunk
        return [entry for entry in evictable if entry.chunk <= last]

    def committed(self, entries: Sequence[Entry], layers: Sequence[LayerCache]) -> None:
        """Notice that a chunk has been filed; its keys and values lie in ``layers`` at the entries' slots."""

    def switched(self, thread: Thread) -> None:
        """Notice that a thread was given anew: what was derived from outdated history must be forgotten."""
