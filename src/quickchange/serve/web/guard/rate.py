"""Rates: how many requests and sockets a client may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Scope

from quickchange.serve.protocol.problems import problem

MOST_CLIENTS = 1024  # whose rates are remembered
SLACK = 1e-6  # of a token: a client that waits as long as told is not refused for a rounding error
# requests per second, at once; by what is asked for
UPLOADS, VIDEOS, SOCKETS, OTHERS = (2.0, 12.0), (1.0, 4.0), (5.0, 20.0), (100.0, 300.0)


class TokenBucket:
    """Grants ``rate`` tokens a second, and ``burst`` at once after a rest. Pure: the caller brings the time.

    Args:
        rate: tokens per second.
        burst: the most that are granted at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, float("-inf")

    def consume(self, now: float, amount: float = 1.0) -> float:
        """Consume tokens, or none if there are too few.

        Args:
            now: seconds, on any clock that does not go back.
            amount: tokens.

        Returns:
            0 if granted, else how many seconds to wait before asking again.
        """
        self._level = min(self._burst, self._level + self._rate * max(0.0, now - self._at))
        self._at = max(self._at, now)
        if self._level >= amount - SLACK:
            self._level = max(0.0, self._level - amount)
            return 0.0
        return (amount - self._level) / self._rate


class RateLimit:
    """The rates of all clients, by address and by what they ask for.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, tuple[float, float]], TokenBucket] = OrderedDict()

    def check(self, scope: Scope) -> None:
        """Count a request.

        Raises:
            ProblemError: "too-many-requests".
        """
        wait = self._wait(scope)
        if wait > 0:
            raise problem("too-many-requests", f"too many requests; wait {wait:.1f} s", retry_after=wait)

    def _wait(self, scope: Scope) -> float:
        client = scope["client"][0] if scope.get("client") else ""
        path = scope["path"]
        if scope["type"] == "websocket":
            rate = SOCKETS
        elif scope["method"] == "POST" and path in ("/v1/uploads", "/v1/generate"):
            rate = UPLOADS if path == "/v1/uploads" else VIDEOS
        else:
            rate = OTHERS
        bucket = self._buckets.setdefault((client, rate), TokenBucket(*rate))
        self._buckets.move_to_end((client, rate))
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket.consume(self._clock())
