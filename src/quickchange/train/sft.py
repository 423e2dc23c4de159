"""Teacher stage: in-context, bidirectional flow matching on mismatched reference-garment pairs (METHOD section 3).

[reference | garment | noisy video] in one sequence; conditions at timestep 0, never noised, their outputs unused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from quickchange import flow
from quickchange.components import Components
from quickchange.model.attention import CONDITIONS, SequenceAttention
from quickchange.model.rope import RotaryEmbedding
from quickchange.model.transformer import GARMENT_ROLE, REFERENCE_ROLE, VIDEO_ROLE, TextContext
from quickchange.train.config import StageConfig
from quickchange.train.data import Latents
from quickchange.train.loop import Stage
from quickchange.train.plots import save_sheet, to_uint8


class Batch(NamedTuple):
    """Videos, their [reference | garment] and their prompts."""

    video_BCFHW: Tensor
    conditions_BCFHW: Tensor
    prompts: list[str]


def roles_of(frames: int, device: torch.device) -> Tensor:
    """Roles of [reference | garment | ``frames`` video frames]."""
    return torch.tensor([REFERENCE_ROLE, GARMENT_ROLE] + [VIDEO_ROLE] * frames, device=device)


class LatentStage(Stage):
    """What teacher, forcing and distillation share: batches, prompts, networks in their training form.

    Options: ``drop`` share of samples without prompt and garment (for guidance); ``static_share`` of captions with
    the static part (paper: 0.3); ``worn_share`` of references that were coded twice; ``reference_noise``
    greatest noise level on references.
    """

    def __init__(
        self,
        components: Components,
        latents: Latents,
        config: StageConfig,
        device: torch.device,
        export: Callable[[], None],
    ) -> None:
        self.components, self.latents, self.device, self.export = components, latents, device, export
        self.model = components.transformer
        super().__init__(config, {"transformer": self.model, "text": components.prompts.module})
        self.shift = components.stream.shift
        height, width = latents.video.shape[3:]
        c = self.model.config
        self.rotary = RotaryEmbedding(
            c.attention_head_dim, self.model.token_grid(height, width), theta=c.rope_theta, device=device
        )
        option = config.options.get
        self.drop, self.static_share = float(option("drop", 0.1)), float(option("static_share", 0.3))
        self.worn_share, self.reference_noise = float(option("worn_share", 0.5)), float(option("reference_noise", 0.2))

    def batch(self, step: int, stream: int = 0) -> Batch:
        """The step's samples; another ``stream`` of the same step draws others."""
        rng = np.random.default_rng([self.config.seed, step, stream])
        index = rng.integers(0, len(self.latents), self.config.batch)
        reference = self.latents.reference[index].float()
        worn = rng.random(len(index)) < self.worn_share
        reference[worn] = self.latents.worn[index[worn]].float()
        level = torch.from_numpy(rng.random(len(index)) * self.reference_noise * (rng.random(len(index)) < 0.5))
        scale = reference.std((2, 3, 4), keepdim=True) * level.float().view(-1, 1, 1, 1, 1)
        reference = reference + scale * torch.randn(
            reference.shape, generator=torch.Generator().manual_seed(int(index[0]) + step)
        )
        garment = self.latents.garment[index].float()
        blank = rng.random(len(index)) < self.drop
        garment[blank] = 0
        prompts = []
        for i, dropped in zip(index, blank, strict=True):
            dynamic, static = self.latents.prompts[i]
            prompts.append("" if dropped else f"{static} {dynamic}" if rng.random() < self.static_share else dynamic)
        conditions = torch.cat([reference, garment], 2)
        return Batch(self.latents.video[index].float().to(self.device), conditions.to(self.device), prompts)

    def text(self, prompts: list[str]) -> TextContext:
        """Cross-attention keys and values, with gradients into the text encoder."""
        encoder = self.components.prompts
        ids_BT, mask_BT = encoder.tokenize(prompts)
        return self.model.embed_text(encoder.forward(ids_BT.to(self.device), mask_BT.to(self.device)).hidden_BTE)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def finish(self) -> None:
        self.export()


class TeacherStage(LatentStage):
    """Flow-matching loss of the whole clip at one noise level."""

    name = "sft"

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.batch(step)
        levels = flow.sample_levels((len(batch.video_BCFHW),), self.shift, generator).to(self.device)
        with self.autocast():
            v = self.velocity(batch, *self.noisy(batch.video_BCFHW, levels, generator))
        return {"loss": (v.float() - self._target).square().mean()}

    def noisy(self, video: Tensor, levels_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.randn(video.shape, generator=generator).to(video)
        self._target = flow.velocity(video, noise)
        return flow.add_noise(video, noise, levels_B.view(-1, 1, 1, 1, 1)), levels_B

    def velocity(self, batch: Batch, x_BCFHW: Tensor, levels_B: Tensor) -> Tensor:
        return teacher_velocity(self, x_BCFHW, levels_B, batch.conditions_BCFHW, self.text(batch.prompts))

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Twenty Euler steps from noise for four training clips: reference, garment, frames of sample and truth."""
        count, steps = min(4, len(self.latents)), 20
        index = torch.arange(count) * 2
        video = self.latents.video[index].float().to(self.device)
        conditions = torch.cat([self.latents.reference[index], self.latents.garment[index]], 2).float().to(self.device)
        text = self.text([self.latents.prompts[i][0] for i in index.tolist()])
        levels = [float(flow.warp(1 - i / steps, self.shift)) for i in range(steps + 1)]
        x = torch.randn(video.shape, generator=torch.Generator().manual_seed(0)).to(video)
        with self.autocast():
            for level, following in pairwise(levels):
                v = teacher_velocity(self, x, torch.full((count,), level, device=self.device), conditions, text).float()
                x = x + (following - level) * v
        save_clip_sheet(self.components, conditions, [x, video], path)


def teacher_velocity(
    stage: LatentStage,
    x_BCFHW: Tensor,
    levels_B: Tensor,
    conditions_BCFHW: Tensor,
    text: TextContext,
    model: object = None,
) -> Tensor:
    """Bidirectional prediction of the video's velocity; ``model`` defaults to the stage's own network."""
    network = stage.model if model is None else model
    frames = x_BCFHW.shape[2]
    timesteps = (
        torch.cat([levels_B.new_zeros(len(levels_B), CONDITIONS), levels_B[:, None].expand(-1, frames)], 1) * 1000
    )
    attention = SequenceAttention(stage.rotary, torch.arange(CONDITIONS + frames))
    sequence = torch.cat([conditions_BCFHW, x_BCFHW], 2)
    out = network(sequence, network.embed_time(timesteps), text, attention, roles_of(frames, x_BCFHW.device))  # type: ignore[attr-defined]
    return out[:, :, CONDITIONS:]


def save_clip_sheet(components: Components, conditions_BCFHW: Tensor, clips: list[Tensor], path: Path) -> None:
    """Rows: reference, garment, five frames of each of ``clips`` (latents)."""
    codec = components.codec
    rows = []
    for i, pair in enumerate(conditions_BCFHW):
        row = [to_uint8(codec.decode(pair[None, :, k : k + 1], codec.new_state())[0])[0] for k in range(CONDITIONS)]
        for clip in clips:
            frames = to_uint8(codec.decode(clip[i : i + 1], codec.new_state())[0])
            row += [frames[t] for t in np.linspace(0, len(frames) - 1, 5).astype(int)]
        rows.append(row)
    save_sheet(rows, path)
