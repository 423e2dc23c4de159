"""The KV cache's ledger, transition by transition, as messages of the protocol: what the inspector shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quickchange.cache import Entry, Ledger, Versions
from quickchange.cache.threads import GARMENT, HISTORY, REFERENCE, TEXT
from quickchange.serve.protocol.messages import CacheEntry, CacheStep


def describe(before: Ledger, states: Sequence[Ledger]) -> list[CacheStep]:
    """Describe the transitions from ``before`` through ``states``.

    Each one lists the entries that are there afterwards and those that it withdrew. Transitions that change neither
    entries nor versions are left out.

    Args:
        before: the ledger before the first transition.
        states: the ledger after every transition.
    """
    steps = []
    for after in states:
        move = _move(before, after)
        if move:
            steps.append(_step(move, before, after))
        before = after
    return steps


def _move(before: Ledger, after: Ledger) -> str:
    if after.versions.of(GARMENT) > before.versions.of(GARMENT):
        return "refresh"
    if after.versions.of(REFERENCE) > before.versions.of(REFERENCE):
        return "disentangle"
    if after.versions.of(TEXT) > before.versions.of(TEXT):
        return "new prompt"
    if after.withdrawn > before.withdrawn:
        return "withdraw"
    if after.segment > before.segment:
        return "new segment"
    if after.writing and not before.writing:
        return "generate" if after.writing[0].thread == HISTORY else "forward"
    if before.writing and not after.writing:
        return "commit"
    return "retain" if before.history != after.history else ""


def _step(move: str, before: Ledger, after: Ledger) -> CacheStep:
    present = {(entry.slot, entry.frame, entry.thread) for entry in after.entries + after.writing}
    left = [entry for entry in before.entries if (entry.slot, entry.frame, entry.thread) not in present]
    entries = [_entry(entry, "withdrawn") for entry in left if entry.thread == HISTORY]
    entries += [_entry(entry, entry.state.value) for entry in after.entries]
    entries += [_entry(entry, "writing") for entry in after.writing]
    return CacheStep(
        move=move,
        segment=after.segment,
        frames=after.frames,
        evicted=after.evicted,
        withdrawn=after.withdrawn,
        versions=_versions(after.versions),
        entries=sorted(entries, key=lambda entry: (entry.slot, entry.state != "withdrawn")),
    )


def _entry(entry: Entry, state: Any) -> CacheEntry:
    return CacheEntry(
        slot=entry.slot,
        thread=entry.thread.name,  # type: ignore[arg-type]
        state=state,
        versions=_versions(entry.versions),
        segment=entry.segment,
        chunk=entry.chunk,
        frame=entry.frame,
        position=entry.position,
        pinned=entry.pinned,
        carried=entry.carried,
    )


def _versions(versions: Versions) -> tuple[int, int, int]:
    return versions.of(REFERENCE), versions.of(GARMENT), versions.of(TEXT)
