"""ChunkDriver on the device: what is wished for comes with the next chunk; unseen frames are taken back at a switch."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

import tiny
from quickchange.serve.sessions.driver import ChunkDriver, Scene, Shot
from quickchange.serve.sessions.pacing import Pacer
from quickchange.serve.sessions.worker import Worker

STUDIO = tiny.studio()
PERSON = STUDIO.prepare_reference(tiny.image(1))
GARMENTS = [STUDIO.prepare_garment(tiny.image(seed), cutout=False) for seed in (2, 3, 4)]


def begin(seed: int = 0) -> tuple[ChunkDriver, Pacer[Shot]]:
    pacer: Pacer[Shot] = Pacer(24, 0.25, STUDIO.frames_per_chunk)
    return ChunkDriver(STUDIO, Scene(PERSON, GARMENTS[0], "she waves", seed), pacer, threading.Lock()), pacer


def put(driver: ChunkDriver, pacer: Pacer[Shot]) -> list[Shot]:
    shots = driver().shots
    pacer.put(shots, time.monotonic())
    return shots


def test_wishes_are_obeyed_by_the_next_chunk_and_the_latest_wins() -> None:
    driver, pacer = begin()
    assert {shot.obeys for shot in put(driver, pacer)} == {0}
    assert driver.wish(garment=GARMENTS[1]) == 1
    assert driver.wish(garment=GARMENTS[2]) == 2
    assert driver.switching
    got = np.stack([shot.frame for shot in put(driver, pacer)])
    other, other_pacer = begin()
    put(other, other_pacer)
    other.wish(garment=GARMENTS[2])
    assert {shot.obeys for shot in driver().shots} == {2}
    assert not driver.switching
    assert np.array_equal(got, np.stack([shot.frame for shot in put(other, other_pacer)]))


def test_a_switch_takes_back_what_nobody_saw() -> None:
    driver, pacer = begin()
    put(driver, pacer)
    for _ in range(4):
        pacer.pop(time.monotonic())
        pacer.acknowledge(99, time.monotonic())
        time.sleep(1 / 24)
    shown = pacer.last_shown
    pacer.hold("paused")  # nothing bridges the time while the picture stands
    driver.wish(garment=GARMENTS[1])
    made = driver()
    assert made.switch
    assert pacer.next_number == shown + 1
    assert pacer.epoch == 1
    pacer.release("paused")
    pacer.put(made.shots, time.monotonic())
    due = pacer.pop(time.monotonic())
    assert due is not None
    assert (due.number, due.item.obeys, due.cut) == (shown + 1, 1, True)


def test_a_take_starts_over_and_numbers_go_on() -> None:
    driver, pacer = begin(seed=5)
    first = put(driver, pacer)
    before = pacer.next_number
    driver.restart(5)
    again = put(driver, pacer)
    assert np.array_equal(first[0].frame, again[0].frame)  # same seed, same scene
    assert {shot.obeys for shot in again} == {1}
    assert pacer.next_number <= before + len(again)
    driver.restart(6)
    driver.wish(prompt="he stands")
    other = driver().shots
    assert not np.array_equal(first[0].frame, other[0].frame)
    assert driver.scene.prompt == "he stands"
    assert {shot.obeys for shot in other} == {3}


def test_the_inspector_sees_refresh_disentangle_withdraw_forward_and_a_new_segment() -> None:
    driver, pacer = begin()
    driver.inspect(True)
    cache = driver().cache
    assert cache is not None
    assert [step.move for step in cache.steps] == ["generate"]  # committed by the next turn
    pacer.put([Shot(np.zeros((16, 24, 3), np.uint8), 0)] * 9, time.monotonic())
    driver.wish(garment=GARMENTS[1])
    cache = driver().cache
    assert cache is not None
    moves = [step.move for step in cache.steps]
    assert moves == ["commit", "refresh", "disentangle", "withdraw", "forward", "commit", "new segment", "generate"]
    by_move = dict(zip(moves, cache.steps, strict=True))
    assert {e.state for e in by_move["refresh"].entries} == {"stale"}
    assert sum(e.state == "withdrawn" for e in by_move["withdraw"].entries) == 3
    assert {e.thread for e in by_move["forward"].entries if e.state == "writing"} == {"reference", "garment"}
    assert by_move["commit"].versions[1] == 2
    assert all(0 <= entry.slot < cache.window for step in cache.steps for entry in step.entries)
    driver.inspect(False)
    assert driver().cache is None


def test_streams_take_turns_whatever_they_ask_for() -> None:
    async def run() -> list[str]:
        worker, order = Worker(), []

        async def stream(name: str, chunks: int) -> None:
            for _ in range(chunks):
                await worker.turn(lambda: order.append(name))

        await asyncio.gather(stream("a", 6), stream("b", 6), stream("c", 3))
        worker.close()
        return order

    order = asyncio.run(run())
    assert order[:9] == ["a", "b", "c"] * 3
    assert order[9:] == ["a", "b"] * 3


def test_an_error_in_a_turn_reaches_whoever_asked_and_no_one_else() -> None:
    async def run() -> None:
        worker = Worker()
        with pytest.raises(ZeroDivisionError):
            await worker.turn(lambda: 1 / 0)
        assert await worker.turn(lambda: 7) == 7
        worker.close()

    asyncio.run(run())
