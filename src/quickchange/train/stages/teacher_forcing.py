"""Student stage 1: in-context teacher forcing (docs/method.md section 4).

A clean and a noisy copy of the clip in one sequence; every noisy chunk sees the clean past and is denoised at a level
of its own. To make the student stand its own output, the clean past may carry a little noise (``history_noise``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from quickchange.cache import KVCache
from quickchange.engine.rollout import Rollout
from quickchange.model import flow
from quickchange.model.attention import NUM_CONDITIONS, TeacherForcingAttention
from quickchange.model.transformer import GARMENT_ROLE, REFERENCE_ROLE, VIDEO_ROLE
from quickchange.train.stages.sft import Batch, LatentStage, save_clip_sheet


class TeacherForcingStage(LatentStage):
    """Options of ``LatentStage`` and:

    * ``copies``: noisy copies per clean clip;
    * ``history_noise``: greatest noise on the past;
    * ``own_history``: share of clips whose past is the student's own estimate;
    * ``few_step_share``: share of chunks whose level is one of the student's denoising steps, rather than any.
    """

    name = "tf"

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.batch(step)
        video = batch.video_BCFHW
        copies, chunk = int(self.config.options.get("copies", 2)), self.components.stream.chunk
        levels = self._levels((len(video), copies * video.shape[2] // chunk), generator)
        levels_BK = levels.repeat_interleave(chunk, 1).to(video)
        clean = video.repeat(1, 1, copies, 1, 1)
        noise = self.draw(torch.randn, tuple(clean.shape), generator).to(video)
        x = flow.add_noise(clean, noise, levels_BK[:, None, :, None, None])
        with self.autocast():
            history = self._own_history(batch, self._history(video, generator), generator)
            v = forcing_velocity(self, batch, history, x, levels_BK, copies)
        return {"loss": (v.float() - flow.velocity(clean, noise)).square().mean()}

    @torch.no_grad()
    def _own_history(self, batch: Batch, history: Tensor, generator: torch.Generator) -> Tensor:
        """Replaces the past of some samples by the student's own clean estimate of it, from a late denoising step.

        What a stream looks back on is its own output, worn in ways that added noise does not imitate. An estimate
        made from the true clip stays in step with the target, which a free rollout would not.
        """
        share = float(self.config.options.get("own_history", 0.0))
        anywhere = torch.rand(self.config.batch, generator=generator) < share
        if not anywhere.any():  # in the whole batch: processes that share a network make the same passes
            return history
        own = anywhere[self.rows]
        video, steps = batch.video_BCFHW, torch.tensor(self.components.stream.schedule().levels)
        pick = self.draw(partial(torch.randint, min(1, len(steps) - 1), len(steps)), (len(video),), generator)
        level = steps[pick].to(video)
        noise = self.draw(torch.randn, tuple(video.shape), generator).to(video)
        x = flow.add_noise(video, noise, level.view(-1, 1, 1, 1, 1))
        v = forcing_velocity(self, batch, history, x, level[:, None].expand(-1, video.shape[2]), 1)
        estimate = flow.to_x0(x, v.float(), level.view(-1, 1, 1, 1, 1))
        return torch.where(own.to(video.device).view(-1, 1, 1, 1, 1), estimate, history)

    def _levels(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        share = float(self.config.options.get("few_step_share", 0.0))
        anywhere = self.levels(shape, generator)
        steps = torch.tensor(self.components.stream.schedule().levels)
        at_steps = steps[self.draw(partial(torch.randint, len(steps)), shape, generator)]
        return torch.where(self.draw(torch.rand, shape, generator) < share, at_steps, anywhere)

    def _history(self, video: Tensor, generator: torch.Generator) -> Tensor:
        greatest = float(self.config.options.get("history_noise", 0.3))
        draw = self.draw(torch.rand, (2, len(video), 1, 1, 1, 1), generator, dim=1).to(video)
        spread = video.std((2, 3, 4), keepdim=True)
        noise = self.draw(torch.randn, tuple(video.shape), generator).to(video)
        return video + noise * spread * draw[0] * greatest * (draw[1] < 0.5)

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        sample_stream(self, path)


def forcing_velocity(
    stage: LatentStage,
    batch: Batch,
    history_BCFHW: Tensor,
    x_BCFHW: Tensor,
    levels_BK: Tensor,
    copies: int,
    detach_history: bool = False,
) -> Tensor:
    """Velocity of ``copies`` noisy clips laid end to end in ``x_BCFHW``, each chunk given the clean ``history_BCFHW``.

    With ``detach_history`` no gradient flows through the past's keys and values, as when they come from a cache.
    """
    frames, chunk = history_BCFHW.shape[2], stage.components.stream.chunk
    past = frames - chunk
    device = x_BCFHW.device
    stream = stage.components.stream
    attention = TeacherForcingAttention(
        stage.rotary_of(x_BCFHW), frames, chunk, copies, detach_history, stream.window, stream.sink
    )
    sequence = torch.cat([batch.conditions_BCFHW, history_BCFHW[:, :, :past], x_BCFHW], 2)
    timesteps = torch.cat([levels_BK.new_zeros(len(levels_BK), NUM_CONDITIONS + past), levels_BK], 1) * 1000
    roles = torch.tensor([REFERENCE_ROLE, GARMENT_ROLE] + [VIDEO_ROLE] * (past + copies * frames), device=device)
    out = stage.model(sequence, stage.model.embed_time(timesteps), stage.text(batch.prompts), attention, roles)
    return out[:, :, NUM_CONDITIONS + past :]


def make_rollout(
    stage: LatentStage, batch: int, dtype: torch.dtype | None = None, like: Tensor | None = None, shared: bool = False
) -> Rollout:
    """A fresh streaming rollout of the stage's network, as at inference; for latents of the size of ``like``, where the
    data has several.

    Args:
        dtype: of the cache, by default that of the stage's autocast. shared: ``batch`` is the stage's ``rows``; draw
            noise for the whole batch.
    """
    components = stage.components
    rotary = stage.rotary if like is None else stage.rotary_of(like)
    config = components.cache_config(rotary.tokens_per_frame)
    dtype = dtype or (torch.bfloat16 if stage.config.precision == "bf16" else torch.float32)
    cache = KVCache(config, batch=batch, device=stage.device, dtype=dtype, rotary=rotary)
    if shared:
        return _SharedRollout(stage, cache)
    return Rollout(stage.model, cache, components.stream.schedule())


class _SharedRollout(Rollout):
    """A rollout of the part ``rows`` of a batch: its noise is that of these rows in a rollout of the whole."""

    def __init__(self, stage: LatentStage, cache: KVCache) -> None:
        super().__init__(stage.model, cache, stage.components.stream.schedule())
        self.stage = stage

    def _draw(self, generator: torch.Generator, steps: int) -> Tensor:
        if self._noise is None:
            raise RuntimeError("no reference and garment yet; call conditions() before chunk()")
        noise = self._noise.out[:steps]
        return noise.copy_(self.stage.draw(torch.randn, tuple(noise.shape), generator, dim=1))


@torch.no_grad()
def sample_stream(stage: LatentStage, path: Path) -> None:
    """Streams four training clips through the cache with the few-step schedule, beside the truth."""
    index = stage.shown()
    count = len(index)
    video = stage.latents.video[index].float().to(stage.device)
    conditions = torch.cat([stage.latents.reference[index], stage.latents.garment[index]], 2).float().to(stage.device)
    generator = torch.Generator().manual_seed(0)
    with stage.autocast():
        rollout = make_rollout(stage, count)
        rollout.say(stage.text([stage.latents.prompts[i][0] for i in index.tolist()]))
        rollout.conditions(conditions[:, :, :1], conditions[:, :, 1:])
        chunks = [rollout.chunk(generator).float() for _ in range(video.shape[2] // stage.components.stream.chunk)]
    save_clip_sheet(stage.components, conditions, [torch.cat(chunks, 2), video], path)
