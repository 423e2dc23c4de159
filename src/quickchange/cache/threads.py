"""Conditioning threads, their versions, and the life of a cache entry.

Each condition of a video is a thread: the reference person, the garment, the prompt. A thread has a version, which
counts how often it was given. A cache entry (one latent frame) records the versions it was made under. When one of them
increases, the entry becomes stale. The fate of a stale entry is an explicit decision:

    LIVE --outdate--> STALE --withdraw--> WITHDRAWN        a switch drops what shows the old garment
      ^-----retain------'                                  an ablation keeps it all the same
    LIVE or STALE, not pinned --evict--> WITHDRAWN         the window is full

Pure logic: no tensors, nothing mutable. Transitions return new entries; illegal ones raise ``IllegalTransitionError``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from quickchange.errors import IllegalTransitionError


@dataclass(frozen=True, slots=True)
class Thread:
    """A condition of the stream, or its history. Entries belong to one.

    Attributes:
        name: e.g. "garment"; its first letter marks versions in tables.
        position: slot and rotary frame index of its pinned entry; None where it has none (text, history).
        outdates: whether a new version turns the live entries stale.
    """

    name: str
    position: int | None = None
    outdates: bool = True


REFERENCE = Thread("reference", 0)
GARMENT = Thread("garment", 1)
TEXT = Thread("text", outdates=False)
"""A new prompt outdates nothing: what happened so far stays true."""
HISTORY = Thread("history")
"""Generated, not given: in no layout, and without a version."""


@dataclass(frozen=True)
class Layout:
    """The threads that condition a stream.

    Attributes:
        threads: those with a position hold the first slots, in the order of their positions 0, 1, 2, ...

    Raises:
        ValueError: positions with gaps or in another order, or two threads of one name.
    """

    threads: tuple[Thread, ...]

    def __post_init__(self) -> None:
        """Check the positions."""
        positions = [thread.position for thread in self.conditions]
        names = [thread.name for thread in self.threads]
        if positions != list(range(len(positions))) or len(set(names)) < len(names) or HISTORY in self.threads:
            raise ValueError(
                f"threads are {', '.join(names)} at positions {positions}; expected different names, without history, "
                "at positions 0, 1, 2, ..."
            )

    @property
    def conditions(self) -> tuple[Thread, ...]:
        """Threads with a pinned entry, computed jointly."""
        return tuple(thread for thread in self.threads if thread.position is not None)

    @property
    def video_position(self) -> int:
        """Rotary frame index of the first generated frame."""
        return len(self.conditions)


FASHION = Layout((REFERENCE, GARMENT, TEXT))
"""A person, what they wear, what they do."""


class State(Enum):
    """Only LIVE entries are seen by attention; WITHDRAWN ones have left the cache."""

    LIVE = "live"
    STALE = "stale"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Versions:
    """Number of times that each thread of a layout was given; 0 means never.

    Attributes:
        layout: the threads.
        counts: their versions, in the same order; default: all 0.
    """

    layout: Layout = FASHION
    counts: tuple[int, ...] = ()

    def of(self, thread: Thread) -> int:
        """Version of a thread.

        Raises:
            IllegalTransitionError: history, which has none, or a thread of another layout.
        """
        return self._counts[self._index(thread)]

    def bump(self, thread: Thread) -> Versions:
        """The versions after ``thread`` was given anew."""
        counts, index = self._counts, self._index(thread)
        return replace(self, counts=(*counts[:index], counts[index] + 1, *counts[index + 1 :]))

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.counts or (0,) * len(self.layout.threads)

    def _index(self, thread: Thread) -> int:
        if thread == HISTORY:
            raise IllegalTransitionError(
                "history has no version: it is generated, not given; open a new segment instead"
            )
        if thread not in self.layout.threads:
            known = ", ".join(known.name for known in self.layout.threads)
            raise IllegalTransitionError(f"no thread {thread.name!r} in this layout; expected one of {known}")
        return self.layout.threads.index(thread)

    def __str__(self) -> str:
        """``r1 g2 t0``."""
        pairs = zip(self.layout.threads, self._counts, strict=True)
        return " ".join(f"{thread.name[0]}{count}" for thread, count in pairs)


@dataclass(frozen=True, slots=True)
class Entry:
    """One latent frame in the cache.

    Attributes:
        thread: a condition of the layout, or HISTORY.
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
        return self.thread == HISTORY and not self.pinned and self.state is not State.WITHDRAWN

    def outdate(self) -> Entry:
        """LIVE -> STALE: a thread it was made under moved on."""
        return self._go(State.STALE, self.state is State.LIVE, "only live entries turn stale")

    def retain(self) -> Entry:
        """STALE -> LIVE: kept visible although outdated. It keeps its old versions and is marked as carried over."""
        legal = self.state is State.STALE and self.thread == HISTORY
        return replace(self._go(State.LIVE, legal, "only stale history can be retained"), carried=True)

    def withdraw(self) -> Entry:
        """STALE -> WITHDRAWN: dropped because it shows something outdated. Pinned sinks are no exception."""
        legal = self.state is State.STALE and self.thread == HISTORY
        return self._go(State.WITHDRAWN, legal, "only stale history can be withdrawn")

    def evict(self) -> Entry:
        """LIVE or STALE -> WITHDRAWN: dropped because the window is full."""
        return self._go(State.WITHDRAWN, self.evictable, "only history that is not pinned can be evicted")

    def _go(self, state: State, legal: bool, rule: str) -> Entry:
        if not legal:
            pinned = "pinned " if self.pinned else ""
            raise IllegalTransitionError(
                f"{pinned}{self.thread.name} in slot {self.slot} is {self.state.value} "
                f"and cannot become {state.value}; {rule}"
            )
        return replace(self, state=state)
