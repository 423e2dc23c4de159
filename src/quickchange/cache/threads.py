"""Conditioning threads, their versions, and the life of a cache entry.

Everything that a video obeys is a thread: the reference person, the garment, the prompt. Each has a version that
counts how often it was given. A cache entry (one latent frame) remembers the versions it was made under; when one of
them moves on, the entry turns stale. What becomes of a stale entry is an explicit decision:

    LIVE --outdate--> STALE --withdraw--> WITHDRAWN        a switch drops what shows the old garment
      ^-----retain------'                                  an ablation keeps it all the same
    LIVE or STALE, not pinned --evict--> WITHDRAWN         the window is full

Pure logic: no tensors, nothing mutable. Transitions return new entries; illegal ones raise ``IllegalTransitionError``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from quickchange.errors import IllegalTransitionError

REFERENCE_POSITION, GARMENT_POSITION, VIDEO_POSITION = 0, 1, 2


class Thread(Enum):
    """What an entry belongs to. HISTORY is generated, the others are given."""

    REFERENCE = "reference"
    GARMENT = "garment"
    HISTORY = "history"
    TEXT = "text"


CONDITIONS = (Thread.REFERENCE, Thread.GARMENT)


class State(Enum):
    """Only LIVE entries are seen by attention; WITHDRAWN ones have left the cache."""

    LIVE = "live"
    STALE = "stale"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Versions:
    """Version of every given thread; 0 means never given."""

    reference: int = 0
    garment: int = 0
    text: int = 0

    def of(self, thread: Thread) -> int:
        """Version of a given thread; IllegalTransitionError for HISTORY, which has none."""
        if thread is Thread.HISTORY:
            raise IllegalTransitionError(
                "history has no version: it is generated, not given; open a new segment instead"
            )
        return int(getattr(self, thread.value))

    def bump(self, thread: Thread) -> Versions:
        """The versions after ``thread`` was given anew."""
        return replace(self, **{thread.value: self.of(thread) + 1})

    def __str__(self) -> str:
        return f"r{self.reference} g{self.garment} t{self.text}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One latent frame in the cache.

    Attributes:
        thread: REFERENCE, GARMENT or HISTORY.
        versions: what it was made under.
        segment: number of its segment, from 0.
        chunk, frame: running numbers over the whole stream, from 0; conditions carry those of the frame after them.
        position: rotary frame index.
        slot: where its keys and values lie.
        pinned: never evicted (conditions and sink).
        state: see ``State``.
        carried: outlived a switch by an explicit ``retain``.
    """

    thread: Thread
    versions: Versions
    segment: int
    chunk: int
    frame: int
    position: int
    slot: int
    pinned: bool = False
    state: State = State.LIVE
    carried: bool = False

    @property
    def evictable(self) -> bool:
        """Whether an eviction policy may choose it."""
        return self.thread is Thread.HISTORY and not self.pinned and self.state is not State.WITHDRAWN

    def outdate(self) -> Entry:
        """LIVE -> STALE: a thread it was made under moved on."""
        return self._go(State.STALE, self.state is State.LIVE, "only live entries turn stale")

    def retain(self) -> Entry:
        """STALE -> LIVE: kept visible although outdated. It keeps its old versions and is marked as carried over."""
        legal = self.state is State.STALE and self.thread is Thread.HISTORY
        return replace(self._go(State.LIVE, legal, "only stale history can be retained"), carried=True)

    def withdraw(self) -> Entry:
        """STALE -> WITHDRAWN: dropped because it shows something outdated. Pinned sinks are no exception."""
        legal = self.state is State.STALE and self.thread is Thread.HISTORY
        return self._go(State.WITHDRAWN, legal, "only stale history can be withdrawn")

    def evict(self) -> Entry:
        """LIVE or STALE -> WITHDRAWN: dropped because the window is full."""
        return self._go(State.WITHDRAWN, self.evictable, "only history that is not pinned can be evicted")

    def _go(self, state: State, legal: bool, rule: str) -> Entry:
        if not legal:
            pinned = "pinned " if self.pinned else ""
            raise IllegalTransitionError(
                f"{pinned}{self.thread.value} in slot {self.slot} is {self.state.value} "
                f"and cannot become {state.value}; {rule}"
            )
        return replace(self, state=state)
