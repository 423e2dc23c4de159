"""When a chunk is generated, when a frame is shown, and which frames are dropped. Pure: the caller brings the time.

Generated frames wait in a bounded queue until they are due. Generation starts as late as possible: when a chunk is
ready, at most ``ahead`` seconds of video are still queued. A click therefore waits only briefly for the next chunk.
Nothing may make a stream lag:

* A client that does not keep up loses frames, before they are encoded.
* Generation stops while a client does not acknowledge frames, while its tab is in the background, and while it pauses.
* A device that does not keep up shows its frames evenly over the time that it needs, not in bursts.

A switch drops all queued frames except the few needed until the new chunk is ready. The new chunk continues from the
last of those, so the video neither freezes nor jumps, and no old frame follows.

All times are seconds on a clock of the caller that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from quickchange.errors import QuickchangeError

Item = TypeVar("Item")

LEAST_IN_FLIGHT = 16  # frames: clients may acknowledge only every twelfth
IN_FLIGHT_SECONDS = 0.75  # of video sent and not acknowledged, before frames are dropped
STALL_SECONDS = 2.0  # of silence with that much in flight, before generation stops
LONGEST_STRETCH = 12.0
RECENT = 4
EASE = 0.3  # weight of the newest measurement in running means


class QueueFullError(QuickchangeError, RuntimeError):
    """The queue has no room for a chunk yet."""


@dataclass(frozen=True)
class Due(Generic[Item]):
    """A frame to show now.

    Attributes:
        item: the frame.
        number: of the frame in the stream.
        media: when it is due on the stream's own clock, seconds. That clock stops while the picture does.
        epoch: number of flushes before it was put.
        cut: whether it is the first one shown of its epoch.
    """

    item: Item
    number: int
    media: float
    epoch: int
    cut: bool


@dataclass(frozen=True)
class _Queued(Generic[Item]):
    item: Item
    number: int
    epoch: int


class Pacer(Generic[Item]):
    """The pace of one stream.

    Args:
        fps: the model's frames per second.
        ahead: how far in front of the screen a finished chunk may begin, seconds.
        chunk: the most frames of a chunk.

    Attributes:
        dropped: frames that were due and not shown.
        epoch: number of flushes so far.
        stretch: how many times longer than at ``fps`` a frame stays on the screen; 1 unless the device is slow.
        next_number: number of the next frame to be put.
        last_shown: number of the last frame that left the queue, -1 at first.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, fps: float, ahead: float, chunk: int) -> None:
        if not (fps > 0 and ahead >= 0 and chunk >= 1):
            raise ValueError(f"fps is {fps}, ahead {ahead}, chunk {chunk}; expected > 0, >= 0 and >= 1")
        self.fps, self.ahead, self.chunk = fps, ahead, chunk
        self.capacity = int(ahead * fps) + chunk  # frames
        self.most_in_flight = max(LEAST_IN_FLIGHT, int(IN_FLIGHT_SECONDS * fps))  # frames
        self.dropped = self.epoch = self.next_number = 0
        self.last_shown = -1
        self.stretch = 1.0
        self._queue: deque[_Queued[Item]] = deque()
        self._due: float | None = None  # of the next frame; None: as soon as it is ready
        self._media = 0.0  # of the next frame, if it comes in time
        self._shown_epoch = 0
        self._in_flight: deque[int] = deque()  # numbers sent and not acknowledged
        self._heard_at = 0.0
        self._last_put: float | None = None
        self._turnaround = 0.0  # of plain chunks, running mean
        self._chunks: deque[float] = deque(maxlen=RECENT)  # the last turnarounds, of plain chunks and of switches
        self._switches: deque[float] = deque(maxlen=RECENT)
        self._held: set[str] = set()

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def period(self) -> float:
        """Seconds from one frame to the next."""
        return self.stretch / self.fps

    @property
    def buffered(self) -> float:
        """Seconds of video generated and not shown."""
        return len(self._queue) * self.period

    @property
    def flowing(self) -> bool:
        """Whether the picture moves: not paused, and someone is watching."""
        return not self._held

    def stalled(self, now: float) -> bool:
        """Whether the client has been silent for so long that generation must stop."""
        return len(self._in_flight) >= self.most_in_flight and now - self._heard_at > STALL_SECONDS

    # -- generation ----------------------------------------------------------------------------------------------------

    def wants_chunk(self, now: float, switch: bool = False) -> bool:
        """Whether it is time to begin the next chunk. A ``switch`` does not wait for its time."""
        if not self.flowing or self.stalled(now):
            return False
        return switch or self.buffered - self._turnaround <= self.ahead + 1e-9

    def next_chunk_at(self, now: float) -> float | None:
        """Time at which to ask ``wants_chunk`` again if nothing happens before; None: only when something happens."""
        if not self.flowing or self.stalled(now):
            return None
        return now + max(0.0, self.buffered - self._turnaround - self.ahead)

    def generated(self, seconds: float, switch: bool) -> None:
        """Note how long a chunk took.

        Args:
            seconds: from asking for the device to having the frames.
            switch: whether it was a switch.
        """
        (self._switches if switch else self._chunks).append(seconds)
        if switch:
            return
        if self._turnaround == 0:
            self._turnaround = seconds
        else:
            self._turnaround += EASE * (seconds - self._turnaround)

    def has_room(self, count: int) -> bool:
        """Whether ``count`` frames can be put now."""
        return len(self._queue) + count <= self.capacity

    def put(self, items: Sequence[Item], now: float) -> None:
        """Queue a chunk's frames.

        Raises:
            QueueFullError: there is no room for them yet; see ``has_room``.
        """
        if not self.has_room(len(items)):
            raise QueueFullError(f"{len(items)} frames beside {len(self._queue)}; there is room for {self.capacity}")
        self._adapt(len(items), now)
        if not self._queue and self._due is not None and self._due < now:
            self._media += now - self._due  # the screen stood still for lack of frames: the clock went on
            self._due = now
        for item in items:
            self._queue.append(_Queued(item, self.next_number, self.epoch))
            self.next_number += 1
        self._last_put = now

    def _adapt(self, count: int, now: float) -> None:
        """Adapt ``stretch`` to the pace that the device can hold."""
        if self._last_put is None or not count:
            return
        needed = min((now - self._last_put) * self.fps / count, LONGEST_STRETCH)
        starved = not self._queue and self._due is not None and self._due < now
        if starved or needed < self.stretch:
            self.stretch = max(1.0, self.stretch + EASE * (needed - self.stretch))

    # -- the screen ----------------------------------------------------------------------------------------------------

    def next_due(self, now: float) -> float | None:
        """Time at which to call ``pop`` if nothing happens before; None: only when something happens."""
        if not self._queue or not self.flowing:
            return None
        return now if self._due is None else max(now, self._due)

    def pop(self, now: float) -> Due[Item] | None:
        """Pop the frame to send now; None if none is due or the client is too far behind.

        Of several frames that are due, the newest is shown and the others are dropped.
        """
        if not self._queue or not self.flowing or (self._due is not None and now < self._due):
            return None
        due = now if self._due is None else self._due
        late = min(int((now - due) / self.period), len(self._queue) - 1)
        for _ in range(late):
            self._queue.popleft()
        frame = self._queue.popleft()
        self.dropped += late
        self.last_shown = frame.number
        media = self._media + late * self.period
        shown_due = due + late * self.period
        self._due = max(shown_due + self.period, now)  # beyond what was queued there is nothing to catch up with
        self._media = media + self._due - shown_due
        if len(self._in_flight) >= self.most_in_flight:
            self.dropped += 1
            return None
        if not self._in_flight:
            self._heard_at = now  # silence counts from when there is something to answer
        self._in_flight.append(frame.number)
        cut, self._shown_epoch = frame.epoch != self._shown_epoch, frame.epoch
        return Due(frame.item, frame.number, media, frame.epoch, cut)

    def acknowledge(self, number: int, now: float) -> None:
        """Note that the client has shown all frames up to ``number``, or passed them over."""
        self._heard_at = now
        while self._in_flight and self._in_flight[0] <= number:
            self._in_flight.popleft()

    # -- switches ------------------------------------------------------------------------------------------------------

    def bridge(self, now: float) -> int:
        """Predict the last frame on the screen when a switch that begins now is ready: the one to continue from."""
        if not self.flowing or not self._queue:
            return self.last_shown
        due = now if self._due is None else self._due
        # The quickest of the last few: a picture that stands for a moment disturbs less than a click that waits.
        ready = now + min(self._switches or self._chunks, default=0.0)
        count = max(0, int((ready - due) / self.period) + 1) if ready >= due else 0
        return min(self.last_shown + count, self.next_number - 1)

    def flush(self, after: int) -> int:
        """Discard every queued frame after number ``after``. The next one put is ``after + 1``, in a new epoch.

        Returns:
            How many frames were discarded.

        Raises:
            ValueError: a later frame than ``after`` has been shown already, or ``after`` was never put.
        """
        if not self.last_shown <= after < self.next_number:
            raise ValueError(f"cannot go on from frame {after}: {self.last_shown} is shown, {self.next_number} next")
        discarded = self.next_number - 1 - after
        for _ in range(discarded):
            self._queue.pop()
        self.next_number = after + 1
        self.epoch += 1
        self._last_put = None  # a switch says nothing about the pace
        return discarded

    # -- standing still ------------------------------------------------------------------------------------------------

    def hold(self, reason: str) -> None:
        """Stop the picture for ``reason`` (paused, hidden, away ...), in addition to any other reason.

        Frames in flight are not waited for any longer.
        """
        if reason not in self._held:
            self._held.add(reason)
            self._stop_clock()

    def release(self, reason: str) -> None:
        """Withdraw ``reason``. The picture moves once there is none left."""
        if reason in self._held:
            self._held.discard(reason)
            self._stop_clock()

    def lose_in_flight(self, now: float) -> None:
        """Stop waiting for the frames in flight: the client will never acknowledge them."""
        self._heard_at = now
        self._in_flight.clear()

    def _stop_clock(self) -> None:
        self._due = self._last_put = None
        self._in_flight.clear()
