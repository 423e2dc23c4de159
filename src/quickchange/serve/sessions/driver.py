"""What the device does for one stream: applies what the viewer wishes, and generates a chunk. Called in turns.

This is the only place where the server talks to an engine session. Nothing here waits for a viewer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickchange.cache import Ledger
from quickchange.serve.protocol.messages import Cache
from quickchange.serve.sessions.inspector import describe
from quickchange.serve.sessions.pacing import Pacer

if TYPE_CHECKING:
    from quickchange.engine.conditioner import ConditionImage
    from quickchange.engine.session import Session
    from quickchange.engine.studio import Studio


@dataclass(frozen=True)
class Shot:
    """A generated frame, uint8 [H, W, 3], and the last control that it obeys."""

    frame: NDArray[np.uint8]
    obeys: int


@dataclass(frozen=True)
class Scene:
    """Everything that a stream is made from."""

    person: ConditionImage
    garment: ConditionImage
    prompt: str
    seed: int


@dataclass(frozen=True)
class Made:
    """A chunk: its frames, how long the device worked for it (seconds), whether it begins a new segment, and what the
    cache went through, if that was asked for."""

    shots: list[Shot]
    seconds: float
    switch: bool
    cache: Cache | None


@dataclass
class _Wishes:
    changed: set[str] = field(default_factory=set)  # fields of the scene
    restart: bool = False

    @property
    def switch(self) -> bool:
        return self.restart or not self.changed.isdisjoint(("garment", "person"))


class ChunkDriver:
    """One stream's turns on the device.

    ``wish`` and ``restart`` may be called at any time; the next turn obeys the latest of each kind.

    Args:
        studio: opens engine sessions. scene: what to begin with.
        pacer: the stream's pace, shared with the event loop. lock: held by whoever touches the pacer.
    """

    def __init__(self, studio: Studio, scene: Scene, pacer: Pacer[Shot], lock: threading.Lock) -> None:
        self.scene = scene
        self._studio, self._pacer, self._lock = studio, pacer, lock
        self._engine: Session | None = None
        self._offset = 0  # number in the stream of the engine session's frame 0
        self._wishes = _Wishes()
        self._sequence = 0
        self._inspecting = False

    def wish(self, **changes: Any) -> int:
        """Fields of the scene that shall change; returns a sequence id."""
        with self._lock:
            self.scene = replace(self.scene, **changes)
            self._wishes.changed |= changes.keys()
            return self._count()

    def restart(self, seed: int) -> int:
        """Shall start over with another seed; returns a sequence id."""
        with self._lock:
            self.scene = replace(self.scene, seed=seed)
            self._wishes.restart = True
            return self._count()

    def inspect(self, on: bool) -> None:
        """Whether turns report what the cache goes through."""
        self._inspecting = on

    @property
    def sequence(self) -> int:
        """Sequence id of the last wish."""
        return self._sequence

    @property
    def switching(self) -> bool:
        """Whether the next turn changes the picture at once: a new garment or person, or a new take."""
        return self._wishes.switch

    def _count(self) -> int:
        self._sequence += 1
        return self._sequence

    def close(self) -> None:
        """Ends the engine session. Not during a turn."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    # -- on the device's thread ----------------------------------------------------------------------------------------

    def __call__(self) -> Made:
        """One turn: the next chunk."""
        began = time.monotonic()
        with self._lock:
            wishes, self._wishes = self._wishes, _Wishes()
            scene, obeys = self.scene, self._sequence
        if self._engine is None or wishes.restart:
            engine = self._open(scene)
        else:
            engine = self._obey(self._engine, wishes.changed, scene)
        inspecting = self._inspecting
        before, states = engine.cache.ledger, list[Ledger]()
        engine.watch(states.append if inspecting else None)
        chunk = engine.advance(settle=False)
        seconds = time.monotonic() - began
        engine.watch(None)
        cache = None
        if inspecting:
            cache = Cache(
                window=engine.cache.config.window,
                frame=self._offset + chunk.start,
                obeys=obeys,
                milliseconds=1000 * seconds,
                steps=describe(before, states),
            )
        return Made([Shot(frame, obeys) for frame in chunk.frames], seconds, wishes.switch, cache)

    def _open(self, scene: Scene) -> Session:
        self.close()
        self._engine = self._studio.open(scene.person, scene.garment, scene.prompt, scene.seed)
        with self._lock:
            if self._pacer.next_number:
                self._pacer.flush(self._pacer.bridge(time.monotonic()))
            self._offset = self._pacer.next_number
        return self._engine

    def _obey(self, engine: Session, changed: set[str], scene: Scene) -> Session:
        if "prompt" in changed:
            engine.say(scene.prompt)
        if "garment" in changed:
            engine.wear(scene.garment)
        if "person" in changed:
            engine.reference(scene.person)
        if engine.switching:
            with self._lock:
                after = engine.flush(self._pacer.bridge(time.monotonic()) - self._offset) + self._offset
                self._pacer.flush(max(after, self._pacer.last_shown))
        return engine
