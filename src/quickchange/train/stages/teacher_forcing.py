"""Student stage 1: in-context teacher forcing (docs/method.md section 4).

A clean and a noisy copy of the clip in one sequence; every noisy chunk sees the clean past and is denoised at a level
of its own. To make the student stand its own output, the clean past may carry a little noise (``history_noise``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from quickchange.model import flow
from quickchange.train.inputs import Inputs, exporter
from quickchange.train.options import Schedule, at_step, option
from quickchange.train.stages.latent import (
    LEVEL_WEIGHT_DOC,
    Batch,
    LatentOptions,
    LatentStage,
    LevelWeight,
    level_weight,
)


@dataclass(frozen=True, kw_only=True)
class ForcingOptions(LatentOptions):
    """Options of teacher forcing."""

    level_weight: LevelWeight = option("uniform", LEVEL_WEIGHT_DOC)
    copies: int = option(2, "noisy copies per clean clip")
    history_noise: float = option(0.3, "greatest noise on the clean past, relative to its spread")
    own_history: Schedule = option(0.0, "share of clips whose past is the student's own estimate")
    few_step_share: Schedule = option(0.0, "share of chunks at the levels of the denoising steps, rather than any")


class TeacherForcingStage(LatentStage):
    """Flow-matching loss of every noisy chunk, given the clean chunks before it; see the module header."""

    name = "tf"
    Options = ForcingOptions
    options: ForcingOptions

    @classmethod
    def build(cls, inputs: Inputs) -> TeacherForcingStage:
        """From the teacher of the run, or from ``init``."""
        torch.manual_seed(inputs.config.seed)
        _, latents = inputs.latents
        components = inputs.stored(inputs.init or inputs.exported("sft"))
        export = exporter(components, inputs.folder / inputs.name / "model", inputs.folder / "model")
        stage = cls(components, latents, inputs.config, inputs.device, export)
        stage.recipe |= inputs.describe("stream")
        return stage

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Flow-matching loss of noisy chunks."""
        batch = self.batch(step)
        video = batch.video_BCFHW
        copies, chunk = self.options.copies, self.components.stream.chunk
        levels = self._levels((len(video), copies * video.shape[2] // chunk), step, generator)
        levels_BK = levels.repeat_interleave(chunk, 1).to(video)
        clean = video.repeat(1, 1, copies, 1, 1)
        noise = self.gaussian_noise(tuple(clean.shape), generator, video.device)
        x = flow.add_noise(clean, noise, levels_BK[:, None, :, None, None])
        with self.autocast():
            history = self._own_history(batch, self._history(video, generator), step, generator)
            v = self.forcing_velocity(batch, history, x, levels_BK, copies)
        error_BK = (v.float() - flow.velocity(clean, noise)).square().mean((1, 3, 4))
        weight = level_weight(self.options.level_weight, self.shift)
        return {"loss": (error_BK * weight(levels_BK)).mean()}

    @torch.no_grad()
    def _own_history(self, batch: Batch, history: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """Replaces the past of some samples by the student's own clean estimate of it, from a late denoising step.

        What a stream looks back on is its own output, degraded in ways that added noise does not imitate. An estimate
        made from the true clip stays in step with the target, which a free rollout would not.
        """
        share = at_step(self.options.own_history, step)
        anywhere = torch.rand(self.config.batch, generator=generator) < share
        if not anywhere.any():  # in the whole batch: processes that share a network make the same passes
            return history
        own = anywhere[self.rows]
        video, steps = batch.video_BCFHW, torch.tensor(self.components.stream.schedule().levels)
        pick = self.draw(partial(torch.randint, min(1, len(steps) - 1), len(steps)), (len(video),), generator)
        level = steps[pick].to(video)
        noise = self.gaussian_noise(tuple(video.shape), generator, video.device)
        x = flow.add_noise(video, noise, level.view(-1, 1, 1, 1, 1))
        v = self.forcing_velocity(batch, history, x, level[:, None].expand(-1, video.shape[2]), 1)
        estimate = flow.to_x0(x, v.float(), level.view(-1, 1, 1, 1, 1))
        return torch.where(own.to(video.device).view(-1, 1, 1, 1, 1), estimate, history)

    def _levels(self, shape: tuple[int, int], step: int, generator: torch.Generator) -> Tensor:
        share = at_step(self.options.few_step_share, step)
        anywhere = self.levels(shape, generator)
        steps = torch.tensor(self.components.stream.schedule().levels)
        at_steps = steps[self.draw(partial(torch.randint, len(steps)), shape, generator)]
        return torch.where(self.draw(torch.rand, shape, generator) < share, at_steps, anywhere)

    def _history(self, video: Tensor, generator: torch.Generator) -> Tensor:
        greatest = self.options.history_noise
        draw = self.draw(torch.rand, (2, len(video), 1, 1, 1, 1), generator, dim=1).to(video)
        spread = video.std((2, 3, 4), keepdim=True)
        noise = self.gaussian_noise(tuple(video.shape), generator, video.device)
        return video + noise * spread * draw[0] * greatest * (draw[1] < 0.5)

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Write a streamed sheet."""
        self.sample_stream(path)
