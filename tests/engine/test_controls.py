"""The mailbox of controls, against a list of everything that was ever asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quickchange.engine.controls import Mailbox

KINDS = ("garment", "person", "prompt")
# What happens: a control is asked for, the n-th of those asked for gets ready, or a chunk begins.
ACTIONS = st.lists(
    st.one_of(st.sampled_from(KINDS), st.integers(0, 5), st.just("chunk")),
    max_size=40,
)


@given(ACTIONS)
def test_the_latest_request_of_a_kind_wins_whenever_it_gets_ready(actions: list[str | int]) -> None:
    box: Mailbox[str, int] = Mailbox()
    asked: list[tuple[str, int]] = []
    worn: dict[str, int] = {}  # kind: ticket in force
    best: dict[str, int] = {}  # kind: highest ticket that got ready
    ids: list[int] = []
    obeyed = 0
    for action in actions:
        if action == "chunk":
            delivery = box.drain()
            for kind, ticket in delivery.values.items():
                assert ticket > worn.get(kind, 0)
                worn[kind] = ticket
            assert worn == best
            assert delivery.sequence == len(ids) >= obeyed
            obeyed = delivery.sequence
        elif isinstance(action, str):
            asked.append((action, box.ticket()))
        elif asked:
            kind, ticket = asked.pop(action % len(asked))
            ids.append(box.post(kind, ticket, ticket))
            best[kind] = max(ticket, best.get(kind, 0))
            assert box.waits(kind) == (best[kind] > worn.get(kind, 0))
    assert ids == list(range(1, len(ids) + 1))


def test_what_waits_is_asked_by_kind() -> None:
    box: Mailbox[str, str] = Mailbox()
    assert not box.waits()
    box.post("prompt", "she waves")
    assert box.waits()
    assert box.waits("prompt", "garment")
    assert not box.waits("garment")
    assert box.drain().values == {"prompt": "she waves"}
    assert not box.waits()


def test_a_slow_control_does_not_undo_a_later_one_that_is_applied_already() -> None:
    box: Mailbox[str, str] = Mailbox()
    slow = box.ticket()
    box.post("garment", "second click")
    assert box.drain().values == {"garment": "second click"}
    assert box.post("garment", "first click", slow) == 2
    after = box.drain()
    assert (after.values, after.sequence) == ({}, 2), "dropped, and counted as obeyed"
