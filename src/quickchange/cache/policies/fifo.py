"""First in, first out: the paper's policy. Reference, garment and sink are pinned, the oldest other chunk goes."""

from __future__ import annotations

from collections.abc import Sequence

from quickchange.cache.threads import Entry


class Fifo:
    """Gives up whole chunks, oldest first: half a chunk in memory is something training never showed."""

    def choose(self, evictable: Sequence[Entry], needed: int) -> list[Entry]:
        last = evictable[needed - 1].chunk
        return [entry for entry in evictable if entry.chunk <= last]
