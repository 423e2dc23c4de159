"""The KV cache as a state machine: conditioning threads, versions, and what becomes of entries made under old ones."""

from quickchange.cache.cache import CacheConfig, KVCache, Snapshot
from quickchange.cache.layers import Frames, LayerCache
from quickchange.cache.policies import EvictionPolicy, Fifo
from quickchange.cache.reschedule import NEW_REFERENCE, VARIANTS, Actions, Moves, Outcome, Source, keep_sink, reschedule
from quickchange.cache.slots import Slots, WindowConfig
from quickchange.cache.threads import Entry, IllegalTransition, State, Thread, Versions

__all__ = [
    "NEW_REFERENCE",
    "VARIANTS",
    "Actions",
    "CacheConfig",
    "Entry",
    "EvictionPolicy",
    "Fifo",
    "Frames",
    "IllegalTransition",
    "KVCache",
    "LayerCache",
    "Moves",
    "Outcome",
    "Slots",
    "Snapshot",
    "Source",
    "State",
    "Thread",
    "Versions",
    "WindowConfig",
    "keep_sink",
    "reschedule",
]
