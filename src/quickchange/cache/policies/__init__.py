"""Policies: which frames leave when the window is full, and what a policy may learn of the cache.

The state machine decides what *may* leave; a policy chooses among that. Conditions are never a policy's to drop.
"""

from quickchange.cache.policies.base import Policy

__all__ = ["Policy"]
