"""Training-free KV cache rescheduling: a switch is a list of moves (docs/method.md section 6).

The three moves of the paper (its section 3.4) are ``Refresh`` (a new garment), ``Withdraw`` (history that shows the old
one leaves) and ``Disentangle`` (the reference becomes the last generated frame, encoded alone). Reference and garment
attend to each other, so both are computed in one ``Forward``, after which ``OpenSegment`` makes the cache look exactly
like the start of a training clip. Ablation variants are other lists of the same moves, not flags inside them.

Order: first what is given anew, then what becomes of the history that this outdated, then the joint pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor

from quickchange.cache.threads import GARMENT, REFERENCE, Entry

if TYPE_CHECKING:
    from quickchange.engine.rollout import Rollout


class Source(Enum):
    """Sources of the reference for the joint pass."""

    CURRENT = "the reference in force, or the one the user has just given"
    LAST_FRAME = "the last generated frame, decoded and encoded alone as one frame"
    LAST_LATENT = "the last generated latent as it is, although it stands for four frames"
    ORIGINAL = "the reference that the stream was opened with"
    RANDOM = "another frame of the stream, at random"


@dataclass(frozen=True)
class Refresh:
    """A new garment; history becomes stale."""


@dataclass(frozen=True)
class Disentangle:
    """A new reference; history becomes stale."""

    source: Source = Source.LAST_FRAME


@dataclass(frozen=True)
class Retain:
    """Stale history (or only its sink) stays visible all the same."""

    sink_only: bool = False


@dataclass(frozen=True)
class Withdraw:
    """Stale history leaves."""


@dataclass(frozen=True)
class Forward:
    """Reference and garment are encoded and forwarded jointly at t = 0."""


@dataclass(frozen=True)
class OpenSegment:
    """Positions restart; the session restarts its decoder."""


@dataclass(frozen=True)
class Recache:
    """Forward what was withdrawn again at t = 0, under what is in force now (LongLive).

    Attributes:
        frames: at most so many, the last ones.
    """

    frames: int = 12


Move = Refresh | Disentangle | Retain | Withdraw | Forward | OpenSegment | Recache
Moves = tuple[Move, ...]


@dataclass(frozen=True)
class Outcome:
    """Result of a switch: entries that left, and whether a new segment began (new decoder state)."""

    withdrawn: tuple[Entry, ...]
    new_segment: bool


def keep_sink(moves: Moves) -> Moves:
    """The same switch, except that the sink survives it and stays visible, with the old garment in it."""
    return tuple(part for move in moves for part in ((Retain(sink_only=True), move) if move == Withdraw() else (move,)))


FULL: Moves = (Refresh(), Disentangle(), Withdraw(), Forward(), OpenSegment())
"""The paper's method. The next chunk sees the new reference and garment, nothing else: as in training."""

REFRESH: Moves = (Refresh(), Retain(), Forward())
"""Garment alone. The next chunk sees the new garment and all history, and mostly follows history: clothes stay."""

REFRESH_WITHDRAW: Moves = (Refresh(), Withdraw(), Forward(), OpenSegment())
"""No disentangle. The next chunk sees the old reference: clothes change, the motion restarts from its pose."""

RECACHE: Moves = (Refresh(), Withdraw(), Forward(), Recache())
"""LongLive. The next chunk sees the new garment and recent frames recomputed under it, which still show the old one.
The segment goes on: same decoder state."""

NEW_REFERENCE: Moves = (Disentangle(Source.CURRENT), Withdraw(), Forward(), OpenSegment())
"""The user gives another person. The garment's version stays, its keys are computed anew beside the new reference."""

_BASE: dict[str, Moves] = {
    "full": FULL,
    "refresh": REFRESH,
    "refresh+withdraw": REFRESH_WITHDRAW,
    "original_reference": (Refresh(), Disentangle(Source.ORIGINAL), *FULL[2:]),
    "random_reference": (Refresh(), Disentangle(Source.RANDOM), *FULL[2:]),
    "last_latent": (Refresh(), Disentangle(Source.LAST_LATENT), *FULL[2:]),
    "recache": RECACHE,
}
VARIANTS: Mapping[str, Moves] = MappingProxyType(
    _BASE | {f"{name}+sink": keep_sink(moves) for name, moves in _BASE.items() if Withdraw() in moves}
)
"""Garment switches by name, for the ablation; "+sink" keeps the sink."""


def source_of(moves: Sequence[Move]) -> Source:
    """Source of the reference for these moves: the caller has it ready before ``switch``."""
    return next((move.source for move in moves if isinstance(move, Disentangle)), Source.CURRENT)


def switch(
    moves: Sequence[Move],
    rollout: Rollout,
    *,
    reference: Tensor,
    garment: Tensor,
    history: Sequence[Tensor] = (),
) -> Outcome:
    """Carry a switch out, at a chunk border. All encoding is done by then: if that failed, the cache is untouched.

    Args:
        moves: e.g. ``VARIANTS["full"]``.
        rollout: the stream's rollout, no pass open.
        reference: latent of the person from ``source_of(moves)``, [B, C, 1, H, W].
        garment: latent of the garment to wear from now on, [B, C, 1, H, W].
        history: latents of the last chunks, oldest first, [B, C, F, H, W] each; only ``Recache`` reads them.

    Raises:
        IllegalTransitionError: the moves do not fit the cache's state.
    """
    cache = rollout.cache
    segment = cache.segment
    withdrawn: tuple[Entry, ...] = ()
    for move in moves:
        match move:
            case Refresh():
                cache.bump(GARMENT)
            case Disentangle():
                cache.bump(REFERENCE)
            case Retain(sink_only):
                cache.retain(sink_only)
            case Withdraw():
                withdrawn += cache.withdraw()
            case Forward():
                rollout.conditions(reference, garment)
            case OpenSegment():
                cache.open_segment()
            case Recache(frames):
                cache.rewind()
                chunks = min(min(frames, len(withdrawn)) // cache.config.chunk, len(history))
                rollout.recache(history[len(history) - chunks :])
    return Outcome(withdrawn, cache.segment != segment)
