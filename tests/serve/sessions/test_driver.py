"""Orders and the device: a control comes with the next chunk, and unseen frames are taken back at a switch."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import tiny
from quickchange.serve.sessions.driver import ChunkDriver, Made, Shot, out_of_memory
from quickchange.serve.sessions.order import Controls, Scene
from quickchange.serve.sessions.pacing import Pacer

STUDIO = tiny.studio()
PEOPLE = [STUDIO.prepare_reference(tiny.image(seed)) for seed in (1, 7)]
GARMENTS = [STUDIO.prepare_garment(tiny.garment(seed)) for seed in (2, 3, 4)]


class Stream:
    """One session without a server: its controls, its pace and its engine."""

    def __init__(self, seed: int = 0, ahead: float = 0.25) -> None:
        self.pacer: Pacer[Shot] = Pacer(24, ahead, STUDIO.frames_per_chunk)
        self.controls = Controls(Scene(PEOPLE[0], GARMENTS[0], "she waves", seed))
        self.driver = ChunkDriver(STUDIO)
        self.earliest = 0

    def make(self, inspect: bool = False) -> Made:
        made = self.driver.next(self.controls.next_chunk(self.pacer, self.earliest, time.monotonic(), inspect))
        self.earliest = made.earliest
        return made

    def put(self) -> list[Shot]:
        shots = self.make().shots
        self.pacer.put(shots, time.monotonic())
        return shots


def obeyed(made: Made) -> set[int]:
    return {shot.obeys for shot in made.shots}


def test_controls_are_obeyed_by_the_next_chunk_and_the_latest_wins() -> None:
    stream = Stream()
    assert {shot.obeys for shot in stream.put()} == {0}
    assert stream.controls.change("garment", GARMENTS[1]) == 1
    assert stream.controls.change("garment", GARMENTS[2]) == 2
    assert stream.controls.switching
    got = np.stack([shot.frame for shot in stream.put()])
    other = Stream()
    other.put()
    other.controls.change("garment", GARMENTS[2])
    made = other.make()
    assert obeyed(made) == {1}
    assert not other.controls.switching
    assert np.array_equal(got, np.stack([shot.frame for shot in made.shots]))


def test_what_a_chunk_obeys_is_what_the_engine_says() -> None:
    """The engine counts the controls that it gets, from 0 with every restart; a stream's ids go on."""
    stream = Stream()
    stream.put()
    for kind, value in (("garment", GARMENTS[1]), ("garment", GARMENTS[2]), ("prompt", "he stands")):
        stream.controls.change(kind, value)  # type: ignore[arg-type]
    assert obeyed(stream.make()) == {3}
    assert obeyed(stream.make()) == {3}  # nothing new
    assert stream.controls.restart(4) == 4
    assert obeyed(stream.make()) == {4}
    assert stream.controls.change("prompt", "she turns") == 5
    assert obeyed(stream.make()) == {5}
    assert stream.controls.sequence == 5


def test_a_switch_takes_back_what_nobody_saw() -> None:
    stream = Stream()
    pacer = stream.pacer
    stream.put()
    for _ in range(4):
        pacer.pop(time.monotonic())
        pacer.acknowledge(99, time.monotonic())
        time.sleep(1 / 24)
    shown = pacer.last_shown
    pacer.hold("paused")  # nothing bridges the time while the picture stands
    stream.controls.change("garment", GARMENTS[1])
    made = stream.make()
    assert made.switch
    assert made.withdrawn > 0
    assert pacer.next_number == shown + 1
    assert pacer.epoch == 1
    pacer.release("paused")
    pacer.put(made.shots, time.monotonic())
    due = pacer.pop(time.monotonic())
    assert due is not None
    assert (due.number, due.item.obeys, due.cut) == (shown + 1, 1, True)


def test_a_switch_takes_back_no_more_than_the_engine_can() -> None:
    stream = Stream(ahead=10.0)
    for _ in range(4):
        stream.put()
    numbers = stream.pacer.next_number
    stream.pacer.hold("paused")
    stream.controls.change("garment", GARMENTS[1])
    made = stream.make()
    assert made.switch
    assert 0 < stream.pacer.next_number < numbers  # nothing was shown, and yet most of it stays
    stream.pacer.put(made.shots, time.monotonic())


def test_a_chunk_that_found_no_room_is_taken_back_by_a_switch() -> None:
    stream = Stream()
    stream.put()
    before = stream.pacer.next_number
    stream.make()  # never put
    stream.controls.change("garment", GARMENTS[1])
    assert stream.earliest < before
    stream.put()
    assert stream.pacer.epoch == 1


def test_the_first_chunk_of_a_new_person_cannot_be_taken_back() -> None:
    stream = Stream()
    stream.put()
    stream.controls.change("person", PEOPLE[1])
    made = stream.make()
    assert made.earliest == stream.pacer.next_number  # not before its own first frame


def test_a_restart_begins_anew_and_numbers_go_on() -> None:
    stream = Stream(seed=5)
    first = stream.put()
    before = stream.pacer.next_number
    stream.controls.restart(5)
    again = stream.put()
    assert np.array_equal(first[0].frame, again[0].frame)  # same seed, same scene
    assert {shot.obeys for shot in again} == {1}
    assert stream.pacer.next_number <= before + len(again)
    stream.controls.restart(6)
    stream.controls.change("prompt", "he stands")
    other = stream.make()
    assert not np.array_equal(first[0].frame, other.shots[0].frame)
    assert stream.controls.scene.prompt == "he stands"
    assert obeyed(other) == {3}


def test_the_inspector_sees_refresh_disentangle_withdraw_forward_and_a_new_segment() -> None:
    stream = Stream()
    cache = stream.make(inspect=True).cache
    assert cache is not None
    assert [step.move for step in cache.steps] == ["generate"]  # committed by the next turn
    stream.pacer.put([Shot(np.zeros((16, 24, 3), np.uint8), 0)] * 9, time.monotonic())
    stream.controls.change("garment", GARMENTS[1])
    cache = stream.make(inspect=True).cache
    assert cache is not None
    moves = [step.move for step in cache.steps]
    assert moves == ["commit", "refresh", "disentangle", "withdraw", "forward", "commit", "new segment", "generate"]
    by_move = dict(zip(moves, cache.steps, strict=True))
    assert {e.state for e in by_move["refresh"].entries} == {"stale"}
    assert sum(e.state == "withdrawn" for e in by_move["withdraw"].entries) == 3
    assert {e.thread for e in by_move["forward"].entries if e.state == "writing"} == {"reference", "garment"}
    assert by_move["commit"].versions[1] == 2
    assert all(0 <= entry.slot < cache.window for step in cache.steps for entry in step.entries)
    assert stream.make().cache is None


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("the out of memory killer is a film"), False),
    ],
)
def test_a_lack_of_memory_is_told_by_its_type(error: Exception, short: bool) -> None:
    assert out_of_memory(error) is short
