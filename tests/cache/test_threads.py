"""Versions and the life of one entry."""

from __future__ import annotations

import dataclasses

import pytest

from quickchange.cache.threads import Entry, State, Thread, Versions
from quickchange.errors import IllegalTransitionError


def entry(thread: Thread = Thread.HISTORY, state: State = State.LIVE, pinned: bool = False) -> Entry:
    return Entry(thread, Versions(1, 1), segment=0, chunk=0, frame=0, position=2, slot=2, pinned=pinned, state=state)


def test_versions_count_per_thread() -> None:
    versions = Versions().bump(Thread.GARMENT).bump(Thread.GARMENT).bump(Thread.TEXT)
    assert (versions.reference, versions.garment, versions.text) == (0, 2, 1)
    assert str(versions) == "r0 g2 t1"
    with pytest.raises(IllegalTransitionError, match="history has no version"):
        versions.bump(Thread.HISTORY)


def test_entries_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry().state = State.STALE  # type: ignore[misc]


def test_legal_lives() -> None:
    stale = entry().outdate()
    assert stale.state is State.STALE
    assert stale.withdraw().state is State.WITHDRAWN
    assert stale.evict().state is entry().evict().state is State.WITHDRAWN
    kept = stale.retain()
    assert kept.state is State.LIVE
    assert kept.carried
    assert kept.versions == stale.versions
    assert kept.outdate().state is State.STALE
    assert entry(pinned=True).outdate().withdraw().state is State.WITHDRAWN


@pytest.mark.parametrize(
    ("subject", "transition"),
    [
        (entry(), "retain"),
        (entry(), "withdraw"),
        (entry(state=State.STALE), "outdate"),
        (entry(pinned=True), "evict"),
        (entry(pinned=True, state=State.STALE), "evict"),
        (entry(Thread.GARMENT, pinned=True), "evict"),
        (entry(Thread.GARMENT, State.STALE, pinned=True), "withdraw"),
        (entry(Thread.REFERENCE, State.STALE, pinned=True), "retain"),
        *[(entry(state=State.WITHDRAWN), name) for name in ("outdate", "retain", "withdraw", "evict")],
    ],
)
def test_illegal_transitions_raise(subject: Entry, transition: str) -> None:
    with pytest.raises(IllegalTransitionError, match=f"{subject.thread.value} in slot 2 is {subject.state.value}"):
        getattr(subject, transition)()
