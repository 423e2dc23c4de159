"""Carries out a session's orders on the device: applies the controls, generates a chunk.

This is the only place where the server talks to an engine session. It knows neither the pacer nor the client.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickchange.cache import Ledger
from quickchange.serve.protocol.messages import Cache
from quickchange.serve.sessions.inspector import describe
from quickchange.serve.sessions.order import Change, NextChunk, Scene

if TYPE_CHECKING:
    from quickchange.engine.session import Session
    from quickchange.engine.studio import Studio


@dataclass(frozen=True)
class Shot:
    """A generated frame.

    Attributes:
        frame: uint8 [H, W, 3], RGB.
        obeys: sequence id of the last control that it obeys.
    """

    frame: NDArray[np.uint8]
    obeys: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """A generated chunk.

    Attributes:
        shots: its frames, in order.
        seconds: how long the device worked for it.
        switch: whether it changes the picture at once (``NextChunk.switch``).
        earliest: number of the first frame that a later switch can continue from.
        evicted: latent frames that left the cache because it was full.
        withdrawn: latent frames that a switch took out of the cache.
        cache: what the cache went through, if the order asked for it.
    """

    shots: list[Shot]
    seconds: float
    switch: bool
    earliest: int
    evicted: int
    withdrawn: int
    cache: Cache | None


class ChunkDriver:
    """One session's engine on the device. All methods run on the device's thread.

    Args:
        studio: opens engine sessions.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._engine: Session | None = None
        self._offset = 0  # number in the stream of the engine session's frame 0
        self._sequences: dict[int, int] = {}  # by the engine's sequence ids, which begin again with every restart

    def next(self, order: NextChunk) -> Made:
        """Carry out ``order``.

        Raises:
            RuntimeError: the engine cannot continue from the ordered frame.
        """
        began = time.monotonic()
        engine = self._obey(order) if order.restart is None else self._open(order.restart, order)
        before, states = engine.cache.ledger, list[Ledger]()
        engine.watch(states.append if order.inspect else None)
        chunk = engine.advance(settle=False)
        seconds = time.monotonic() - began
        engine.watch(None)
        obeys = self._sequences[chunk.obeys]
        self._sequences = {chunk.obeys: obeys}
        after = engine.cache.ledger
        cache = None
        if order.inspect:
            cache = Cache(
                window=engine.cache.config.window,
                frame=self._offset + chunk.start,
                obeys=obeys,
                milliseconds=1000 * seconds,
                steps=describe(before, states),
            )
        return Made(
            shots=[Shot(frame, obeys) for frame in chunk.frames],
            seconds=seconds,
            switch=order.switch,
            earliest=self._earliest(engine),
            evicted=after.evicted - before.evicted,
            withdrawn=after.withdrawn - before.withdrawn,
            cache=cache,
        )

    def close(self) -> None:
        """End the engine session."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _open(self, scene: Scene, order: NextChunk) -> Session:
        self.close()
        self._engine = self._studio.open(scene.person, scene.garment, scene.prompt, scene.seed)
        self._offset = 1 + (-1 if order.go_on_from is None else order.go_on_from)
        self._sequences = {0: order.sequence}
        return self._engine

    def _obey(self, order: NextChunk) -> Session:
        engine = self._engine
        if engine is None:
            raise RuntimeError("the first order does not open the stream")
        controls: dict[Change, Callable[[Any], int]] = {
            "prompt": engine.say,
            "garment": engine.wear,
            "person": engine.reference,
        }
        for kind, value in order.changes.items():
            self._sequences[controls[kind](value)] = order.sequence
        if order.go_on_from is not None:
            reached = engine.flush(order.go_on_from - self._offset) + self._offset
            if reached != order.go_on_from:
                raise RuntimeError(f"frame {order.go_on_from} was ordered; the engine can go on from {reached}")
        return engine

    def _earliest(self, engine: Session) -> int:
        # Asking for more than there is gives the limit. A flush counts only for a switch, and a switch asks again.
        return engine.flush(-self._offset - 1) + self._offset


def out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError)
