"""The KV cache as a state machine: conditioning threads, versions, and what becomes of entries made under old ones."""

from quickchange.cache.cache import CacheConfig, KVCache, Snapshot
from quickchange.cache.layers import Frames, LayerCache
from quickchange.cache.ledger import Ledger, WindowConfig
from quickchange.cache.policies import EvictionPolicy, Fifo
from quickchange.cache.threads import Entry, State, Thread, Versions

__all__ = [
    "CacheConfig",
    "Entry",
    "EvictionPolicy",
    "Fifo",
    "Frames",
    "KVCache",
    "LayerCache",
    "Ledger",
    "Snapshot",
    "State",
    "Thread",
    "Versions",
    "WindowConfig",
]
