"""One chunk of video: few-step denoising through the cache, then the pass at t = 0 that commits its keys and values.

Knows the network and the cache; knows nothing of pixels, garments as images, or time. Everything that is the same in
every pass (time embeddings, roles, schedule) is computed once; noise and the noisy latents live in one static buffer,
and nothing in a pass makes the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from quickchange.cache import KVCache, Thread
from quickchange.cache.attention import CachedAttention
from quickchange.cache.threads import GARMENT, REFERENCE, TEXT
from quickchange.engine.noise import NoiseBuffer
from quickchange.model.attention import NUM_CONDITIONS
from quickchange.model.flow import FewStepSchedule, to_x0
from quickchange.model.transformer import (
    GARMENT_ROLE,
    REFERENCE_ROLE,
    VIDEO_ROLE,
    SelfAttention,
    TextContext,
    TimeEmbedding,
    WanTransformer,
)


class Rollout:
    """Drives a transformer through a cache, chunk by chunk.

    Args:
        transformer: the network.
        cache: an empty cache of the same size.
        schedule: denoising steps.

    Attributes:
        last_input: noisy latents [B, C, F, H, W] that entered the last denoising step of the last chunk.
    """

    def __init__(self, transformer: WanTransformer, cache: KVCache, schedule: FewStepSchedule) -> None:
        self.transformer, self.cache, self.levels = transformer, cache, schedule.levels
        self.attention: SelfAttention = CachedAttention(cache)
        chunk, device = cache.config.chunk, cache.device

        def at(timestep: float, frames: int) -> TimeEmbedding:
            return transformer.embed_time(torch.full((1, frames), timestep, device=device))

        with torch.no_grad():
            self._times = [at(label, chunk) for label in schedule.time_labels]
            self._clean_chunk, self._clean_pair = at(0.0, chunk), at(0.0, NUM_CONDITIONS)
        self._video_roles = torch.full((chunk,), VIDEO_ROLE, device=device)
        self._pair_roles = torch.tensor([REFERENCE_ROLE, GARMENT_ROLE], device=device)
        self._noise: NoiseBuffer | None = None  # of the size of the first latents
        self._unsettled: Tensor | None = None  # clean latents of the chunk whose pass is open

    def say(self, text: TextContext) -> None:
        """A new prompt for what comes next; history stays.

        Conditions attend to the prompt too: follow with ``conditions`` where there are any.
        """
        self.cache.bump(TEXT)
        self.cache.set_text(text)

    @torch.no_grad()
    def conditions(self, reference_BCFHW: Tensor, garment_BCFHW: Tensor, *given: Thread) -> None:
        """Forwards [reference | garment], one clean latent frame each, jointly, and pins their keys and values.

        Args:
            reference_BCFHW: latent of the person, F = 1.
            garment_BCFHW: latent of the garment, F = 1.
            given: threads whose version moves with this pass; at the first call both are given in any case.
        """
        if self.cache.versions.of(REFERENCE) == 0:
            given = (REFERENCE, GARMENT)
        pair = torch.cat([reference_BCFHW, garment_BCFHW], 2)
        if self._noise is None:
            shape = (len(self.levels), *pair.shape[:2], self.cache.config.chunk, *pair.shape[3:])
            self._noise = NoiseBuffer.on(pair.device, shape)
        with self._commit_on_success():
            self.cache.begin_conditions(*given)
            self._forward(pair, self._clean_pair, self._pair_roles)

    @torch.no_grad()
    def chunk(self, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Generates the next chunk and commits it.

        Args:
            generator: source of noise, on the CPU: the same on every device.
            steps: leave after this many denoising steps (self-forcing training); default all.

        Returns:
            Clean latents [B, C, F, H, W], float32.

        Raises:
            RuntimeError: no conditions were given yet.
        """
        x0 = self.denoise(generator, steps)
        self.settle()
        return x0

    @torch.no_grad()
    def denoise(self, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """The part of ``chunk`` that its pixels wait for. Its pass stays open until ``settle``."""
        noise = self._draw(generator, len(self.levels) if steps is None else steps)
        with self._abort_on_error():
            self.cache.begin_chunk()
            x0 = noise[0]
            for step, x in enumerate(noise):
                if step:  # back to this step's level with fresh noise, as in training of the student
                    torch.lerp(x0, x, self.levels[step], out=x)
                x0 = to_x0(x, self._forward(x, self._times[step], self._video_roles), self.levels[step])
        self.last_input, self._unsettled = noise[-1], x0
        return x0

    @torch.no_grad()
    def settle(self, *, leaving: bool = False) -> None:
        """Commits the chunk that ``denoise`` left open, if any, with the keys and values of its clean latents.

        Args:
            leaving: it will be withdrawn before anything attends to it, so that its keys do not matter: no pass.
        """
        x0, self._unsettled = self._unsettled, None
        if x0 is not None:
            with self._commit_on_success():
                if not leaving:
                    self._forward(x0, self._clean_chunk, self._video_roles)

    @torch.no_grad()
    def recache(self, latents_BCFHW: Sequence[Tensor]) -> None:
        """Writes already generated chunks into the cache again, oldest first, under what is in force now."""
        for latents in latents_BCFHW:
            with self._commit_on_success():
                self.cache.begin_chunk()
                self._forward(latents, self._clean_chunk, self._video_roles)

    def _draw(self, generator: torch.Generator, steps: int) -> Tensor:
        """All noise of a chunk at once, before its passes: [steps, B, C, F, H, W]. The passes overwrite it."""
        if self._noise is None:
            raise RuntimeError("no reference and garment yet; call conditions() before chunk()")
        return self._noise.draw(generator, steps)

    @contextmanager
    def _commit_on_success(self) -> Iterator[None]:
        """Commits the open pass, or gives it up where an error or interrupt ends it."""
        with self._abort_on_error():
            yield
        self.cache.commit()

    @contextmanager
    def _abort_on_error(self) -> Iterator[None]:
        """Gives the open pass up where an error or interrupt ends it: the cache stays sound."""
        try:
            yield
        except BaseException:
            if self.cache.ledger.writing:
                self.cache.abort()
            raise

    def _forward(self, x_BCFHW: Tensor, time: TimeEmbedding, roles_F: Tensor) -> Tensor:
        return self.transformer(x_BCFHW, time, self.cache.text, self.attention, roles_F)
