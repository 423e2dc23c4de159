"""The books, transition by transition."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from quickchange.cache import Entry, Fifo, IllegalTransition, Slots, State, Thread, WindowConfig


def opened(**sizes: object) -> Slots:
    config = WindowConfig(**{"window": 11, "chunk": 3, "sink": 1, **sizes})  # type: ignore[arg-type]
    return Slots(config).bump(Thread.REFERENCE).bump(Thread.GARMENT).begin_conditions().commit()


def run(slots: Slots, chunks: int) -> Slots:
    for _ in range(chunks):
        slots = slots.begin_chunk(Fifo())[0].commit()
    return slots


def positions(slots: Slots) -> list[int]:
    return [entry.position for entry in slots.visible]


def test_conditions_come_first_and_are_pinned() -> None:
    slots = opened()
    assert [(e.thread, e.slot, e.position, e.pinned) for e in slots.entries] == [
        (Thread.REFERENCE, 0, 0, True),
        (Thread.GARMENT, 1, 1, True),
    ]


def test_fifo_keeps_conditions_and_sink() -> None:
    slots = run(opened(), 3)  # 2 + 9 frames: full
    assert slots.free == ()
    assert [entry.frame for entry in slots.history] == list(range(9))
    slots, evicted = slots.begin_chunk(Fifo())
    assert [entry.frame for entry in evicted] == [3, 4, 5]
    assert all(entry.state is State.WITHDRAWN for entry in evicted)
    assert [entry.slot for entry in slots.writing] == [5, 6, 7], "the freed slots are used again"
    assert [entry.frame for entry in slots.commit().history] == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert slots.evicted == 3


def test_whole_chunks_leave_even_if_less_would_do() -> None:
    slots = run(opened(window=12), 3)
    slots, evicted = slots.begin_chunk(Fifo())
    assert len(evicted) == 3
    assert [entry.slot for entry in slots.writing] == [5, 6, 7]


def test_without_sink_the_oldest_chunk_leaves() -> None:
    _, evicted = run(opened(sink=0, window=8), 2).begin_chunk(Fifo())
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
        slots = run(opened(positions=mode), 2).bump(Thread.GARMENT).begin_conditions().commit()
        slots, _ = slots.begin_chunk(Fifo())
        assert slots.writing[0].position == first, "stale frames leave a gap in time, or none"


def test_a_garment_outdates_history_and_both_conditions() -> None:
    slots = run(opened(), 2).bump(Thread.GARMENT)
    assert all(entry.state is State.STALE for entry in slots.entries)
    assert not slots.visible
    with pytest.raises(IllegalTransition, match="live reference and garment of r1 g2 t0"):
        slots.begin_chunk(Fifo())
    slots = slots.begin_conditions()
    assert [entry.slot for entry in slots.writing] == [0, 1], "in place"
    assert [str(entry.versions) for entry in slots.commit().conditions] == ["r1 g2 t0"] * 2


def test_a_prompt_outdates_nothing_but_must_arrive() -> None:
    slots = run(opened(), 1).bump(Thread.TEXT)
    assert len(slots.visible) == 5
    with pytest.raises(IllegalTransition, match="the prompt is t1"):
        slots.begin_chunk(Fifo())
    slots = run(slots.hold_text(), 1)
    assert [entry.versions.text for entry in slots.history] == [0] * 3 + [1] * 3
    with pytest.raises(IllegalTransition, match="already held"):
        slots.hold_text()


def test_conditions_may_follow_a_new_prompt() -> None:
    slots = run(opened(), 1).bump(Thread.TEXT).hold_text().begin_conditions().commit()
    assert [str(entry.versions) for entry in slots.conditions] == ["r1 g1 t1"] * 2
    assert len(slots.visible) == 5, "history is not touched"


def test_withdraw_frees_even_the_sink_and_the_next_chunk_becomes_sink() -> None:
    slots, gone = run(opened(), 3).bump(Thread.GARMENT).withdraw()
    assert len(gone) == slots.withdrawn == 9
    assert slots.history == ()
    slots = run(slots.begin_conditions().commit().open_segment(), 2)
    assert [entry.pinned for entry in slots.history] == [True] * 3 + [False] * 3
    assert positions(slots) == list(range(8))
    assert slots.segment == 1


def test_retain_marks_and_keeps_versions() -> None:
    slots = run(opened(), 2).bump(Thread.GARMENT).retain()
    assert all(entry.carried and entry.versions.garment == 1 for entry in slots.history)
    assert not run(slots.begin_conditions().commit(), 1).history[-1].carried
    again = slots.bump(Thread.REFERENCE)
    assert all(entry.state is State.STALE for entry in again.history), "every switch decides anew"


@pytest.mark.parametrize("mode", ["segment", "window", "auto"])
def test_a_kept_sink_comes_before_the_new_segment(mode: str) -> None:
    slots, gone = run(opened(positions=mode), 5).bump(Thread.GARMENT).retain(sink_only=True).withdraw()
    assert len(gone) == 6
    slots = run(slots.begin_conditions().commit().open_segment(), 1)
    assert [(entry.frame, entry.position) for entry in slots.history] == list(
        zip([0, 1, 2, 15, 16, 17], range(2, 8), strict=True)
    )
    assert [entry.pinned for entry in slots.history] == [True] * 3 + [False] * 3


def test_positions_cannot_restart_over_stale_history() -> None:
    slots = run(opened(), 1).bump(Thread.GARMENT)
    for restart in (slots.open_segment, slots.rewind):
        with pytest.raises(IllegalTransition, match="withdraw or retain"):
            restart()


def test_conditions_see_only_each_other_and_abort_means_again() -> None:
    slots = run(opened(), 1).bump(Thread.GARMENT).retain().begin_conditions()
    assert slots.visible == slots.writing
    slots = slots.abort()
    with pytest.raises(IllegalTransition, match="live reference and garment"):
        slots.begin_chunk(Fifo())
    assert len(slots.begin_conditions().commit().visible) == 5


def test_abort_frees_the_slots() -> None:
    before = run(opened(), 1)
    during, _ = before.begin_chunk(Fifo())
    assert (before.free, during.free) == (tuple(range(5, 11)), (8, 9, 10))
    assert during.abort() == before


def test_order_of_passes_is_enforced() -> None:
    slots, _ = opened().begin_chunk(Fifo())
    for wish in (
        slots.begin_conditions,
        lambda: slots.begin_chunk(Fifo()),
        lambda: slots.bump(Thread.TEXT),
        slots.hold_text,
        slots.retain,
        slots.withdraw,
        slots.open_segment,
        slots.rewind,
    ):
        with pytest.raises(IllegalTransition, match="while a chunk is being written"):
            wish()
    for wish in (opened().commit, opened().abort):
        with pytest.raises(IllegalTransition, match="begin a pass first"):
            wish()
    with pytest.raises(IllegalTransition, match="up to date"):
        opened().begin_conditions()
    with pytest.raises(IllegalTransition, match="bump both"):
        Slots(WindowConfig()).bump(Thread.GARMENT).begin_conditions()


class Bad:
    """A policy that breaks the rules."""

    def __init__(self, chosen: Collection[Entry]) -> None:
        self.chosen = chosen

    def choose(self, evictable: Sequence[Entry], needed: int) -> Collection[Entry]:
        return self.chosen


def test_policies_cannot_break_the_rules() -> None:
    slots = run(opened(), 3)
    with pytest.raises(IllegalTransition, match="not pinned"):
        slots.begin_chunk(Bad(slots.history[:3]))
    with pytest.raises(IllegalTransition, match="chose 3 entries"):
        slots.begin_chunk(Bad((*slots.conditions, slots.history[-1])))
    with pytest.raises(IllegalTransition, match="chose 2 entries"):
        slots.begin_chunk(Bad(slots.history[-2:]))


def test_table_shows_everything() -> None:
    slots, _ = run(opened(), 1).bump(Thread.GARMENT).begin_conditions().commit().begin_chunk(Fifo())
    table = slots.table()
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
