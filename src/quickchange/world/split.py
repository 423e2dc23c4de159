"""The split of seeds into training and evaluation.

It depends on the seed alone. So no run trains on a clip by which another run is scored.
"""

from __future__ import annotations

import hashlib

HELD_OUT_SHARE = 20  # one seed in twenty


def held_out(seed: int) -> bool:
    """Whether a seed belongs to the evaluation split."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big") % HELD_OUT_SHARE == 0
