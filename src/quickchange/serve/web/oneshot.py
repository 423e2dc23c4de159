"""``POST /v1/generate``: one whole video, chunk by chunk, in turns with the live sessions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quickchange.errors import QuickchangeError
from quickchange.media.images import PlacedGarment
from quickchange.serve.sessions.worker import Worker

if TYPE_CHECKING:
    from quickchange.engine.session import Chunk, Session
    from quickchange.engine.studio import Studio

Frame = NDArray[np.uint8]


class AbandonedError(QuickchangeError, RuntimeError):
    """The client that asked for the video has gone."""


class StudioInTurns:
    """A studio for ``generate.run`` whose streams take a turn on the device for every chunk.

    It is used from a thread of its own, neither the device's nor the event loop's.

    Args:
        studio: the model.
        worker: gives the turns.
        cancelled: setting it ends the video at the next chunk.
    """

    def __init__(self, studio: Studio, worker: Worker, cancelled: threading.Event) -> None:
        self._studio, self._worker, self._cancelled = studio, worker, cancelled
        self.fps, self.width, self.height = studio.fps, studio.width, studio.height
        self.place_garment = studio.place_garment

    @contextmanager
    def open(
        self, *, reference: Frame, garment: Frame | PlacedGarment, prompt: str, seed: int, cutout: bool
    ) -> Iterator[_InTurns]:
        """Open a stream in a turn of its own; see ``Studio.open``."""
        session = self._worker.blocking_turn(lambda: self._studio.open(reference, garment, prompt, seed, cutout=cutout))
        with session:
            yield _InTurns(session, self._worker, self._cancelled)


class _InTurns:
    def __init__(self, session: Session, worker: Worker, cancelled: threading.Event) -> None:
        self._session, self._worker, self._cancelled = session, worker, cancelled

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._cancelled.is_set():
            raise AbandonedError
        return self._worker.blocking_turn(lambda: next(self._session))

    def wear(self, garment: Frame | PlacedGarment, *, cutout: bool) -> int:
        return self._worker.blocking_turn(lambda: self._session.wear(garment, cutout=cutout))
