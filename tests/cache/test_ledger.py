"""The books, transition by transition."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from quickchange.cache import Entry, Ledger, Policy, State, WindowConfig
from quickchange.cache.threads import GARMENT, REFERENCE, TEXT
from quickchange.errors import IllegalTransitionError


def opened(**sizes: object) -> Ledger:
    config = WindowConfig(**{"window": 11, "chunk": 3, "sink": 1, **sizes})  # type: ignore[arg-type]
    return Ledger.empty(config).bump(REFERENCE).bump(GARMENT).begin_conditions().commit()


def run(ledger: Ledger, chunks: int) -> Ledger:
    for _ in range(chunks):
        ledger = ledger.begin_chunk(Policy())[0].commit()
    return ledger


def positions(ledger: Ledger) -> list[int]:
    return [entry.position for entry in ledger.visible]


def test_conditions_come_first_and_are_pinned() -> None:
    ledger = opened()
    assert [(e.thread, e.slot, e.position, e.pinned) for e in ledger.entries] == [
        (REFERENCE, 0, 0, True),
        (GARMENT, 1, 1, True),
    ]


def test_fifo_keeps_conditions_and_sink() -> None:
    ledger = run(opened(), 3)  # 2 + 9 frames: full
    assert ledger.free == ()
    assert [entry.frame for entry in ledger.history] == list(range(9))
    ledger, evicted = ledger.begin_chunk(Policy())
    assert [entry.frame for entry in evicted] == [3, 4, 5]
    assert all(entry.state is State.WITHDRAWN for entry in evicted)
    assert [entry.slot for entry in ledger.writing] == [5, 6, 7], "the freed slots are used again"
    assert [entry.frame for entry in ledger.commit().history] == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert ledger.evicted == 3


def test_whole_chunks_leave_even_if_less_would_do() -> None:
    ledger = run(opened(window=12), 3)
    ledger, evicted = ledger.begin_chunk(Policy())
    assert len(evicted) == 3
    assert [entry.slot for entry in ledger.writing] == [5, 6, 7]


def test_without_sink_the_oldest_chunk_leaves() -> None:
    _, evicted = run(opened(sink=0, window=8), 2).begin_chunk(Policy())
    assert [entry.frame for entry in evicted] == [0, 1, 2]


@pytest.mark.parametrize(
    ("mode", "chunks", "expected"),
    [
        ("segment", 3, [0, 1, *range(2, 11)]),
        ("segment", 5, [0, 1, 2, 3, 4, *range(11, 17)]),
        ("window", 5, [0, 1, *range(2, 11)]),
        ("auto", 3, [0, 1, *range(2, 11)]),
        ("auto", 5, [0, 1, *range(2, 11)]),
    ],
)
def test_positions(mode: str, chunks: int, expected: list[int]) -> None:
    assert positions(run(opened(positions=mode), chunks)) == expected


def test_auto_and_window_differ_only_by_holes() -> None:
    for mode, first in (("auto", 8), ("window", 2)):
        ledger = run(opened(positions=mode), 2).bump(GARMENT).begin_conditions().commit()
        ledger, _ = ledger.begin_chunk(Policy())
        assert ledger.writing[0].position == first, "stale frames leave a gap in time, or none"


def test_a_garment_outdates_history_and_both_conditions() -> None:
    ledger = run(opened(), 2).bump(GARMENT)
    assert all(entry.state is State.STALE for entry in ledger.entries)
    assert not ledger.visible
    with pytest.raises(IllegalTransitionError, match="live reference and garment of r1 g2 t0"):
        ledger.begin_chunk(Policy())
    ledger = ledger.begin_conditions()
    assert [entry.slot for entry in ledger.writing] == [0, 1], "in place"
    assert [str(entry.versions) for entry in ledger.commit().conditions] == ["r1 g2 t0"] * 2


def test_a_prompt_outdates_nothing_but_must_arrive() -> None:
    ledger = run(opened(), 1).bump(TEXT)
    assert len(ledger.visible) == 5
    with pytest.raises(IllegalTransitionError, match="the prompt is t1"):
        ledger.begin_chunk(Policy())
    ledger = run(ledger.hold_text(), 1)
    assert [entry.versions.of(TEXT) for entry in ledger.history] == [0] * 3 + [1] * 3
    with pytest.raises(IllegalTransitionError, match="already held"):
        ledger.hold_text()


def test_conditions_may_follow_a_new_prompt() -> None:
    ledger = run(opened(), 1).bump(TEXT).hold_text().begin_conditions().commit()
    assert [str(entry.versions) for entry in ledger.conditions] == ["r1 g1 t1"] * 2
    assert len(ledger.visible) == 5, "history is not touched"


def test_withdraw_frees_even_the_sink_and_the_next_chunk_becomes_sink() -> None:
    ledger, gone = run(opened(), 3).bump(GARMENT).withdraw()
    assert len(gone) == ledger.withdrawn == 9
    assert ledger.history == ()
    ledger = run(ledger.begin_conditions().commit().open_segment(), 2)
    assert [entry.pinned for entry in ledger.history] == [True] * 3 + [False] * 3
    assert positions(ledger) == list(range(8))
    assert ledger.segment == 1


def test_retain_marks_and_keeps_versions() -> None:
    ledger = run(opened(), 2).bump(GARMENT).retain()
    assert all(entry.carried and entry.versions.of(GARMENT) == 1 for entry in ledger.history)
    assert not run(ledger.begin_conditions().commit(), 1).history[-1].carried
    again = ledger.bump(REFERENCE)
    assert all(entry.state is State.STALE for entry in again.history), "every switch decides anew"


@pytest.mark.parametrize("mode", ["segment", "window", "auto"])
def test_a_kept_sink_comes_before_the_new_segment(mode: str) -> None:
    ledger, gone = run(opened(positions=mode), 5).bump(GARMENT).retain(sink_only=True).withdraw()
    assert len(gone) == 6
    ledger = run(ledger.begin_conditions().commit().open_segment(), 1)
    assert [(entry.frame, entry.position) for entry in ledger.history] == list(
        zip([0, 1, 2, 15, 16, 17], range(2, 8), strict=True)
    )
    assert [entry.pinned for entry in ledger.history] == [True] * 3 + [False] * 3


def test_positions_cannot_restart_over_stale_history() -> None:
    ledger = run(opened(), 1).bump(GARMENT)
    for restart in (ledger.open_segment, ledger.rewind):
        with pytest.raises(IllegalTransitionError, match="withdraw or retain"):
            restart()


def test_conditions_see_only_each_other_and_abort_means_again() -> None:
    ledger = run(opened(), 1).bump(GARMENT).retain().begin_conditions()
    assert ledger.visible == ledger.writing
    ledger = ledger.abort()
    with pytest.raises(IllegalTransitionError, match="live reference and garment"):
        ledger.begin_chunk(Policy())
    assert len(ledger.begin_conditions().commit().visible) == 5


def test_abort_frees_the_slots() -> None:
    before = run(opened(), 1)
    during, _ = before.begin_chunk(Policy())
    assert (before.free, during.free) == (tuple(range(5, 11)), (8, 9, 10))
    assert during.abort() == before


def test_order_of_passes_is_enforced() -> None:
    ledger, _ = opened().begin_chunk(Policy())
    for wish in (
        ledger.begin_conditions,
        lambda: ledger.begin_chunk(Policy()),
        lambda: ledger.bump(TEXT),
        ledger.hold_text,
        ledger.retain,
        ledger.withdraw,
        ledger.open_segment,
        ledger.rewind,
    ):
        with pytest.raises(IllegalTransitionError, match="while a chunk is being written"):
            wish()
    for wish in (opened().commit, opened().abort):
        with pytest.raises(IllegalTransitionError, match="begin a pass first"):
            wish()
    with pytest.raises(IllegalTransitionError, match="up to date"):
        opened().begin_conditions()
    with pytest.raises(IllegalTransitionError, match="bump both"):
        Ledger.empty(WindowConfig()).bump(GARMENT).begin_conditions()


class Bad(Policy):
    """A policy that breaks the rules."""

    def __init__(self, chosen: Collection[Entry]) -> None:
        self.chosen = chosen

    def evict(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        return self.chosen


def test_policies_cannot_break_the_rules() -> None:
    ledger = run(opened(), 3)
    with pytest.raises(IllegalTransitionError, match="not pinned"):
        ledger.begin_chunk(Bad(ledger.history[:3]))
    with pytest.raises(IllegalTransitionError, match="chose 3 entries"):
        ledger.begin_chunk(Bad((*ledger.conditions, ledger.history[-1])))
    with pytest.raises(IllegalTransitionError, match="chose 2 entries"):
        ledger.begin_chunk(Bad(ledger.history[-2:]))


def test_table_shows_everything() -> None:
    ledger, _ = run(opened(), 1).bump(GARMENT).begin_conditions().commit().begin_chunk(Policy())
    table = ledger.table()
    assert "in force r1 g2 t0" in table
    assert len(table.splitlines()) == 2 + 11
    assert [line.split()[2] for line in table.splitlines()[2:10]] == ["live"] * 2 + ["stale"] * 3 + ["writing"] * 3
    assert table.splitlines()[-1].split() == ["10", "-"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"window": 7}, "window is 7; expected at least 8"),
        ({"chunk": 0}, "chunk is 0"),
        ({"sink": -1}, "sink -1"),
        ({"positions": "absolute"}, "positions is 'absolute'; expected one of auto, segment, window"),
    ],
)
def test_bad_sizes_are_named(sizes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowConfig(**sizes)  # type: ignore[arg-type]
