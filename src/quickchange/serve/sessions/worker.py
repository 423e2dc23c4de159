"""The worker: gives turns on the device, one at a time, in the order of asking.

A session asks for its next chunk only when it has the last one. It therefore queues behind all others, and sessions
share the device chunk by chunk, in rotation, however many there are and however much each of them would take.

The queue belongs to the event loop, jobs run on the device's thread. What a session wants from a chunk is asked of it
when its turn begins, on the event loop. Only orders and frames cross the border between the two, so a session's engine
could also live in another process: this class is the seam.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from quickchange.serve.sessions.driver import ChunkDriver, Made
    from quickchange.serve.sessions.order import NextChunk

Result = TypeVar("Result")
Job = Callable[[], Any]


@dataclass(frozen=True)
class _Turn:
    begin: Callable[[], Job]  # on the event loop, when the turn begins
    done: asyncio.Future[Any]


class Worker:
    """See the module header. Made on the event loop that it serves."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._waiting: deque[_Turn] = deque()
        self._busy = False

    async def next(self, session: ChunkDriver, order: Callable[[], NextChunk]) -> Made:
        """Generate a session's next chunk.

        Args:
            session: the engine's side of it.
            order: called on the event loop when the turn begins.

        Raises:
            Exception: whatever ``order`` or the engine raises.
        """
        made: Made = await self._wait(lambda: partial(session.next, order()))
        return made

    async def turn(self, job: Callable[[], Result]) -> Result:
        """Run ``job`` on the device's thread in its turn; what it raises is raised here."""
        result: Result = await self._wait(lambda: job)
        return result

    def blocking_turn(self, job: Callable[[], Result]) -> Result:
        """Do the same from a thread other than the event loop's."""
        return asyncio.run_coroutine_threadsafe(self.turn(job), self._loop).result()

    async def close(self) -> None:
        """Cancel the turns that have not begun, and wait for the one that has."""
        for turn in self._waiting:
            turn.done.cancel()
        self._waiting.clear()
        await asyncio.to_thread(self._thread.shutdown)

    def _wait(self, begin: Callable[[], Job]) -> asyncio.Future[Any]:
        turn = _Turn(begin, self._loop.create_future())
        self._waiting.append(turn)
        self._begin()
        return turn.done

    def _begin(self) -> None:
        while self._waiting and not self._busy:
            turn = self._waiting.popleft()
            if turn.done.done():  # the caller has gone
                continue
            try:
                work = self._thread.submit(turn.begin())
            except Exception as error:
                turn.done.set_exception(error)
                continue
            self._busy = True
            work.add_done_callback(self._report(turn))

    def _report(self, turn: _Turn) -> Callable[[Future[Any]], None]:
        """From the device's thread back to the event loop."""

        def report(work: Future[Any]) -> None:
            self._loop.call_soon_threadsafe(self._end, turn, work)

        return report

    def _end(self, turn: _Turn, work: Future[Any]) -> None:
        self._busy = False
        self._begin()  # first of all: the device has nothing to do
        if turn.done.done():
            return
        error = work.exception()
        if error is None:
            turn.done.set_result(work.result())
        else:
            turn.done.set_exception(error)
