"""Shared parts of the stages on latents: batches, prompts, the network's training layouts, streamed samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from quickchange.cache import KVCache
from quickchange.data.latents import Latents
from quickchange.engine.components import Components
from quickchange.engine.rollout import Rollout
from quickchange.errors import RecipeError
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model import flow
from quickchange.model.attention import NUM_CONDITIONS, TeacherForcingAttention
from quickchange.model.transformer import GARMENT_ROLE, REFERENCE_ROLE, VIDEO_ROLE, TextContext, WanTransformer
from quickchange.train.config import StageConfig
from quickchange.train.options import Options, option
from quickchange.train.plots import save_sheet, to_uint8
from quickchange.train.sampling import bidirectional_velocity, make_rotary
from quickchange.train.stage import Stage

LevelWeight = Literal["uniform", "bell"]
LEVEL_WEIGHT_DOC = "weight of noise levels in the loss; bell: public code's, centred at timestep 500, mean 1"


def level_weight(kind: LevelWeight, shift: float) -> Callable[[Tensor], Tensor]:
    """Weights of the flow-matching loss by noise level.

    Args:
        kind: "uniform" is 1 everywhere. "bell" is ``exp(-2 (s - 1/2)^2)`` less its value at the ends, over its mean.
        shift: flow shift of the levels, over which the mean is taken.

    Returns:
        Function from levels in [0, 1] to weights of the same shape.
    """
    if kind == "uniform":
        return torch.ones_like

    def bell(level: Tensor) -> Tensor:
        return torch.exp(-2 * (level - 0.5).square()) - math.exp(-0.5)

    mean = float(bell(torch.as_tensor(flow.warp((torch.arange(1000) + 0.5) / 1000, shift))).mean())
    return lambda level: bell(level) / mean


class Batch(NamedTuple):
    """Videos, their [reference | garment] and their prompts."""

    video_BCFHW: Tensor
    conditions_BCFHW: Tensor
    prompts: list[str]
    samples: list[int]  # numbers of the clips
    reference_BCFHW: Tensor  # as in ``conditions_BCFHW``, but without noise


@dataclass(frozen=True, kw_only=True)
class LatentOptions(Options):
    """Options of all stages that train on latents."""

    drop: float = option(0.1, "share of samples without prompt and garment, for guidance")
    drop_prompt: float = option(0.0, "share of samples without the prompt alone")
    drop_garment: float = option(0.0, "share of samples without the garment alone")
    static_share: float = option(1.0, "share of captions that describe person and scene beside the motion")
    caption_order: Literal["static-dynamic", "dynamic-static"] = option(
        "static-dynamic", "order of the two parts; public code: dynamic-static"
    )
    pairs: Literal["mismatched", "matched"] = option(
        "mismatched",
        "whether reference and target differ in garment; matched ones do not learn to switch",
    )
    reencoded_share: float = option(0.5, "share of references that were encoded twice, as after a live switch")
    reference_noise: float = option(0.2, "greatest noise on references, relative to their spread")
    train_text: bool = option(True, "the text encoder learns too; never in dmd. Frozen: not in checkpoints or averages")

    def __post_init__(self) -> None:
        """Check the shares."""
        super().__post_init__()
        drops = (self.drop, self.drop_prompt, self.drop_garment)
        if min(drops) < 0 or sum(drops) > 1:
            raise RecipeError(f"drop, drop_prompt, drop_garment are {drops}; expected shares that sum to at most 1")


class LatentStage(Stage):
    """Shared parts of teacher, forcing and distillation: batches, prompts, networks in their training form.

    A text encoder that is frozen, here or by a stage, is not sharded, and neither averaged nor in checkpoints: umT5-XXL
    has more parameters than the network.

    Args:
        export: writes the result, given the network that goes into it.
        latents: encoded clips; several where the data has several sizes. Every batch is of one of them, drawn in
            proportion to their numbers.
    """

    divides = True
    Options: ClassVar[type[Options]] = LatentOptions
    whole_clip_velocity = staticmethod(bidirectional_velocity)

    def __init__(
        self,
        components: Components,
        latents: Latents | Sequence[Latents],
        config: StageConfig,
        device: torch.device,
        export: Callable[[WanTransformer], None],
        model: WanTransformer | None = None,
    ) -> None:
        self.groups = [latents] if isinstance(latents, Latents) else list(latents)
        self.latents = max(self.groups, key=len)  # sample sheets are of these
        self.components, self.device, self.export = components, device, export
        self.model = model or components.transformer
        trained: dict[str, nn.Module] = {"transformer": self.model}
        self.options = cast(LatentOptions, config.options)
        if not self.options.train_text:
            components.prompts.module.requires_grad_(False)
        if any(parameter.requires_grad for parameter in components.prompts.module.parameters()):
            trained["text"] = components.prompts.module
        super().__init__(config, trained)
        self.shift = components.stream.shift
        self._rotaries: dict[tuple[int, int], RotaryEmbedding] = {}
        self.rotary = self.rotary_of(self.latents.video)

    def rotary_of(self, latents_BCFHW: Tensor) -> RotaryEmbedding:
        """Rotary tables for latents of this height and width."""
        height, width = latents_BCFHW.shape[3:]
        if (height, width) not in self._rotaries:
            self._rotaries[height, width] = make_rotary(self.model, height, width, self.device)
        return self._rotaries[height, width]

    def batch(self, step: int, stream: int = 0) -> Batch:
        """``rows`` of the step's samples; another ``stream`` of the same step draws others."""
        rng, options = np.random.default_rng([self.config.seed, step, stream]), self.options
        sizes = np.array([len(group) for group in self.groups])
        latents = self.groups[rng.choice(len(sizes), p=sizes / sizes.sum())] if len(sizes) > 1 else self.latents
        drawn = rng.integers(0, len(latents), self.config.batch)
        index, count = drawn[self.rows], len(drawn)
        video = latents.video[index].float()
        reference = video[:, :, :1] if options.pairs == "matched" else latents.reference[index].float()
        twice = (rng.random(count) < options.reencoded_share)[self.rows]
        if options.pairs == "mismatched":
            reference[twice] = latents.reference_reencoded[index[twice]].float()
        level = torch.from_numpy(rng.random(count) * options.reference_noise * (rng.random(count) < 0.5))[self.rows]
        scale = reference.std((2, 3, 4), keepdim=True) * level.float().view(-1, 1, 1, 1, 1)
        noise = torch.Generator().manual_seed(int(drawn[0]) + step)
        noisy = reference + scale * self.draw(torch.randn, tuple(reference.shape), noise)
        garment = latents.garment[index].float()
        draw = rng.random(count)  # one draw: below the first edge both are dropped, then prompt, then garment
        edges = np.cumsum([options.drop, options.drop_prompt, options.drop_garment])
        no_prompt = draw < edges[1]
        no_garment = (draw < edges[0]) | ((draw >= edges[1]) & (draw < edges[2]))
        garment[no_garment[self.rows]] = 0
        prompts = []
        for i, dropped in zip(drawn, no_prompt, strict=True):
            dynamic, static = latents.prompts[i]
            whole = f"{static} {dynamic}" if options.caption_order == "static-dynamic" else f"{dynamic} {static}"
            prompts.append("" if dropped else whole if rng.random() < options.static_share else dynamic)
        return Batch(
            video.to(self.device),
            torch.cat([noisy, garment], 2).to(self.device),
            prompts[self.rows],
            index.tolist(),
            reference.to(self.device),
        )

    def debug_inputs(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The batch of a step."""
        batch = self.batch(step)
        tensors = {"video": batch.video_BCFHW, "conditions": batch.conditions_BCFHW}
        return tensors, {"samples": batch.samples, "prompts": batch.prompts}

    def levels(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise levels of training on the CPU; the first dimension of ``shape`` counts ``rows``."""
        return torch.as_tensor(flow.warp(1 - self.draw(torch.rand, shape, generator), self.shift))

    def shown(self) -> Tensor:
        """Indices of up to four clips for sample sheets, spread over ``latents``, [N] int64."""
        count = min(4, len(self.latents))
        return torch.arange(count) * min(2, len(self.latents) // count)

    def text(self, prompts: list[str]) -> TextContext:
        """Cross-attention keys and values, with gradients into the text encoder."""
        encoder = self.components.prompts
        ids_BT, mask_BT = encoder.tokenize(prompts)
        return self.model.embed_text(encoder.forward(ids_BT.to(self.device), mask_BT.to(self.device)).hidden_BTE)

    def autocast(self) -> torch.autocast:
        """The stage's precision as a context."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def finish(self) -> None:
        """Export the network."""
        self.export(self.model)

    def bidirectional_velocity(
        self, network: WanTransformer, x_BCFHW: Tensor, levels_B: Tensor, conditions_BCFHW: Tensor, text: TextContext
    ) -> Tensor:
        """Velocity that a bidirectional network predicts for the whole clip, in the stage's rotary tables."""
        return self.whole_clip_velocity(network, self.rotary_of(x_BCFHW), x_BCFHW, levels_B, conditions_BCFHW, text)

    def forcing_velocity(
        self,
        batch: Batch,
        history_BCFHW: Tensor,
        x_BCFHW: Tensor,
        levels_BK: Tensor,
        copies: int,
        detach_history: bool = False,
    ) -> Tensor:
        """Predict the velocity of every noisy chunk, given the clean chunks before it.

        Args:
            batch: conditions and prompts.
            history_BCFHW: the clean clip.
            x_BCFHW: ``copies`` noisy clips, laid end to end along F.
            levels_BK: noise level of every latent frame of ``x_BCFHW``, in [0, 1].
            copies: number of noisy clips.
            detach_history: let no gradient flow through the past's keys and values, as when they come from a cache.
                The past then runs in a pass of its own, of which nothing is stored for the backward pass.
        """
        frames, stream = history_BCFHW.shape[2], self.components.stream
        past = frames - stream.chunk
        attend = partial(
            TeacherForcingAttention,
            self.rotary_of(x_BCFHW),
            frames,
            stream.chunk,
            copies,
            window=stream.window,
            sink=stream.sink,
        )
        clean = torch.cat([batch.conditions_BCFHW, history_BCFHW[:, :, :past]], 2)
        never = levels_BK.new_zeros(len(levels_BK), NUM_CONDITIONS + past)
        roles = torch.tensor([REFERENCE_ROLE, GARMENT_ROLE] + [VIDEO_ROLE] * (past + copies * frames))
        roles, text = roles.to(x_BCFHW.device), self.text(batch.prompts)

        def run(x: Tensor, levels: Tensor, roles_F: Tensor, attention: TeacherForcingAttention) -> Tensor:
            velocity: Tensor = self.model(x, self.model.embed_time(levels * 1000), text, attention, roles_F)
            return velocity

        if not detach_history:
            out = run(torch.cat([clean, x_BCFHW], 2), torch.cat([never, levels_BK], 1), roles, attend())
            return out[:, :, NUM_CONDITIONS + past :]
        memory = attend(part="clean")
        with torch.no_grad():
            run(clean, never, roles[: NUM_CONDITIONS + past], memory)
        return run(x_BCFHW, levels_BK, roles[NUM_CONDITIONS + past :], attend(part="noisy", held=memory.held_kv))

    def make_rollout(
        self, batch: int, dtype: torch.dtype | None = None, like: Tensor | None = None, shared: bool = False
    ) -> Rollout:
        """Open a streaming rollout of the stage's network, as at inference.

        Args:
            batch: number of streams.
            dtype: of the cache; by default that of the stage's autocast.
            like: latents of the size to stream; by default the size of the sample sheets.
            shared: ``batch`` is the stage's ``rows``; draw noise for the whole batch.
        """
        components = self.components
        rotary = self.rotary if like is None else self.rotary_of(like)
        config = components.cache_config(rotary.tokens_per_frame)
        dtype = dtype or (torch.bfloat16 if self.config.precision == "bf16" else torch.float32)
        cache = KVCache(config, batch=batch, device=self.device, dtype=dtype, rotary=rotary)
        if shared:
            return _SharedRollout(self, cache)
        return Rollout(self.model, cache, components.stream.schedule())

    @torch.no_grad()
    def sample_stream(self, path: Path) -> None:
        """Streams four training clips through the cache with the few-step schedule, beside the truth."""
        index = self.shown()
        count = len(index)
        video = self.latents.video[index].float().to(self.device)
        conditions = torch.cat([self.latents.reference[index], self.latents.garment[index]], 2).float().to(self.device)
        generator = torch.Generator().manual_seed(0)
        with self.autocast():
            rollout = self.make_rollout(count)
            rollout.say(self.text([self.latents.prompts[i][0] for i in index.tolist()]))
            rollout.conditions(conditions[:, :, :1], conditions[:, :, 1:])
            chunks = [rollout.chunk(generator).float() for _ in range(video.shape[2] // self.components.stream.chunk)]
        save_clip_sheet(self.components, conditions, [torch.cat(chunks, 2), video], path)


class _SharedRollout(Rollout):
    """A rollout of the part ``rows`` of a batch: its noise is that of these rows in a rollout of the whole."""

    def __init__(self, stage: LatentStage, cache: KVCache) -> None:
        super().__init__(stage.model, cache, stage.components.stream.schedule())
        self.stage = stage

    def _draw(self, generator: torch.Generator, steps: int) -> Tensor:
        if self._noise is None:
            raise RuntimeError("no reference and garment yet; call conditions() before chunk()")
        noise = self._noise.out[:steps]
        return noise.copy_(self.stage.gaussian_noise(tuple(noise.shape), generator, noise.device, dim=1))


def save_clip_sheet(components: Components, conditions_BCFHW: Tensor, clips: list[Tensor], path: Path) -> None:
    """Rows: reference, garment, five frames of each of ``clips`` (latents)."""
    codec = components.codec
    rows = []
    for i, pair in enumerate(conditions_BCFHW):
        row = [to_uint8(codec.decode(pair[None, :, k : k + 1], codec.new_state())[0])[0] for k in range(NUM_CONDITIONS)]
        for clip in clips:
            frames = to_uint8(codec.decode(clip[i : i + 1], codec.new_state())[0])
            row += [frames[t] for t in np.linspace(0, len(frames) - 1, 5).astype(int)]
        rows.append(row)
    save_sheet(rows, path)
