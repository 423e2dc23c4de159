"""One endless stream of a person, and the controls that change it while it runs.

Controls return a sequence id at once and take effect at the next chunk border; of several controls of one kind the
latest wins (controls.py). Every chunk says which id it obeys. A garment switch is one transition: the last shown frame
is encoded anew, the cache is rescheduled (switch.py), a new segment starts with a new decoder state.

A live display holds chunks that nobody has seen yet. ``flush`` before a switch takes them back: the switch then
continues from the frame on the screen, not from the last generated one.

Memory is constant: the session keeps the last frames, a few latents, and the cache. An error in the middle of a chunk
closes the session, since the next frame is no longer defined. A failed change of prompt leaves the stream as it was.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.engine.controls import Mailbox
from quickchange.engine.switch import (
    NEW_REFERENCE,
    VARIANTS,
    Disentangle,
    Moves,
    OpenSegment,
    Recache,
    Refresh,
    Retain,
    Source,
    Withdraw,
    source_of,
    switch,
)
from quickchange.errors import SessionClosedError
from quickchange.media.pixels import to_uint8

if TYPE_CHECKING:
    from quickchange.cache import KVCache
    from quickchange.cache.ledger import Ledger
    from quickchange.engine.conditioner import Conditioner, Garment, Person
    from quickchange.engine.rollout import Rollout
    from quickchange.model.codec import Codec

KEPT_CHUNKS = 4  # generated latents kept for recomputation (12 latent frames, as LongLive's recache)
FLUSHED_CHUNKS = 2  # chunks that ``flush`` can take back
RANDOM_FRAMES = 32  # frames kept where the variant takes a random one as reference

Kind = Literal["garment", "person", "prompt"]


@dataclass(frozen=True)
class Chunk:
    """A piece of the stream.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB.
        obeys: sequence id of the latest control that these frames obey; 0 before the first.
        start: number of the first frame in the stream.
        segment: number of the segment, from 0.
    """

    frames: NDArray[np.uint8]
    obeys: int
    start: int
    segment: int


@dataclass(frozen=True)
class _Shown:
    """A generated chunk that the stream can continue from.

    Attributes:
        start: number of its first frame.
        pixels: uint8 [T, 3, H, W].
        latents: [1, C, F, H, W].
        count: frames that are left; the others were taken back.
    """

    start: int
    pixels: Tensor
    latents: Tensor
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def last_frame(self) -> Tensor:
        """uint8 [1, 3, H, W]."""
        return self.pixels[self.count - 1 : self.count]

    def last_latent(self, temporal: int) -> Tensor:
        """The latent [1, C, 1, H, W] that stands for the last frame.

        Latents hold ``temporal`` frames, the first one of a segment fewer, so they are counted from the end.
        """
        last = self.latents.shape[2] - 1 - (len(self.pixels) - self.count) // temporal
        return self.latents[:, :, last : last + 1]

    def until(self, end: int) -> _Shown:
        return replace(self, count=min(self.count, end - self.start))


class Session:
    """Stream of chunks; made by ``Studio.open``. Iterate it; it is a context manager.

    Controls (``wear``, ``say``, ``reference``, ``flush``, ``pause``, ``resume``, ``close``) may be called from any
    thread. One thread iterates.

    Args:
        rollout: the network with an empty cache.
        codec: the same model's codec.
        conditioner: encodes what the controls bring.
        reference: latent of the person, [1, C, 1, H, W].
        garment: latent of the garment, [1, C, 1, H, W].
        prompt: what happens.
        seed: of the noise.
        variant: moves of a garment switch, see ``switch.VARIANTS``.
        took: called after each chunk with its seconds per frame, in the iterating thread.
    """

    def __init__(
        self,
        rollout: Rollout,
        codec: Codec,
        conditioner: Conditioner,
        *,
        reference: Tensor,
        garment: Tensor,
        prompt: str,
        seed: int,
        variant: str,
        took: Callable[[float], None] | None = None,
    ) -> None:
        self._took = took
        self._rollout, self._codec, self._conditioner = rollout, codec, conditioner
        self._cache = rollout.cache
        self._generator = torch.Generator().manual_seed(seed)
        self._original = self._reference = reference
        self._garment = garment
        self._moves = VARIANTS[variant]
        self._decoder = codec.new_state()
        self._latents: deque[Tensor] = deque(maxlen=KEPT_CHUNKS)
        wants_many = Disentangle(Source.RANDOM) in self._moves
        self._lasts: deque[tuple[int, Tensor]] = deque(maxlen=RANDOM_FRAMES if wants_many else 0)  # number, pixels
        # Shared between threads, all under the lock; what is published is never changed in place.
        self._lock = threading.Lock()
        self._mailbox: Mailbox[Kind, Any] = Mailbox()
        self._shown: tuple[_Shown, ...] = ()
        self._flush_after: int | None = None
        self._closed = False
        self._running = threading.Event()
        self._running.set()
        self._obeyed = self._next = 0
        rollout.say(conditioner.prompt(prompt))
        rollout.conditions(reference, garment)

    # -- controls ------------------------------------------------------------------------------------------------------

    def wear(self, garment: Garment, *, cutout: bool = True) -> int:
        """Change the garment from the next chunk on.

        Args:
            garment: path, PIL image or uint8 array of a product shot or a photo; a ``PlacedGarment``; or a
                ``ConditionImage`` from ``Studio.prepare_garment``, which costs nothing here.
            cutout: remove the background first.

        Returns:
            Sequence id; the first chunk whose ``obeys`` reaches it wears the garment.

        Raises:
            InputError: not a usable image.
            SessionClosedError: the stream has ended.
        """
        return self._post("garment", lambda: self._conditioner.garment(garment, cutout=cutout).latent)

    def say(self, prompt: str) -> int:
        """Change the prompt from the next chunk on; the picture goes on.

        Returns:
            Sequence id.

        Raises:
            SessionClosedError: the stream has ended.
        """
        return self._post("prompt", lambda: self._conditioner.prompt(prompt))

    def reference(self, person: Person) -> int:
        """Change the person from the next chunk on, which is a cut.

        Returns:
            Sequence id.

        Raises:
            InputError: not a usable image.
            SessionClosedError: the stream has ended.
        """
        return self._post("person", lambda: self._conditioner.person(person).latent)

    def flush(self, after: int) -> int:
        """Take back the frames after number ``after`` if the next chunk is a switch; nobody has seen them.

        If a new garment or person is pending when the next chunk begins, that chunk starts at the returned number plus
        one, and a new garment continues from that frame. Otherwise this call changes nothing: the history already
        holds those frames. A variant that keeps its segment ("refresh", "recache") cannot take frames back.

        Args:
            after: number of the last frame that was or will be shown.

        Returns:
            ``after``, or the nearest frame that the stream can continue from.
        """
        with self._lock:
            if not self._shown:
                return self._next - 1
            newest = self._shown[-1].end - 1
            if OpenSegment() not in self._moves_for(self._mailbox.waits("person"), garment=True):
                return newest
            self._flush_after = min(max(after, self._shown[-FLUSHED_CHUNKS:][0].start), newest)
            return self._flush_after

    @property
    def switching(self) -> bool:
        """Whether a new garment or person is pending: the next chunk is a switch."""
        with self._lock:
            return self._mailbox.waits("garment", "person")

    def watch(self, observer: Callable[[Ledger], None] | None) -> None:
        """Call ``observer`` with the cache's ledger after every transition, in the iterating thread; None ends it."""
        self._cache.observer = observer

    def pause(self) -> None:
        """Stop generation at the next chunk border: the iterating thread waits there for ``resume`` or ``close``."""
        with self._lock:
            if not self._closed:
                self._running.clear()

    def resume(self) -> None:
        """Go on after ``pause``; picture and cache are where they were."""
        self._running.set()

    def close(self) -> None:
        """End the stream; iteration stops at the next chunk border. May be called twice."""
        with self._lock:
            self._closed = True
            self._running.set()

    @property
    def cache(self) -> KVCache:
        """The session's cache, to look at."""
        return self._cache

    @property
    def rollout(self) -> Rollout:
        """The session's rollout, to measure."""
        return self._rollout

    def _post(self, kind: Kind, prepare: Callable[[], Any]) -> int:
        with self._lock:
            ticket = self._mailbox.ticket()
        value = prepare()
        with self._lock:
            if self._closed:
                raise SessionClosedError("the session is closed; open a new one with Studio.open")
            return self._mailbox.post(kind, value, ticket)

    # -- stream --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        """Apply pending controls, generate and decode one chunk."""
        return self.advance()

    def advance(self, *, settle: bool = True) -> Chunk:
        """Return the next chunk, as iterating does.

        Args:
            settle: commit the chunk to the cache before returning. Without it the next call begins with the commit: the
                caller gets these frames one pass earlier, and a switch that withdraws the chunk saves that pass. The
                frames are the same.

        Raises:
            StopIteration: the session is closed.
        """
        self._running.wait()
        if self._closed:
            raise StopIteration
        with torch.inference_mode():
            self._apply_pending()
            started = time.perf_counter()
            with self._closed_on_error():
                pixels_TCHW = self._generate(settle)
        frames = pixels_TCHW.permute(0, 2, 3, 1).cpu().numpy()
        if self._took:
            self._took((time.perf_counter() - started) / len(frames))
        return Chunk(frames, self._obeyed, self._next - len(frames), self._cache.segment)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _generate(self, settle: bool) -> Tensor:
        """The next chunk's pixels, uint8 [T, 3, H, W]."""
        latents = self._rollout.denoise(self._generator)
        if settle:
            self._rollout.settle()
        self._latents.append(latents)
        frames = self._codec.decode(latents, self._decoder)
        pixels_TCHW = to_uint8(frames[0]).transpose(0, 1)
        # A switch continues from what was shown, rounded to 8 bits. Copied: the caller may draw into the frames.
        shown = _Shown(self._next, pixels_TCHW.clone(), latents, len(pixels_TCHW))
        if self._lasts.maxlen:
            self._lasts.append((shown.end - 1, shown.last_frame))
        with self._lock:
            # One chunk more than can be flushed: a flush that comes while a chunk is generated stays possible.
            self._shown = (*self._shown, shown)[-FLUSHED_CHUNKS - 1 :]
            self._next = shown.end
        return pixels_TCHW

    # -- controls applied ----------------------------------------------------------------------------------------------

    def _moves_for(self, person: bool, garment: bool) -> Moves:
        """Moves for new conditions; none, where the picture goes on."""
        if person:
            return (Refresh(), *NEW_REFERENCE) if garment else NEW_REFERENCE
        if garment:
            # Before the first frame there is nothing to continue from: only the conditions change.
            return self._moves if self._shown else (Refresh(), *NEW_REFERENCE[1:])
        return ()

    def _apply_pending(self) -> None:
        with self._lock:
            delivery, flushed = self._mailbox.drain(), self._flush_after
            self._flush_after = None
        values = delivery.values
        moves = self._moves_for("person" in values, "garment" in values)
        kept = any(isinstance(move, Retain | Recache) for move in moves)
        with self._closed_on_error():
            self._rollout.settle(leaving=Withdraw() in moves and not kept)
        if moves:
            with self._closed_on_error():
                self._switch(values, moves, flushed)
        elif "prompt" in values:
            with self._cache.restored_on_error():
                self._rollout.say(values["prompt"])
                self._rollout.conditions(self._reference, self._garment)
        self._obeyed = delivery.sequence

    def _switch(self, values: Mapping[Kind, Any], moves: Moves, flushed: int | None) -> None:
        if flushed is not None and OpenSegment() in moves:
            self._forget(flushed + 1)
        if "garment" in values:
            self._garment = values["garment"]
        if "person" in values:
            self._reference = self._original = values["person"]
            self._lasts.clear()
            with self._lock:
                self._shown = ()
        self._reference = self._reference_from(source_of(moves))
        if "prompt" in values:
            self._rollout.say(values["prompt"])
        outcome = switch(
            moves, self._rollout, reference=self._reference, garment=self._garment, history=tuple(self._latents)
        )
        if outcome.new_segment:
            self._decoder = self._codec.new_state()
            self._latents.clear()

    def _forget(self, end: int) -> None:
        """Take back the frames from number ``end`` on."""
        with self._lock:
            self._shown = tuple(shown.until(end) for shown in self._shown if shown.start < end)
            self._next = end
        while self._lasts and self._lasts[-1][0] >= end:
            self._lasts.pop()

    def _reference_from(self, source: Source) -> Tensor:
        match source:
            case Source.LAST_FRAME:
                return self._conditioner.frame(self._shown[-1].last_frame)
            case Source.LAST_LATENT:
                return self._shown[-1].last_latent(self._codec.temporal)
            case Source.ORIGINAL:
                return self._original
            case Source.RANDOM if self._lasts:
                pick = int(torch.randint(len(self._lasts), (1,), generator=self._generator))
                return self._conditioner.frame(self._lasts[pick][1])
            case _:
                return self._reference
