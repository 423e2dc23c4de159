"""The ledger of the cache: the latent frame in every slot, its position, and its legal transitions.

A slot holds one latent frame. ``Ledger`` is one immutable state; every transition returns the next one, so a snapshot
is the object itself. Frames are written in a *pass*: ``begin_conditions`` or ``begin_chunk`` reserves slots, ``commit``
files them as live entries, ``abort`` frees them. Between the begin and the end of a pass, no other transition is legal.

This module is pure logic, without tensors. Slots are never reordered, because attention does not depend on the order
of keys. The lowest free slot is taken first, so visible entries form a prefix of the slots, unless stale frames leave
holes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, get_args

from quickchange.cache.policies import Policy
from quickchange.cache.threads import (
    FASHION,
    HISTORY,
    TEXT,
    Entry,
    Layout,
    State,
    Thread,
    Versions,
)
from quickchange.errors import IllegalTransitionError

PositionMode = Literal["auto", "segment", "window"]


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """Sizes of the attention window, counted in latent frames.

    Attributes:
        window: slots in total: reference, garment, sink and recent frames including the chunk being generated.
        chunk: frames generated at a time.
        sink: first chunks that are pinned (0 for none).
        layout: the threads that condition the stream.
        positions: rotary frame indices of the video, which start behind the conditions (2 for FASHION).
            "segment": count up from the start of the segment, as in the paper.
            "window": 2, 3, 4, ... over what is visible, in order of time; never beyond ``window - 1``.
            "auto": "segment" while that stays within the window, then "window".

    Raises:
        ValueError: a number out of range.
    """

    window: int = 23
    chunk: int = 3
    sink: int = 1
    layout: Layout = FASHION
    positions: PositionMode = "auto"

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.sink < 0:
            raise ValueError(f"chunk is {self.chunk}, sink {self.sink}; expected chunk >= 1, sink >= 0, e.g. 3 and 1")
        least = self.layout.video_position + self.chunk * (self.sink + 1)
        if self.window < least:
            raise ValueError(
                f"window is {self.window}; expected at least {least}: "
                f"{', '.join(thread.name for thread in self.layout.conditions)}, {self.sink} sink chunk(s) and the "
                f"chunk being generated, {self.chunk} frames each; enlarge the window or shorten chunk or sink"
            )
        if self.positions not in get_args(PositionMode):
            raise ValueError(f"positions is {self.positions!r}; expected one of {', '.join(get_args(PositionMode))}")


@dataclass(frozen=True)
class Ledger:
    """One state of the cache's slots.

    Attributes:
        config: sizes and position mode.
        versions: what is in force now; the next frames are made under these.
        text_version: version of the prompt whose keys and values the cache holds.
        conditions: reference and garment, or nothing before they were first given.
        history: generated frames, oldest first.
        writing: the frames of the open pass.
        segment: number of the current segment.
        clock: positions that the segment's video has used up, in frames.
        frames: latent frames committed since the stream began.
        evicted, withdrawn: entries that have left, for statistics; the entries themselves are forgotten.
    """

    config: WindowConfig
    versions: Versions
    text_version: int = 0
    conditions: tuple[Entry, ...] = ()
    history: tuple[Entry, ...] = ()
    writing: tuple[Entry, ...] = ()
    segment: int = 0
    clock: int = 0
    frames: int = 0
    evicted: int = 0
    withdrawn: int = 0

    @classmethod
    def empty(cls, config: WindowConfig) -> Ledger:
        """The state before anything is given."""
        return cls(config, Versions(config.layout))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything committed and not withdrawn."""
        return self.conditions + self.history

    @property
    def visible(self) -> tuple[Entry, ...]:
        """Entries that the open pass sees, itself included; or the next chunk, if none is open.

        Reference and garment see only each other: conditions never depend on generated frames.
        """
        if self.writing and self.writing[0].thread != HISTORY:
            return self.writing
        return tuple(entry for entry in self.entries if entry.state is State.LIVE) + self.writing

    @property
    def free(self) -> tuple[int, ...]:
        """Slots without an entry, ascending."""
        taken = {entry.slot for entry in self.entries + self.writing}
        return tuple(slot for slot in range(self.config.window) if slot not in taken)

    # -- versions ------------------------------------------------------------------------------------------------------

    def bump(self, thread: Thread) -> Ledger:
        """Record that a thread was given anew.

        A new reference or garment outdates every live entry, the conditions included, since they were computed jointly.
        A new prompt outdates nothing: what happened so far stays true.
        """
        self._require_no_pass(f"give a new {thread.name}")
        after = replace(self, versions=self.versions.bump(thread))
        if not thread.outdates:
            return after
        return replace(after, conditions=_outdate(self.conditions), history=_outdate(self.history))

    def hold_text(self) -> Ledger:
        """The keys and values of the newest prompt have arrived."""
        self._require_no_pass("set the text")
        if self.text_version == self.versions.of(TEXT):
            raise IllegalTransitionError(f"text t{self.text_version} is already held; bump the text thread first")
        return replace(self, text_version=self.versions.of(TEXT))

    # -- passes --------------------------------------------------------------------------------------------------------

    def begin_conditions(self) -> Ledger:
        """Opens the joint pass of reference and garment. They take the same two slots as before, in place."""
        self._require_no_pass("begin the conditions")
        conditions = self.config.layout.conditions
        if not all(self.versions.of(thread) for thread in conditions):
            names = " and ".join(thread.name for thread in conditions)
            raise IllegalTransitionError(f"versions are {self.versions}; bump both {names} first")
        # A new prompt leaves them live, but they attend to the prompt: computing them anew is then legal too.
        if any(entry.versions == self.versions for entry in self.conditions):
            raise IllegalTransitionError(
                f"reference and garment ({self.versions}) are up to date; bump one of them first"
            )
        emptied = replace(self, conditions=())
        writing = tuple(
            Entry(thread, self.versions, self.segment, self._chunk, self.frames, position, slot, pinned=True)
            for position, (thread, slot) in enumerate(zip(conditions, emptied.free, strict=False))
        )
        return replace(emptied, writing=writing)

    def begin_chunk(self, policy: Policy) -> tuple[Ledger, tuple[Entry, ...]]:
        """Opens the pass of a chunk: makes room, places what is visible, reserves slots.

        Returns:
            The next state and the evicted entries.
        """
        self._require_no_pass("begin a chunk")
        if not self.conditions or any(entry.state is not State.LIVE for entry in self.conditions):
            raise IllegalTransitionError(
                f"a chunk needs live reference and garment of {self.versions}; begin_conditions() ... commit() first"
            )
        if TEXT in self.config.layout.threads and self.text_version != self.versions.of(TEXT):
            raise IllegalTransitionError(
                f"the prompt is t{self.versions.of(TEXT)}, the text held t{self.text_version}; set_text()"
            )
        room, evicted = self._make_room(policy)
        first = self.config.layout.video_position
        history, position = room.history, first + self.clock
        if self._window_relative:
            history = self._packed(history)
            position = first + sum(entry.state is State.LIVE for entry in history)
        pinned = sum(entry.pinned for entry in history) < self.config.sink * self.config.chunk
        writing = tuple(
            Entry(HISTORY, self.versions, self.segment, self._chunk, self.frames + i, position + i, slot, pinned)
            for i, slot in enumerate(room.free[: self.config.chunk])
        )
        return replace(room, history=history, writing=writing), evicted

    def commit(self) -> Ledger:
        """The open pass has been computed: its frames become live entries."""
        if not self.writing:
            raise IllegalTransitionError("nothing to commit; begin a pass first")
        closed = replace(self, writing=())
        if self.writing[0].thread != HISTORY:
            return replace(closed, conditions=self.writing)
        done = len(self.writing)
        return replace(closed, history=self.history + self.writing, clock=self.clock + done, frames=self.frames + done)

    def abort(self) -> Ledger:
        """Gives the open pass up and frees its slots. Aborted conditions must be computed again."""
        if not self.writing:
            raise IllegalTransitionError("nothing to abort; begin a pass first")
        return replace(self, writing=())

    # -- switches ------------------------------------------------------------------------------------------------------

    def retain(self, sink_only: bool = False) -> Ledger:
        """Makes stale history (or only its sink) visible again: carried over, old versions and all."""
        self._require_no_pass("retain history")
        return replace(
            self,
            history=tuple(
                entry.retain() if entry.state is State.STALE and (entry.pinned or not sink_only) else entry
                for entry in self.history
            ),
        )

    def withdraw(self) -> tuple[Ledger, tuple[Entry, ...]]:
        """Drops all stale history, pinned sinks included, and frees its slots.

        Returns:
            The next state and the withdrawn entries.
        """
        self._require_no_pass("withdraw history")
        gone = tuple(entry.withdraw() for entry in self.history if entry.state is State.STALE)
        kept = tuple(entry for entry in self.history if entry.state is not State.STALE)
        return replace(self, history=kept, withdrawn=self.withdrawn + len(gone)), gone

    def open_segment(self) -> Ledger:
        """A new segment: positions restart after what is left of history, which moves to 2, 3, ... in order of time."""
        return replace(self.rewind(), segment=self.segment + 1)

    def rewind(self) -> Ledger:
        """Restarts positions like ``open_segment``, within the same segment."""
        self._require_no_pass("restart positions")
        if any(entry.state is State.STALE for entry in self.history):
            raise IllegalTransitionError("stale history is still there; withdraw or retain it before positions restart")
        return replace(self, history=self._packed(self.history), clock=len(self.history))

    def table(self) -> str:
        """The whole state as text, one line per slot."""
        by_slot = {entry.slot: (entry, entry.state.value) for entry in self.entries}
        by_slot |= {entry.slot: (entry, "writing") for entry in self.writing}
        lines = [
            f"segment {self.segment}, {self.frames} frames committed, in force {self.versions}, "
            f"text t{self.text_version} held, {self.evicted} evicted, {self.withdrawn} withdrawn",
            f"{'slot':>4}  {'thread':<9}  {'state':<7}  {'position':>8}  {'segment':>7}  {'chunk':>5}  {'frame':>5}  "
            f"{'made under':<11}  marks",
        ]
        for slot in range(self.config.window):
            if slot not in by_slot:
                lines.append(f"{slot:>4}  -")
                continue
            entry, state = by_slot[slot]
            marks = " ".join(mark for mark in ("pinned", "carried") if getattr(entry, mark))
            lines.append(
                f"{slot:>4}  {entry.thread.name:<9}  {state:<7}  {entry.position:>8}  {entry.segment:>7}  "
                f"{entry.chunk:>5}  {entry.frame:>5}  {entry.versions!s:<11}  {marks}".rstrip()
            )
        return "\n".join(lines)

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _chunk(self) -> int:
        return self.frames // self.config.chunk

    @property
    def _window_relative(self) -> bool:
        mode = self.config.positions
        outgrown = self.config.layout.video_position + self.clock + self.config.chunk > self.config.window
        return mode == "window" or (mode == "auto" and outgrown)

    def _packed(self, history: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Live history at consecutive positions; stale entries are not seen, so theirs do not matter."""
        places = count(self.config.layout.video_position)
        return tuple(replace(entry, position=next(places)) if entry.state is State.LIVE else entry for entry in history)

    def _make_room(self, policy: Policy) -> tuple[Ledger, tuple[Entry, ...]]:
        needed = self.config.chunk - len(self.free)
        if needed <= 0:
            return self, ()
        chosen = policy.evict([entry for entry in self.history if entry.evictable], needed)
        if len(set(chosen)) < needed or not set(chosen) <= set(self.history):
            raise IllegalTransitionError(
                f"the policy chose {len(chosen)} entries; expected {needed} or more of the offer"
            )
        evicted = tuple(entry.evict() for entry in self.history if entry in chosen)
        kept = tuple(entry for entry in self.history if entry not in chosen)
        return replace(self, history=kept, evicted=self.evicted + len(evicted)), evicted

    def _require_no_pass(self, wish: str) -> None:
        if self.writing:
            what = "a chunk is" if self.writing[0].thread == HISTORY else "conditions are"
            raise IllegalTransitionError(f"cannot {wish} while {what} being written; commit() or abort() first")


def _outdate(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(entry.outdate() if entry.state is State.LIVE else entry for entry in entries)
