"""Which seeds are for training and which are held out.

A function of the seed alone, so no run ever trains on what another run is scored by.
"""

from __future__ import annotations

import hashlib

HELD_OUT_SHARE = 20  # one seed in twenty


def held_out(seed: int) -> bool:
    """Whether a seed belongs to the evaluation split."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big") % HELD_OUT_SHARE == 0
