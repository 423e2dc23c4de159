"""One live session: its state, its pace, its pictures, its recording. It belongs to the event loop.

A task generates chunks, turn by turn, when the pacer wants them. A subscriber pops the frames that are due and is told
what happens. The session outlives its subscriber until the registry closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from statistics import quantiles
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from quickchange.generate import MAX_SEED
from quickchange.serve.catalogue import Role
from quickchange.serve.protocol import VERSION, messages
from quickchange.serve.protocol.problems import problem
from quickchange.serve.protocol.states import Event, State, step
from quickchange.serve.recording import Recording
from quickchange.serve.sessions.driver import ChunkDriver, Shot, out_of_memory
from quickchange.serve.sessions.order import Controls, NextChunk, Scene
from quickchange.serve.sessions.pacing import Due, Pacer
from quickchange.serve.sessions.services import Services

if TYPE_CHECKING:
    from quickchange.engine.conditioner import ConditionImage

logger = logging.getLogger(__name__)

RATE_SECONDS = 3.0
KEPT_SECONDS = 1.0  # of shown frames, for snapshots
KEPT_SWITCHES = 256  # times of switches


class Subscriber(Protocol):
    """The receiver of a session's frames and messages: one client's connection."""

    def tell(self, message: BaseModel) -> None:
        """Accept a message without waiting."""
        ...

    def wake(self) -> None:
        """Look again: a frame may be due, or at another time than before."""
        ...

    def dismiss(self, reason: str, taken_over: bool = False) -> None:
        """End: the session was closed, or belongs to another subscriber now."""
        ...


class LiveSession:
    """See the module header.

    Args:
        services: what sessions share.

    Attributes:
        token: the secret that resumes the session.
        state: see ``protocol.states``.
        prepared: the session's own pictures, encoded, by role and id.
        person: id of the person in force, empty before ``open``.
        garment: id of the garment in force, empty before ``open``.
    """

    def __init__(self, services: Services) -> None:
        self.token = secrets.token_urlsafe(24)
        self.state = State.NEW
        self.prepared: dict[tuple[Role, str], ConditionImage] = {}
        self.person = self.garment = ""
        self._services = services
        studio, settings = services.studio, services.settings
        self._pacer: Pacer[Shot] = Pacer(studio.fps, settings.ahead, studio.frames_per_chunk)
        self._controls: Controls | None = None
        self._driver = ChunkDriver(studio)
        self._earliest = 0  # number of the first frame that a switch can continue from
        self._subscriber: Subscriber | None = None
        self._producer: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._kept: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=max(1, round(KEPT_SECONDS * studio.fps)))
        self._sent: deque[float] = deque(maxlen=round(8 * RATE_SECONDS * studio.fps))
        self._speed = 0.0
        self._switches: deque[float] = deque(maxlen=KEPT_SWITCHES)
        self._inspecting = False
        self._recording: Recording | None = None
        self._recorded: list[str] = []  # names of finished recordings
        self._finishing: set[asyncio.Task[None]] = set()
        self._pacer.hold("away")

    # -- subscribers ---------------------------------------------------------------------------------------------------

    def attach(self, subscriber: Subscriber) -> None:
        """Give frames and messages to this subscriber from now on; dismiss the one before."""
        if self._subscriber is not None:
            self._subscriber.dismiss("the stream was opened elsewhere", taken_over=True)
        self._subscriber = subscriber
        self.inspect(False)
        self._pacer.hold("away")  # the one before has gone
        self._pacer.release("hidden")
        self._pacer.release("away")
        self._wake()

    def detach(self, subscriber: Subscriber) -> bool:
        """Stop giving frames to this subscriber; False if another one has taken over."""
        if self._subscriber is not subscriber:
            return False
        self._subscriber = None
        self.inspect(False)
        self._pacer.hold("away")
        return True

    def _tell(self, message: BaseModel) -> None:
        if self._subscriber is not None:
            self._subscriber.tell(message)

    def _wake(self) -> None:
        self._changed.set()
        if self._subscriber is not None:
            self._subscriber.wake()

    def _go(self, event: Event) -> None:
        before, self.state = self.state, step(self.state, event)
        if self.state is not before:
            self._tell(messages.StateChanged(state=self.state))

    # -- controls ------------------------------------------------------------------------------------------------------

    def open(self, person: str, garment: str, scene: Scene) -> None:
        """Start the stream.

        Args:
            person: id of the person.
            garment: id of the garment.
            scene: what to generate.

        Raises:
            InvalidTransitionError: it was started before.
        """
        self._go(Event.OPEN)
        self.person, self.garment = person, garment
        self._controls = Controls(scene)
        self._producer = asyncio.create_task(self._produce(self._controls), name="producer")

    def control(self, change: Callable[[Controls], int]) -> int:
        """Change something with the next chunk.

        Args:
            change: posts the control.

        Returns:
            Its sequence id.

        Raises:
            InvalidTransitionError: the state allows no controls.
        """
        self._go(Event.CONTROL)
        if self._controls is None:
            raise RuntimeError("the stream was not opened")  # the states do not allow it
        sequence = change(self._controls)
        self._changed.set()
        return sequence

    def check_room(self) -> None:
        """Check that the session may hold another picture of its own.

        Raises:
            ProblemError: "too-many-uploads".
        """
        most = self._services.settings.uploads
        if len(self.prepared) >= most:
            raise problem("too-many-uploads", f"{most} uploads are kept for a session; open a new one for more")

    def pause(self, paused: bool) -> None:
        """Stop the picture where it is, or let it go on.

        Raises:
            InvalidTransitionError: not in this state.
        """
        self._go(Event.PAUSE if paused else Event.RESUME)
        self._hold("paused", paused)

    def hide(self, hidden: bool) -> None:
        """Stop while nobody can see the picture, or let it go on.

        Raises:
            InvalidTransitionError: not in this state.
        """
        self._go(Event.WATCH)
        self._hold("hidden", hidden)

    def inspect(self, on: bool) -> None:
        """Report the cache's transitions with every chunk, or stop doing so."""
        self._inspecting = on

    def decoder_failed(self) -> None:
        """The client's decoder failed. Frames in flight will never be acknowledged; stop waiting for them."""
        self._go(Event.WATCH)
        self._pacer.lose_in_flight(time.monotonic())
        self._wake()

    def acknowledge(self, ack: messages.Ack) -> None:
        """Note which frames the client has shown, and how long its switches took."""
        self._go(Event.WATCH)
        self._pacer.acknowledge(ack.frame, time.monotonic())
        for switched in ack.switched:
            self._switches.append(switched.ms)
            self._services.metrics.switched(switched.ms)
        self._changed.set()

    def _hold(self, reason: str, on: bool) -> None:
        (self._pacer.hold if on else self._pacer.release)(reason)
        self._wake()

    # -- generation ----------------------------------------------------------------------------------------------------

    async def _produce(self, controls: Controls) -> None:
        def order() -> NextChunk:
            return controls.next_chunk(self._pacer, self._earliest, time.monotonic(), self._inspecting)

        try:
            while True:
                await self._until(
                    lambda now: self._pacer.wants_chunk(now, controls.switching), self._pacer.next_chunk_at
                )
                asked = time.monotonic()
                made = await self._services.worker.next(self._driver, order)
                took = time.monotonic() - asked
                self._earliest = made.earliest
                if not await self._find_room(len(made.shots), controls):
                    continue
                if self.state is not State.OPENING:  # opening takes longer than any later chunk
                    self._pacer.generated(took, made.switch)
                self._pacer.put(made.shots, time.monotonic())
                self._speed = _mean(self._speed, len(made.shots) / made.seconds)
                self._services.metrics.generated(len(made.shots), made.seconds, made.evicted, made.withdrawn)
                if self.state is State.OPENING:
                    self._go(Event.STARTED)
                if made.cache is not None:
                    self._tell(made.cache)
                self._wake()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.exception("a stream failed")
            self._fail(error)

    async def _until(self, holds: Callable[[float], bool], again: Callable[[float], float | None]) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            if holds(now):
                return
            at = again(now)
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if at is None else max(0.001, at - now)):
                    await self._changed.wait()

    async def _find_room(self, count: int, controls: Controls) -> bool:
        """Wait until ``count`` frames can be put. False if a switch comes first, which takes them back."""

        def taken_back() -> bool:
            # Only where the switch can continue from a frame that was put: not from the first chunk of a new person.
            return controls.switching and self._earliest < self._pacer.next_number

        await self._until(lambda _: self._pacer.has_room(count) or taken_back(), self._pacer.next_due)
        return self._pacer.has_room(count)

    def _fail(self, error: Exception) -> None:
        self._go(Event.FAIL)
        detail = (
            f"the device ran out of memory: {str(error).splitlines()[0] if str(error) else 'no more is known'}; "
            "close other streams or start the server with a smaller --max-sessions"
            if out_of_memory(error)
            else "the stream ended because of a fault in the server, which its log describes; open a new one"
        )
        self._tell(messages.Trouble(problem=problem("internal", detail).problem, fatal=True))

    # -- the screen ----------------------------------------------------------------------------------------------------

    def pop(self) -> tuple[Due[Shot] | None, float | None]:
        """Pop the frame to send now.

        Returns:
            The frame, or None if none is due; and the seconds until the next one is due, None if nobody knows.
        """
        now = time.monotonic()
        due = self._pacer.pop(now)
        at = self._pacer.next_due(now)
        if due is not None:
            self._kept.append((due.number, due.item.frame))
            self._sent.append(now)
            self._services.metrics.shown()
            if self._recording is not None:
                self._recording.add(due.number, due.item.frame)
                if self._recording.full:
                    self.record(False)
        self._changed.set()
        return due, None if at is None else max(0.0, at - now)

    def snapshot(self, number: int | None) -> NDArray[np.uint8] | None:
        """Return a shown frame.

        Args:
            number: of the frame; the nearest that is still held is returned. None: the last one shown.

        Returns:
            uint8 [H, W, 3], or None before the first frame.
        """
        if not self._kept:
            return None
        return min(self._kept, key=lambda kept: abs(kept[0] - (self._kept[-1][0] if number is None else number)))[1]

    def stats(self, sessions: int) -> messages.Stats:
        """Measure the session as it is now.

        Args:
            sessions: how many the server has.
        """
        now = time.monotonic()
        buffered, dropped = self._pacer.buffered, self._pacer.dropped
        recent = [at for at in self._sent if now - at < RATE_SECONDS]
        times = [*self._switches]
        cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
        return messages.Stats(
            generated=round(self._speed, 1),
            rate=round(len(recent) / RATE_SECONDS, 1),
            buffered_ms=round(1000 * buffered),
            dropped=dropped,
            sessions=sessions,
            switches=len(self._switches),
            switch_p50=round(cuts[9], 1) if cuts else None,
            switch_p95=round(cuts[18], 1) if cuts else None,
        )

    def welcome(self, resumed: bool, codec: messages.Codec) -> messages.Welcome:
        """Describe the session to a client that has just connected.

        Args:
            resumed: whether the session is older than the connection.
            codec: of the frames to come.
        """
        scene = None if self._controls is None else self._controls.scene
        return messages.Welcome(
            version=VERSION,
            session=self.token,
            resumed=resumed,
            state=self.state,
            codec=codec,
            model=self._services.model,
            ahead_ms=1000 * self._services.settings.ahead,
            resume_seconds=self._services.settings.resume_seconds,
            wearing=self.garment or None,
            person=self.person or None,
            prompt=None if scene is None else scene.prompt,
            seed=None if scene is None else scene.seed,
            sequence=0 if self._controls is None else self._controls.sequence,
            recording=self._recording is not None,
        )

    # -- recording -----------------------------------------------------------------------------------------------------

    def record(self, on: bool) -> None:
        """Start or end a recording. The subscriber is told when the file can be fetched.

        Raises:
            InvalidTransitionError: not in this state.
        """
        self._go(Event.RECORD)
        if on and self._recording is None:
            studio, settings = self._services.studio, self._services.settings
            self._recording = self._services.recordings.begin(
                studio.width, studio.height, studio.fps, settings.recording_seconds
            )
            self._tell(messages.Recording(on=True))
        elif not on and self._recording is not None:
            recording, self._recording = self._recording, None
            task = asyncio.create_task(self._finish(recording))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)

    async def _finish(self, recording: Recording) -> None:
        try:
            name = await asyncio.to_thread(self._services.recordings.finish, recording)
        except Exception as error:
            self._tell(messages.Trouble(problem=problem("internal", str(error)).problem))
            self._tell(messages.Recording(on=False))
            return
        self._recorded.append(name)
        url = f"/v1/recordings/{name}"
        self._tell(messages.Recording(on=False, url=url, seconds=round(recording.seconds, 2)))

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the session and free everything that it holds."""
        if self.state is not State.CLOSED:
            self._go(Event.CLOSE)
        if self._subscriber is not None:
            self._subscriber.dismiss("the session was closed")
            self._subscriber = None
        if self._producer is not None:
            self._producer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._producer
        if self._controls is not None:
            await self._services.worker.turn(self._driver.close)  # after the turn that may be under way
        recording, self._recording = self._recording, None
        if self._finishing:
            await asyncio.wait(self._finishing)
        await asyncio.to_thread(self._services.recordings.release, recording, self._recorded)
        self.prepared.clear()
        self._kept.clear()


def draw_seed() -> int:
    """Draw a seed for a client that did not ask for one."""
    return secrets.randbelow(MAX_SEED)


def _mean(before: float, now: float) -> float:
    return now if before == 0 else before + 0.3 * (now - before)
