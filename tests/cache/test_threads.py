"""Versions and the life of one entry."""

from __future__ import annotations

import dataclasses

import pytest

from quickchange.cache.threads import GARMENT, HISTORY, REFERENCE, TEXT, Entry, Layout, State, Thread, Versions
from quickchange.errors import IllegalTransitionError


def entry(thread: Thread = HISTORY, state: State = State.LIVE, pinned: bool = False) -> Entry:
    return Entry(
        thread, Versions(counts=(1, 1, 0)), segment=0, chunk=0, frame=0, position=2, slot=2, pinned=pinned, state=state
    )


def test_versions_count_per_thread() -> None:
    versions = Versions().bump(GARMENT).bump(GARMENT).bump(TEXT)
    assert [versions.of(thread) for thread in (REFERENCE, GARMENT, TEXT)] == [0, 2, 1]
    assert str(versions) == "r0 g2 t1"
    with pytest.raises(IllegalTransitionError, match="history has no version"):
        versions.bump(HISTORY)


def test_a_layout_carries_any_number_of_garments() -> None:
    bottom = Thread("bottom", 2)
    layout = Layout((REFERENCE, TEXT, GARMENT, bottom))
    assert layout.conditions == (REFERENCE, GARMENT, bottom)
    assert layout.video_position == 3
    versions = Versions(layout).bump(bottom)
    assert str(versions) == "r0 t0 g0 b1"
    assert versions.bump(GARMENT).of(bottom) == 1
    with pytest.raises(IllegalTransitionError, match="no thread 'bottom' in this layout; expected one of reference, g"):
        Versions().of(bottom)


@pytest.mark.parametrize(
    "threads",
    [
        (GARMENT, REFERENCE),  # positions out of order
        (REFERENCE, Thread("hat", 2)),  # a gap
        (REFERENCE, Thread("reference", 1)),  # one name twice
        (REFERENCE, GARMENT, HISTORY),
    ],
)
def test_layouts_are_checked(threads: tuple[Thread, ...]) -> None:
    with pytest.raises(ValueError, match="expected different names, without history, at positions 0, 1, 2"):
        Layout(threads)


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
        (entry(GARMENT, pinned=True), "evict"),
        (entry(GARMENT, State.STALE, pinned=True), "withdraw"),
        (entry(REFERENCE, State.STALE, pinned=True), "retain"),
        *[(entry(state=State.WITHDRAWN), name) for name in ("outdate", "retain", "withdraw", "evict")],
    ],
)
def test_illegal_transitions_raise(subject: Entry, transition: str) -> None:
    with pytest.raises(IllegalTransitionError, match=f"{subject.thread.name} in slot 2 is {subject.state.value}"):
        getattr(subject, transition)()
