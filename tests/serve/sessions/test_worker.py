"""Turns on the device: in the order of asking, and what is wanted is asked when a turn begins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from quickchange.serve.sessions.driver import ChunkDriver, Shot
from quickchange.serve.sessions.order import Controls, Scene
from quickchange.serve.sessions.session import LiveSession
from quickchange.serve.sessions.worker import Worker
from quickchange.serve.settings import Settings


class Echo:
    """Stands in for a session's engine: gives back what was ordered."""

    def next(self, order: Any) -> Any:
        return order


ECHO: ChunkDriver = Echo()  # type: ignore[assignment]


def test_streams_take_turns_whatever_they_ask_for() -> None:
    async def run() -> list[str]:
        worker, order = Worker(), []

        async def stream(name: str, chunks: int) -> None:
            for _ in range(chunks):
                await worker.turn(lambda: order.append(name))

        await asyncio.gather(stream("a", 6), stream("b", 6), stream("c", 3))
        await worker.close()
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
        await worker.close()

    asyncio.run(run())


def test_an_order_is_asked_for_when_the_turn_begins_on_the_event_loop() -> None:
    async def run() -> None:
        worker, free, asked = Worker(), threading.Event(), []

        def order() -> Any:
            asked.append(threading.current_thread())
            return "latest"

        busy = asyncio.create_task(worker.turn(free.wait))
        made = asyncio.create_task(worker.next(ECHO, order))
        await asyncio.sleep(0.05)
        assert not asked  # controls that come now still count
        free.set()
        assert await made == "latest"  # type: ignore[comparison-overlap]
        assert asked == [threading.current_thread()]
        assert await busy
        await worker.close()

    asyncio.run(run())


def test_a_turn_nobody_waits_for_is_passed_over() -> None:
    async def run() -> None:
        worker, free = Worker(), threading.Event()
        done: list[object] = []
        busy = asyncio.create_task(worker.turn(free.wait))
        given_up = asyncio.create_task(worker.turn(lambda: done.append(1)))
        last = asyncio.create_task(worker.turn(lambda: done.append(2)))
        await asyncio.sleep(0.01)
        given_up.cancel()
        busy.cancel()  # its job goes on, and the others wait for it
        await asyncio.sleep(0.01)
        assert not done
        free.set()
        await last
        assert done == [2]
        await worker.close()

    asyncio.run(run())


def test_an_order_that_fails_is_told_and_the_next_turn_begins() -> None:
    async def run() -> None:
        worker = Worker()
        with pytest.raises(ZeroDivisionError):
            await worker.next(ECHO, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        assert await worker.turn(lambda: 7) == 7
        await worker.close()

    asyncio.run(run())


def test_other_threads_wait_for_their_turn() -> None:
    async def run() -> None:
        worker = Worker()
        job: Callable[[], str] = lambda: threading.current_thread().name  # noqa: E731
        assert (await asyncio.to_thread(worker.blocking_turn, job)).startswith("device")
        await worker.close()

    asyncio.run(run())


def test_closing_cancels_what_has_not_begun_and_waits_for_what_has() -> None:
    async def run() -> None:
        worker, free = Worker(), threading.Event()
        done: list[object] = []
        busy = asyncio.create_task(worker.turn(lambda: done.append(free.wait(10))))
        waiting = asyncio.create_task(worker.turn(lambda: done.append("never")))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(worker.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        free.set()
        await closing
        await busy
        assert done == [True]
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(RuntimeError):
            await worker.turn(lambda: None)

    asyncio.run(run())


def test_a_chunk_that_no_switch_can_take_back_waits_for_room() -> None:
    """The first chunk of a new person, while the queue is full and a new garment waits."""

    async def run() -> None:
        studio: Any = SimpleNamespace(fps=24, frames_per_chunk=12)
        session = LiveSession(SimpleNamespace(studio=studio, settings=Settings(ahead=0.0)))  # type: ignore[arg-type]
        session._pacer.put([Shot(tiny.image(0), 0)] * 12, 0.0)
        controls = Controls(Scene(None, None, "", 0))  # type: ignore[arg-type]
        controls.change("garment", None)
        session._earliest = session._pacer.next_number
        waiting = asyncio.create_task(session._find_room(9, controls))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        session._earliest = 0  # one that follows other frames is given up at once
        session._changed.set()
        assert not await waiting

    asyncio.run(run())
