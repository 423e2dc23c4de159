"""Counters and gauges for ``GET /metrics``. One registry per server, so several can live in one process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SWITCH_BUCKETS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2.5, 5)  # seconds


class Metrics:
    """Counters and gauges of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"quickchange_{name}", text, registry=self.registry)

        self._sessions = Gauge("quickchange_sessions", "Streams that hold a slot", registry=self.registry)
        self._frames = counter("frames_generated", "Frames generated")
        self._seconds = counter("device_seconds", "Seconds that the device worked for streams")
        self._evicted = counter("cache_evicted", "Latent frames that left the KV cache because it was full")
        self._withdrawn = counter("cache_withdrawn", "Latent frames that a switch took out of the KV cache")
        self._shown = counter("frames_shown", "Frames sent to viewers")
        self._opened = counter("sessions_opened", "Streams opened")
        self._busy = counter("busy", "Streams refused for lack of a slot")
        self._resumed = counter("resumed", "Streams resumed after a lost socket")
        self._uploads = counter("uploads", "Pictures uploaded")
        self._switch = Histogram(
            "quickchange_switch_seconds",
            "From a click to the screen, as viewers report it",
            buckets=SWITCH_BUCKETS,
            registry=self.registry,
        )

    def count_sessions(self, count: Callable[[], int]) -> None:
        """Call ``count`` for the number of streams at every scrape."""
        self._sessions.set_function(count)

    def generated(self, frames: int, seconds: float, evicted: int, withdrawn: int) -> None:
        """Count a chunk.

        Args:
            frames: that it holds.
            seconds: how long the device worked for it.
            evicted: latent frames that left the cache because it was full.
            withdrawn: latent frames that a switch took out of the cache.
        """
        self._frames.inc(frames)
        self._seconds.inc(seconds)
        self._evicted.inc(evicted)
        self._withdrawn.inc(withdrawn)

    def shown(self) -> None:
        """Count a frame that was sent to a client."""
        self._shown.inc()

    def opened(self) -> None:
        """Count a new session."""
        self._opened.inc()

    def busy(self) -> None:
        """Count a client that was refused for lack of a slot."""
        self._busy.inc()

    def resumed(self) -> None:
        """Count a session that was resumed."""
        self._resumed.inc()

    def uploaded(self) -> None:
        """Count an upload."""
        self._uploads.inc()

    def switched(self, milliseconds: float) -> None:
        """Observe the time of a switch, from the click to the screen."""
        self._switch.observe(milliseconds / 1000)

    def text(self) -> bytes:
        """Format everything as Prometheus reads it."""
        return generate_latest(self.registry)
