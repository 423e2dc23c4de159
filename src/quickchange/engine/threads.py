"""The number of CPU threads, chosen by measurement, because a busy neighbour changes the answer.

OpenMP's threads synchronise after every operation. Alone on two cores, two threads are faster than one. Beside another
busy process they wait for each other after every operation, and one thread is much faster.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import nn

SLOW = 3.0
"""A piece of work that takes this many times its usual time is worth a new measurement."""
RECHECK_SECONDS = 10.0
"""After a change for the worse, the old number is tried again this often."""


def usable_cores() -> int:
    """Cores that this process may use, and no more threads than torch chose."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, torch.get_num_threads()))


class ThreadTuner:
    """Chooses a number of threads by timing a piece of work, and again when the machine changes.

    It sets torch's number of threads for the calling thread; call it from the thread that computes.

    Args:
        work: a short, typical piece of computation, e.g. one pass.
        most: greatest number of threads to consider; default: usable cores.
        clock: seconds.
        set_threads: sets the number.

    Attributes:
        threads: the number in force.
    """

    def __init__(
        self,
        work: Callable[[], object],
        most: int | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        set_threads: Callable[[int], None] = torch.set_num_threads,
    ) -> None:
        self.threads = most or usable_cores()
        self.candidates: Sequence[int] = sorted({1, (self.threads + 1) // 2, self.threads}, reverse=True)
        self._work, self._clock, self._set = work, clock, set_threads
        self._usual: deque[float] = deque(maxlen=9)
        self._first = self.threads
        self._tuned = -RECHECK_SECONDS

    def tune(self) -> int:
        """Time the work with every candidate, set the fastest and return it."""
        self._first = self._measure()
        return self._first

    def took(self, seconds: float) -> None:
        """Report what a regular piece of work took, in seconds per unit; may measure anew.

        Args:
            seconds: of this piece, over its number of frames, samples, or whatever it counts.
        """
        slow = len(self._usual) >= 3 and seconds > SLOW * statistics.median(self._usual)
        worse = self.threads != self._first and self._clock() - self._tuned > RECHECK_SECONDS
        if slow or worse:
            self._measure()
            self._usual.clear()
        else:
            self._usual.append(seconds)

    def _measure(self) -> int:
        if len(self.candidates) > 1:
            times = {threads: self._time(threads) for threads in self.candidates}
            self.threads = min(times, key=lambda threads: (times[threads], threads))
        self._set(self.threads)
        self._tuned = self._clock()
        return self.threads

    def _time(self, threads: int) -> float:
        """Median of three, after one that does not count; stops early where one alone takes ages."""
        self._set(threads)
        times: list[float] = []
        for _ in range(4):
            started = self._clock()
            self._work()
            times.append(self._clock() - started)
            if times[-1] > 1.0:
                return times[-1]
        return statistics.median(times[1:])


def typical_work() -> Callable[[], object]:
    """A few layers of the kind that all networks here consist of, for work that has no short piece of its own."""
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)) for _ in range(6)))
    tokens = torch.ones(768, 256)

    @torch.no_grad()
    def work() -> object:
        return layers(tokens)

    return work
