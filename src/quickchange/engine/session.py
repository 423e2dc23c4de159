"""A session: one endless stream of a person, and the controls that change it while it runs.

Controls return a sequence id at once and take effect at the next chunk border; of several controls of one kind the
latest wins. Every chunk says which id it obeys. A garment switch is one transition: the last shown frame is encoded
anew, the cache is rescheduled (switch.py), a new segment starts with a new decoder state.

Who shows the stream live has chunks in hand that nobody has seen yet. ``flush`` before a switch takes them back: the
switch then goes on from what is on the screen, not from what was generated ahead.

Memory is constant: the session keeps the last frames, a few latents, and the cache. An error in the middle of a chunk
closes the session: what it would have shown next is no longer defined.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.cache import KVCache
from quickchange.engine.rollout import Rollout
from quickchange.engine.switch import (
    NEW_REFERENCE,
    VARIANTS,
    Disentangle,
    Moves,
    Recache,
    Refresh,
    Retain,
    Source,
    Withdraw,
    reschedule,
)
from quickchange.media.pixels import to_uint8

if TYPE_CHECKING:
    from quickchange.cache.ledger import Ledger
    from quickchange.engine.studio import ConditionImage, Studio
    from quickchange.media.images import Source as ImageLike

KEPT_CHUNKS = 4  # generated latents kept for recomputation (12 latent frames, as LongLive's recache)
KEPT_PIXELS = 2  # chunks of pixels kept, to go on from what was shown
RANDOM_FRAMES = 32  # frames kept where the variant takes a random one as reference


@dataclass(frozen=True)
class Chunk:
    """A piece of the stream.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB.
        obeys: sequence id of the latest control that these frames obey; 0 before the first.
        start: number of the first frame in the stream. segment: number of the segment, from 0.
    """

    frames: NDArray[np.uint8]
    obeys: int
    start: int
    segment: int


@dataclass(frozen=True)
class _Pending:
    sequence: int
    ticket: int
    value: Any


class Session:
    """See the module header; made by ``Studio.open``. Iterate for chunks; a context manager.

    Controls may be called from another thread than the one that iterates.
    """

    def __init__(
        self, studio: Studio, cache: KVCache, reference: Tensor, garment: Tensor, prompt: str, seed: int, variant: str
    ) -> None:
        self._studio, self._codec, self._cache = studio, studio.components.codec, cache
        self._rollout = Rollout(studio.components.transformer, cache, studio.components.stream.schedule())
        self._generator = torch.Generator().manual_seed(seed)
        self._original = self._reference = reference
        self._garment = garment
        self._moves = VARIANTS[variant]
        self._decoder = self._codec.new_state()
        self._latents: deque[Tensor] = deque(maxlen=KEPT_CHUNKS)
        self._pixels: deque[Tensor] = deque(maxlen=KEPT_PIXELS)
        wants_many = Disentangle(Source.RANDOM) in self._moves
        self._lasts: deque[Tensor] = deque(maxlen=RANDOM_FRAMES if wants_many else 0)
        self._flush_after: int | None = None
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._running.set()
        self._pending: dict[str, _Pending] = {}
        self._tickets = self._sequence = self._obeyed = self._shown = 0
        self._closed = False
        self._rollout.say(studio.encode_prompt(prompt))
        self._rollout.conditions(reference, garment)

    # -- controls ------------------------------------------------------------------------------------------------------

    def wear(self, garment: ImageLike | ConditionImage, *, cutout: bool = True) -> int:
        """Changes the garment from the next chunk on.

        Args:
            garment: path, PIL image or uint8 array; a product shot or a photo. Or what ``Studio.prepare_garment`` made
                of one, which costs nothing here.
            cutout: remove the background first.

        Returns:
            Sequence id; the first chunk whose ``obeys`` reaches it wears the garment.

        Raises:
            InputError: not a usable image. RuntimeError: the session is closed.
        """
        ticket = self._ticket()
        return self._submit("garment", ticket, self._studio.encode_garment(garment, cutout=cutout))

    def say(self, prompt: str) -> int:
        """Changes the prompt from the next chunk on; the picture goes on. Returns a sequence id."""
        ticket = self._ticket()
        return self._submit("prompt", ticket, self._studio.encode_prompt(prompt))

    def reference(self, person: ImageLike | ConditionImage) -> int:
        """Changes the person from the next chunk on, which is a cut. Returns a sequence id."""
        ticket = self._ticket()
        return self._submit("reference", ticket, self._studio.encode_reference(person))

    def flush(self, after: int) -> int:
        """Says that the frames after number ``after`` were not shown, and will not be if the next chunk is a switch.

        If a new garment or person is pending when the next chunk begins, it starts at the returned number plus one, and
        a new garment goes on from that frame. Otherwise this call changes nothing: history already holds those frames.

        Args:
            after: number of the last frame that was or will be shown.

        Returns:
            ``after``, or the nearest frame that the stream can go on from: the last chunks' pixels are kept, no more.
        """
        with self._lock:
            kept = sum(len(pixels) for pixels in self._pixels)
            if not kept:
                return self._shown - 1
            self._flush_after = min(max(after, self._shown - kept), self._shown - 1)
            return self._flush_after

    @property
    def switching(self) -> bool:
        """Whether a new garment or person is pending: the next chunk is a switch."""
        with self._lock:
            return not self._pending.keys().isdisjoint(("garment", "reference"))

    def watch(self, observer: Callable[[Ledger], None] | None) -> None:
        """Calls ``observer`` with the cache's books after every transition, in the thread that iterates; None: no
        longer."""
        self._cache.observer = observer

    def pause(self) -> None:
        """Stops generation at the next chunk border: whoever iterates waits there for ``resume`` or ``close``."""
        with self._lock:
            if not self._closed:
                self._running.clear()

    def resume(self) -> None:
        """Goes on after ``pause``; picture and cache are where they were."""
        self._running.set()

    def close(self) -> None:
        """Ends the stream; iteration stops at the next chunk border. May be called twice."""
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

    def _ticket(self) -> int:
        """The order of calls, taken before the work of encoding, by which the latest control wins."""
        with self._lock:
            self._tickets += 1
            return self._tickets

    def _submit(self, kind: str, ticket: int, value: Any) -> int:
        with self._lock:
            if self._closed:
                raise RuntimeError("the session is closed; open a new one with Studio.open")
            self._sequence += 1
            if kind not in self._pending or self._pending[kind].ticket < ticket:
                self._pending[kind] = _Pending(self._sequence, ticket, value)
            else:
                self._pending[kind] = replace(self._pending[kind], sequence=self._sequence)
            return self._sequence

    # -- stream --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        """Applies pending controls, generates and decodes one chunk."""
        return self.advance()

    def advance(self, *, settle: bool = True) -> Chunk:
        """The next chunk, as iterating gives it.

        Args:
            settle: commit the chunk to the cache before returning. If not, the next call begins with that, and whoever
                waits for these frames gets them a pass earlier; a switch that withdraws the chunk saves that pass. The
                frames are the same.

        Raises:
            StopIteration: the session is closed.
        """
        self._running.wait()
        if self._closed:
            raise StopIteration
        try:
            with torch.inference_mode():
                self._apply_pending()
                pixels_TCHW = self._generate(settle)
        except BaseException:
            self.close()
            raise
        frames = pixels_TCHW.permute(0, 2, 3, 1).cpu().numpy()
        chunk = Chunk(frames, self._obeyed, self._shown, self._cache.segment)
        self._shown += len(frames)
        return chunk

    def _generate(self, settle: bool) -> Tensor:
        """The next chunk's pixels, uint8 [T, 3, H, W]."""
        latents = self._rollout.denoise(self._generator)
        if settle:
            self._rollout.settle()
        self._latents.append(latents)
        frames = self._codec.decode(latents, self._decoder)
        pixels_TCHW = to_uint8(frames[0]).transpose(0, 1)
        # What a switch goes on from is what was shown, rounded to 8 bits. Copied: the caller may draw into the frames.
        self._pixels.append(pixels_TCHW.clone())
        if self._lasts.maxlen:
            self._lasts.append(self._pixels[-1][-1:])
        return pixels_TCHW

    def _last_frame(self) -> Tensor:
        """The frame to go on from: [1, 3, H, W], the last one that is not flushed."""
        behind = self._shown - 1 - (self._shown - 1 if self._flush_after is None else self._flush_after)
        for pixels in reversed(self._pixels):
            if behind < len(pixels):
                return pixels[len(pixels) - 1 - behind :][:1]
            behind -= len(pixels)
        raise RuntimeError("no frame to go on from")  # flush() never goes behind what is kept

    def _apply_pending(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        moves = self._moves_for(pending)
        kept = any(isinstance(move, Retain | Recache) for move in moves)
        self._rollout.settle(leaving=Withdraw() in moves and not kept)
        try:
            self._apply(pending, moves)
        finally:
            self._flush_after = None

    def _moves_for(self, pending: dict[str, _Pending]) -> Moves:
        """What the pending controls do to the cache; nothing, where the picture goes on."""
        if "reference" in pending:
            return (Refresh(), *NEW_REFERENCE) if "garment" in pending else NEW_REFERENCE
        if "garment" in pending:
            # Before the first frame there is nothing to go on from: only the conditions change.
            return self._moves if self._pixels else (Refresh(), *NEW_REFERENCE[1:])
        return ()

    def _apply(self, pending: dict[str, _Pending], moves: Moves) -> None:
        if not pending:
            return
        if "prompt" in pending:
            self._rollout.say(pending["prompt"].value)
        if "garment" in pending:
            self._garment = pending["garment"].value
        if "reference" in pending:
            self._reference = self._original = pending["reference"].value
            self._pixels.clear()
            self._lasts.clear()
        if moves:
            self._switch(moves)
        else:
            self._rollout.conditions(self._reference, self._garment)
        self._obeyed = max(p.sequence for p in pending.values())

    def _switch(self, moves: Moves) -> None:
        if reschedule(moves, self._cache, _SwitchActions(self)).new_segment:
            self._decoder = self._codec.new_state()
            self._latents.clear()
            if self._flush_after is not None:
                self._forget(self._shown - 1 - self._flush_after)

    def _forget(self, frames: int) -> None:
        """Takes the last ``frames`` frames back."""
        self._shown -= frames
        while frames and self._pixels:
            pixels = self._pixels.pop()
            if frames < len(pixels):
                self._pixels.append(pixels[: len(pixels) - frames])
            frames -= min(frames, len(pixels))


class _SwitchActions:
    """What a switch asks of the session (switch.py)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def reference(self, source: Source) -> Tensor:
        s = self._session
        match source:
            case Source.LAST_FRAME:
                s._reference = s._studio.encode_pixels(s._last_frame())
            case Source.LAST_LATENT:
                s._reference = s._latents[-1][:, :, -1:]
            case Source.ORIGINAL:
                s._reference = s._original
            case Source.RANDOM:
                pick = int(torch.randint(len(s._lasts), (1,), generator=s._generator))
                s._reference = s._studio.encode_pixels(s._lasts[pick])
            case Source.CURRENT:
                pass
        return s._reference

    def garment(self) -> Tensor:
        return self._session._garment

    def forward_conditions(self, reference_BCFHW: Tensor, garment_BCFHW: Tensor) -> None:
        self._session._rollout.conditions(reference_BCFHW, garment_BCFHW)

    def recache_history(self, frames: int) -> None:
        s = self._session
        kept = list(s._latents)
        s._rollout.recache(kept[max(0, len(kept) - frames // s._cache.config.chunk) :])
