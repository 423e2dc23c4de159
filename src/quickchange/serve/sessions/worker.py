"""The one thread that computes. Whoever needs the device asks for a turn; turns are given in the order of asking.

A session asks for its next chunk only when it has the last one, so that it always queues behind all others: streams
share the device chunk by chunk, in rotation, however many there are and however much each of them would take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Worker:
    """See the module header."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")

    async def turn(self, job: Callable[[], Result]) -> Result:
        """Runs ``job`` on the device's thread and waits for it; what it raises is raised here."""
        return await asyncio.wrap_future(self._thread.submit(job))

    def blocking_turn(self, job: Callable[[], Result]) -> Result:
        """The same, for other threads than the event loop's."""
        return self._thread.submit(job).result()

    def close(self) -> None:
        """Forgets the turns that have not begun and waits for the one that has."""
        self._thread.shutdown(wait=True, cancel_futures=True)
