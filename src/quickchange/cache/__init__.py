"""The KV cache as a state machine: conditioning threads, versions, and what becomes of entries made under old ones."""

from quickchange.cache.cache import CacheConfig, KVCache, Snapshot
from quickchange.cache.layers import Frames, LayerCache
from quickchange.cache.ledger import Ledger, WindowConfig
from quickchange.cache.policies import Policy
from quickchange.cache.threads import Entry, State, Thread, Versions

__all__ = [
    "CacheConfig",
    "Entry",
    "Frames",
    "KVCache",
    "LayerCache",
    "Ledger",
    "Policy",
    "Snapshot",
    "State",
    "Thread",
    "Versions",
    "WindowConfig",
]
