"""Pacing: properties over random sequences of events, and a simulated stream with a clock of its own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quickchange.serve.sessions.pacing import STALL_SECONDS, Due, Pacer, QueueFullError

FPS, AHEAD, CHUNK = 24, 0.25, 12


@dataclass
class Run:
    """What a simulated viewer saw: frames with the time they were sent, and when chunks were begun."""

    frames: list[tuple[float, Due[int]]] = field(default_factory=list)
    begun: list[tuple[float, float]] = field(default_factory=list)  # time, seconds buffered then

    def rate(self, start: float, end: float) -> float:
        return sum(start <= at < end for at, _ in self.frames) / (end - start)

    def longest_gap(self, start: float, end: float) -> float:
        times = [at for at, _ in self.frames if start <= at < end]
        return max(b - a for a, b in itertools.pairwise(times))


def simulate(
    pacer: Pacer[int],
    seconds: float,
    chunk_seconds: float,
    *,
    delay: float = 0.02,
    silent_from: float = 1e9,
    switch_at: float | None = None,
    resolution: float = 0.001,
) -> Run:
    """A device that takes ``chunk_seconds`` for a chunk, and a viewer that acknowledges after ``delay``."""
    run, ready, content = Run(), None, 0
    acks: list[Any] = []
    steps = round(seconds / resolution)
    for tick in range(steps):
        now = tick * resolution
        while acks and acks[0][0] <= now:
            pacer.acknowledge(acks.pop(0)[1], now)
        switch = switch_at is not None and now >= switch_at
        if ready is None and pacer.wants_chunk(now, switch):
            run.begun.append((now, pacer.buffered))
            if switch:
                pacer.flush(pacer.bridge(now))
                switch_at, content = None, content + 1000
            ready = now + chunk_seconds
        elif ready is not None and now >= ready and pacer.has_room(CHUNK):
            pacer.generated(chunk_seconds, switch=False)
            pacer.put([content + i for i in range(CHUNK)], now)
            content, ready = content + CHUNK, None
        due = pacer.pop(now)
        if due is not None:
            run.frames.append((now, due))
            if now < silent_from:
                acks.append((now + delay, due.number))
    return run


def test_a_fast_device_gives_the_models_rate_and_stays_near_the_screen() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    run = simulate(pacer, 10, 0.16)
    assert run.rate(1, 10) == pytest.approx(FPS, rel=0.01)
    assert run.longest_gap(1, 10) < 1.2 / FPS
    assert pacer.dropped == 0
    # begun so that the chunk is there at most `ahead` before its first frame is due
    assert all(buffered - 0.16 <= AHEAD + 0.01 for at, buffered in run.begun if at > 1)


@pytest.mark.parametrize("chunk_seconds", [0.45, 0.5])
def test_a_device_just_fast_enough_is_not_slowed_by_waiting(chunk_seconds: float) -> None:
    run = simulate(Pacer(FPS, AHEAD, CHUNK), 15, chunk_seconds)
    assert run.rate(3, 15) > 0.97 * FPS


@pytest.mark.parametrize("chunk_seconds", [0.75, 1.5, 3.0])
def test_a_slow_device_is_shown_evenly_not_in_bursts(chunk_seconds: float) -> None:
    run = simulate(Pacer(FPS, AHEAD, CHUNK), 60, chunk_seconds)
    possible = CHUNK / chunk_seconds
    assert run.rate(30, 60) == pytest.approx(possible, rel=0.1)
    assert run.longest_gap(30, 60) < 2.5 / possible


def test_media_time_is_when_frames_are_sent_and_stands_while_paused() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    run = simulate(pacer, 3, 0.1)
    offsets = [at - due.media for at, due in run.frames]
    assert max(offsets) - min(offsets) < 0.003
    assert pacer.buffered > 0
    last = run.frames[-1][1]
    pacer.hold("paused")
    assert pacer.pop(50.0) is None
    assert not pacer.wants_chunk(50.0, switch=True)
    pacer.release("paused")
    due = pacer.pop(100.0)
    assert due is not None
    assert due.number == last.number + 1
    assert due.media == pytest.approx(last.media + 1 / FPS)


def test_a_hiccup_moves_the_clock_on_without_dropping() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    pacer.put(list(range(12)), 0.0)
    shown = [pacer.pop(number * (1 / FPS + 1e-4)) for number in range(12)]
    pacer.acknowledge(11, 0.6)
    pacer.put(list(range(12)), 2.0)
    due = pacer.pop(2.0)
    assert shown[-1] is not None
    assert due is not None
    assert pacer.dropped == 0
    assert due.media - shown[-1].media == pytest.approx(2.0 - 11 / FPS, abs=2e-3)


def test_a_late_taker_gets_the_newest_due_frame() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    pacer.put(list(range(12)), 0.0)
    assert pacer.pop(0.0)
    due = pacer.pop(5.2 / FPS)
    assert due is not None
    assert due.number == 5
    assert pacer.dropped == 4
    due = pacer.pop(100.0)
    assert due is not None
    assert due.number == 11
    assert pacer.next_due(100.0) is None


def test_a_silent_viewer_loses_frames_then_stops_generation_and_can_come_back() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    run = simulate(pacer, 10, 0.1, silent_from=2.0)
    assert max(at for at, _ in run.frames) < 2.0 + 1.0
    assert max(at for at, _ in run.begun) < 3.0 + STALL_SECONDS
    assert pacer.stalled(10.0)
    assert pacer.dropped > 0
    pacer.acknowledge(pacer.last_shown, 10.0)
    assert pacer.wants_chunk(10.0)


@given(delay=st.floats(0, 0.6), chunk_seconds=st.floats(0.05, 0.4))
@settings(max_examples=20)
def test_far_viewers_lose_nothing(delay: float, chunk_seconds: float) -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    run = simulate(pacer, 6, chunk_seconds, delay=delay, resolution=0.004)
    assert pacer.dropped == 0
    assert run.rate(2, 6) > 0.95 * FPS


@given(at=st.floats(3, 4), chunk_seconds=st.floats(0.05, 0.4))
@settings(max_examples=30)
def test_a_switch_is_seen_as_soon_as_it_is_there_and_nothing_jumps(at: float, chunk_seconds: float) -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    run = simulate(pacer, 6, chunk_seconds, switch_at=at, resolution=0.002)
    new = next(i for i, (_, due) in enumerate(run.frames) if due.epoch == 1)
    numbers = [due.number for _, due in run.frames]
    assert numbers == list(range(len(numbers)))  # the picture goes on from what was shown
    assert [due.cut for _, due in run.frames].count(True) == 1
    assert run.frames[new][1].cut
    assert all(due.item >= 1000 for _, due in run.frames[new:])  # nothing old follows
    # one chunk may be under way when the click comes, then its own
    assert run.frames[new][0] - at < 2 * chunk_seconds + 2.5 / FPS
    assert run.longest_gap(2, 6) < 2 * chunk_seconds + 2.5 / FPS


@pytest.mark.parametrize("fps", [5, 12, 24, 60])
def test_viewers_that_acknowledge_every_twelfth_frame_lose_nothing(fps: float) -> None:
    pacer: Pacer[int] = Pacer(fps, AHEAD, CHUNK)
    shown = []
    for tick in range(2000):
        now = tick / 100
        if pacer.has_room(CHUNK) and pacer.wants_chunk(now):
            pacer.put(list(range(CHUNK)), now)
        due = pacer.pop(now)
        if due is not None:
            shown.append(due.number)
            if len(shown) % 12 == 0:
                pacer.acknowledge(due.number, now)
    assert len(shown) == pytest.approx(20 * fps, rel=0.05)
    assert pacer.dropped == 0


def test_saying_again_that_one_is_there_changes_nothing() -> None:
    pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
    pacer.put(list(range(CHUNK)), 0.0)
    assert pacer.pop(0.0)
    pacer.release("hidden")
    assert pacer.pop(0.001) is None  # the next frame is not due for that


class Anything(RuleBasedStateMachine):
    """Whatever happens, the queue is bounded and frames come in order, each number once per showing."""

    def __init__(self) -> None:
        super().__init__()
        self.pacer: Pacer[int] = Pacer(FPS, AHEAD, CHUNK)
        self.now = 0.0
        self.sent: list[Due[int]] = []

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(0, CHUNK))
    def put(self, count: int) -> None:
        if self.pacer.has_room(count):
            self.pacer.put(list(range(count)), self.now)
        else:
            with pytest.raises(QueueFullError):
                self.pacer.put(list(range(count)), self.now)

    @rule()
    def pop(self) -> None:
        flowing, due = self.pacer.flowing, self.pacer.pop(self.now)
        if due is not None:
            assert flowing
            self.sent.append(due)

    @rule(number=st.integers(0, 10**6))
    def acknowledge(self, number: int) -> None:
        self.pacer.acknowledge(number, self.now)

    @rule(reason=st.sampled_from(["paused", "hidden", "away"]), on=st.booleans())
    def hold_or_release(self, reason: str, on: bool) -> None:
        (self.pacer.hold if on else self.pacer.release)(reason)

    @rule()
    def switch(self) -> None:
        after = self.pacer.bridge(self.now)
        self.pacer.flush(after)
        assert self.pacer.next_number == after + 1

    @precondition(lambda self: self.pacer.last_shown >= 0)
    @rule()
    def impossible_flush(self) -> None:
        with pytest.raises(ValueError, match="cannot go on"):
            self.pacer.flush(self.pacer.last_shown - 1)

    @rule(seconds=st.floats(0.001, 5), switch=st.booleans())
    def generated(self, seconds: float, switch: bool) -> None:
        self.pacer.generated(seconds, switch)

    @invariant()
    def bounded(self) -> None:
        queued = self.pacer.next_number - 1 - self.pacer.last_shown
        assert 0 <= queued <= self.pacer.capacity
        assert self.pacer.buffered == pytest.approx(queued * self.pacer.period)
        assert 1 <= self.pacer.stretch <= 12

    @invariant()
    def in_order(self) -> None:
        for before, after in zip(self.sent, self.sent[1:], strict=False):
            assert after.number > before.number
            assert after.media >= before.media
            assert after.epoch >= before.epoch
            assert after.cut == (after.epoch != before.epoch)
        self.sent = self.sent[-1:]

    @invariant()
    def no_deadlock(self) -> None:
        """A viewer that answers always gets on."""
        if self.pacer.flowing and self.pacer.stalled(self.now):
            self.pacer.acknowledge(self.pacer.last_shown, self.now)
            assert not self.pacer.stalled(self.now)


TestAnything = Anything.TestCase


@pytest.mark.parametrize("bad", [{"fps": 0}, {"ahead": -1}, {"chunk": 0}])
def test_numbers_out_of_range_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Pacer(**{"fps": FPS, "ahead": AHEAD, "chunk": CHUNK, **bad})  # type: ignore[arg-type]
