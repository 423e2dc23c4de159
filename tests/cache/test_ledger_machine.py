"""Any order of operations, any layout, any policy: the ledger keeps its promises.

A model of two sets (frames that must be seen, frames that are stale) runs alongside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quickchange.cache import Entry, Ledger, Policy, State, Thread, Versions, WindowConfig
from quickchange.cache.ledger import PositionMode
from quickchange.cache.threads import FASHION, GARMENT, HISTORY, REFERENCE, TEXT, Layout
from quickchange.errors import IllegalTransitionError


class NewestFirst(Policy):
    """Gives up single frames, the newest first."""

    def evict(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        return evictable[-needed:]


class Greedy(Policy):
    """Gives up everything that may leave."""

    def evict(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        return evictable


TWO_GARMENTS = Layout((REFERENCE, GARMENT, TEXT, Thread("bottom", 2)))


class LedgerMachine(RuleBasedStateMachine):
    @initialize(
        chunk=st.integers(1, 3),
        sink=st.integers(0, 2),
        spare=st.integers(0, 7),
        mode=st.sampled_from(["auto", "segment", "window"]),
        layout=st.sampled_from([FASHION, TWO_GARMENTS]),
        policy=st.sampled_from([Policy(), NewestFirst(), Greedy()]),
    )
    def start(self, chunk: int, sink: int, spare: int, mode: PositionMode, layout: Layout, policy: Policy) -> None:
        window = layout.video_position + chunk * (sink + 1) + spare
        self.policy, self.conditions = policy, layout.conditions
        self.ledger = Ledger.empty(WindowConfig(window=window, chunk=chunk, sink=sink, layout=layout, positions=mode))
        self.seen: set[int] = set()
        self.stale: set[int] = set()
        for thread in self.conditions:
            self.ledger = self.ledger.bump(thread)
        self.ledger = self.ledger.begin_conditions().commit()
        self.made: Versions | None = self.ledger.versions  # what reference and garment were last forwarded under
        self.snapshot()

    def attempt(self, legal: bool, transition: str, *arguments: object) -> object:
        try:
            result = getattr(self.ledger, transition)(*arguments)
        except IllegalTransitionError:
            assert not legal, f"{transition} should be legal in\n{self.ledger.table()}"
            return None
        assert legal, f"{transition} should be illegal in\n{self.ledger.table()}"
        self.ledger = result[0] if isinstance(result, tuple) else result
        return result

    @property
    def idle(self) -> bool:
        return not self.ledger.writing

    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        self.bump(data.draw(st.sampled_from(self.ledger.config.layout.threads)))

    def bump(self, thread: Thread) -> None:
        if self.attempt(self.idle, "bump", thread) and thread != TEXT:
            self.seen, self.stale = set(), self.stale | self.seen

    @rule()
    def hold_text(self) -> None:
        self.attempt(self.idle and self.ledger.text_version < self.ledger.versions.of(TEXT), "hold_text")

    @rule()
    def begin_conditions(self) -> None:
        if self.attempt(self.idle and self.made != self.ledger.versions, "begin_conditions"):
            self.made = None  # in place: the old keys are gone

    @rule()
    def begin_chunk(self) -> None:
        now, made = self.ledger.versions, self.made
        current = made is not None and all(made.of(thread) == now.of(thread) for thread in self.conditions)
        current = current and self.ledger.text_version == now.of(TEXT)
        result = self.attempt(self.idle and current, "begin_chunk", self.policy)
        if isinstance(result, tuple):
            frames = {entry.frame for entry in result[1]}
            assert frames <= self.seen | self.stale
            assert not any(entry.pinned for entry in result[1])
            self.seen, self.stale = self.seen - frames, self.stale - frames

    @rule()
    def commit(self) -> None:
        writing = self.ledger.writing
        if self.attempt(bool(writing), "commit"):
            if writing[0].thread in self.conditions:
                self.made = self.ledger.versions
            self.seen = self.seen | {entry.frame for entry in writing if entry.thread == HISTORY}

    @rule()
    def abort(self) -> None:
        self.attempt(bool(self.ledger.writing), "abort")

    @rule(sink_only=st.booleans())
    def retain(self, sink_only: bool) -> None:
        pinned = {entry.frame for entry in self.ledger.history if entry.pinned}
        if self.attempt(self.idle, "retain", sink_only):
            kept = self.stale & pinned if sink_only else self.stale
            self.seen, self.stale = self.seen | kept, self.stale - kept

    @rule()
    def withdraw(self) -> None:
        result = self.attempt(self.idle, "withdraw")
        if isinstance(result, tuple):
            assert {entry.frame for entry in result[1]} == self.stale
            self.stale = set()

    @rule(chunks=st.integers(1, 5))
    @precondition(lambda self: self.idle)
    def go_on(self, chunks: int) -> None:
        """Brings everything up to date, then some chunks without incident, so that windows do fill."""
        self.hold_text()
        self.begin_conditions()
        if not self.idle:
            self.commit()
        for _ in range(chunks):
            self.begin_chunk()
            self.positions_are_unique_and_inside_the_window()
            self.commit()

    @rule()
    def disentangle(self) -> None:
        """A whole switch, in the order of the paper's method."""
        if self.idle:
            self.bump(GARMENT)
            self.bump(REFERENCE)
            self.withdraw()
            self.begin_conditions()
            self.commit()
            self.restart(True)
            assert [e.thread for e in self.ledger.visible] == list(self.conditions)

    @rule(segment=st.booleans())
    def restart(self, segment: bool) -> None:
        self.attempt(self.idle and not self.stale, "open_segment" if segment else "rewind")

    @rule()
    @precondition(lambda self: self.idle)
    def snapshot(self) -> None:
        self.saved = (self.ledger, self.seen, self.stale, self.made)

    @rule()
    def restore(self) -> None:
        self.ledger, self.seen, self.stale, self.made = self.saved

    @invariant()
    def what_is_seen_is_exactly_what_is_live(self) -> None:
        ledger = self.ledger
        assert {entry.frame for entry in ledger.history if entry.state is State.LIVE} == self.seen
        assert {entry.frame for entry in ledger.history if entry.state is State.STALE} == self.stale
        assert all(entry.state is State.LIVE for entry in ledger.visible)
        if ledger.writing and ledger.writing[0].thread in self.conditions:
            assert ledger.visible == ledger.writing
        else:
            seen = {entry.frame for entry in ledger.visible if entry.thread == HISTORY}
            assert seen == self.seen | {entry.frame for entry in ledger.writing}

    @invariant()
    def slots_are_not_shared(self) -> None:
        ledger, config = self.ledger, self.ledger.config
        taken = [entry.slot for entry in ledger.entries + ledger.writing]
        assert len(set(taken)) == len(taken) <= config.window
        assert all(0 <= slot < config.window for slot in taken)
        for entry in ledger.conditions:
            assert entry.slot == entry.position == self.conditions.index(entry.thread)
            assert entry.pinned
        assert sum(entry.pinned for entry in ledger.history) <= config.sink * config.chunk

    @invariant()
    def positions_are_unique_and_inside_the_window(self) -> None:
        ledger, config = self.ledger, self.ledger.config
        if ledger.writing:
            places = [entry.position for entry in ledger.visible]
            assert len(set(places)) == len(places)
            if config.positions != "segment":
                assert max(places) < config.window
        history = [entry.frame for entry in ledger.history]
        assert history == sorted(history), "history stays in order of time"


LedgerMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLedger = LedgerMachine.TestCase
