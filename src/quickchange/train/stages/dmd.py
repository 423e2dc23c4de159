"""Student stage 2: self-forcing distribution matching with reweighted gradients (docs/method.md section 5).

The student streams its own clip chunk by chunk through the real cache, leaving every chunk at one random exit step.
The gradient goes through that step only. It is recomputed for all chunks at once in the teacher-forcing layout with a
detached past, which equals the cached pass (tested) and costs one forward instead of one per chunk.

Rollouts may be longer than the training clips (option ``chunks``), so that the student meets its own late output.
Teacher and critic know clips of the trained length only, so they judge one window of that length, at a random chunk.
A window that is not the first becomes the start of a clip, much as at a switch (docs/method.md section 6, move 3):
the last frame of its first latent is decoded, encoded alone, and becomes both the reference and the first latent. Other
than at a switch, that reference wears the target garment already.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from quickchange.data.latents import Latents
from quickchange.engine.components import Components, load_transformer
from quickchange.errors import RecipeError
from quickchange.model import flow
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import TextContext, WanTransformer
from quickchange.train.activation_checkpointing import checkpoint_blocks
from quickchange.train.config import StageConfig
from quickchange.train.distributed import shard
from quickchange.train.inputs import Inputs, exporter, teacher_prompts
from quickchange.train.optim import apply_gradients, make_optimizers, rate_factor
from quickchange.train.options import option
from quickchange.train.rewards import DetailReward, Reward, chunk_scores, chunk_weights, make_reward
from quickchange.train.stages.latent import Batch, LatentOptions, LatentStage


@dataclass(frozen=True, kw_only=True)
class DistillationOptions(LatentOptions):
    """Options of distillation."""

    critic_ratio: int = option(5, "critic steps per student step")
    critic_rate: float | None = option(None, "the critic's learning rate; default: the student's")
    guidance: float = option(3.0, "w of the teacher's score, uncond + w (cond - uncond); 1: none. Public code: 4")
    guidance_free: Literal["both", "garment", "text"] = option(
        "both", "what the unconditional branch goes without; public code: text"
    )
    negative_prompt: str = option("", "prompt of the unconditional branch, where it goes without text")
    tau: float = option(0.2, "temperature of the chunks' weights")
    chunks: int | None = option(None, "length of a rollout; longer ones are judged in windows. Default: the clips'")
    reward: str = option("detail", "what weighs the chunks, see below")
    reward_weights: str | None = option(None, "folder or file of its weights")


class DmdStage(LatentStage):
    """Distribution matching on the student's own rollouts; see the module header.

    Args:
        components: the student.
        teacher: network of the teacher stage, frozen; also the critic's start.
        latents: encoded clips, as in ``LatentStage``.
        config: its options are ``DistillationOptions``.
        device: where to train.
        export: writes the student.
        reward: weighs the chunks; default: ``DetailReward``.
        teacher_prompts: text encoder that teacher and critic were trained with; by default the student's.
    """

    name = "dmd"
    Options = DistillationOptions
    options: DistillationOptions

    def __init__(
        self,
        components: Components,
        teacher: WanTransformer,
        latents: Latents | Sequence[Latents],
        config: StageConfig,
        device: torch.device,
        export: Callable[[WanTransformer], None],
        reward: Reward | None = None,
        teacher_prompts: PromptEncoder | None = None,
    ) -> None:
        components.prompts.module.requires_grad_(False)
        super().__init__(components, latents, config, device, export)
        self.critic = shard(copy.deepcopy(teacher).requires_grad_(True))
        self.teacher = shard(teacher.requires_grad_(False))
        self.teacher_prompts = teacher_prompts or components.prompts
        if config.checkpointing:
            checkpoint_blocks(self.critic)
        self.kept: dict[str, nn.Module] = {"critic": self.critic}
        self.reward = reward or DetailReward()
        trained = self.latents.video.shape[2] // components.stream.chunk
        self.chunks = trained if self.options.chunks is None else self.options.chunks
        if self.chunks < trained or self.options.tau <= 0:
            raise RecipeError(
                f"chunks is {self.chunks}, tau {self.options.tau}; expected at least the {trained} chunks of a "
                "training clip and a positive temperature"
            )
        critic_config = StageConfig(
            steps=config.steps,
            batch=config.batch,
            learning_rate=self.options.critic_rate or config.learning_rate,
            betas=config.betas,
        )
        self.critic_optimizers = make_optimizers([self.critic], critic_config)

    @classmethod
    def build(cls, inputs: Inputs) -> DmdStage:
        """The student from teacher forcing, or from ``init``; teacher and critic from the run's teacher."""
        config, device = inputs.config, inputs.device
        torch.manual_seed(config.seed)
        _, latents = inputs.latents
        start, home = inputs.init or inputs.exported("tf"), inputs.exported("sft")
        components = inputs.stored(start)
        teacher = load_transformer(home / "transformer").to(device)
        words = teacher_prompts(home, start, components.prompts)
        export = exporter(components, inputs.folder / inputs.name / "model", inputs.folder / "model")
        options = cast(DistillationOptions, config.options)
        reward = make_reward(options.reward, options.reward_weights, device)
        stage = cls(components, teacher, latents, config, device, export, reward, words)
        stage.recipe |= inputs.describe("stream")
        return stage

    def all_optimizers(self) -> list[torch.optim.Optimizer]:
        """The student's and the critic's optimisers."""
        return [*self.optimizers, *self.critic_optimizers]

    @torch.no_grad()
    def roll_out(self, batch: Batch, exit_step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Streams a clip, leaving each chunk after step ``exit_step``.

        Returns the clip and, for every chunk, the noisy input of its last step; both [B, C, F, H, W].
        """
        rollout = self.make_rollout(len(batch.video_BCFHW), like=batch.video_BCFHW, shared=True)
        rollout.say(self.text(batch.prompts))
        rollout.conditions(batch.conditions_BCFHW[:, :, :1], batch.conditions_BCFHW[:, :, 1:])
        clean, noisy = [], []
        for _ in range(self.chunks):
            clean.append(rollout.chunk(generator, steps=exit_step + 1).float().clone())
            noisy.append(rollout.last_input.float().clone())
        return torch.cat(clean, 2), torch.cat(noisy, 2)

    def _window_start(self, batch: Batch, generator: torch.Generator) -> int:
        """First latent of the window that is judged; the same for all rows."""
        chunk = self.components.stream.chunk
        places = self.chunks - batch.video_BCFHW.shape[2] // chunk + 1
        return 0 if places == 1 else chunk * int(torch.randint(places, (1,), generator=generator))

    @torch.no_grad()
    def _anchor(self, clip: Tensor, start: int) -> Tensor:
        """The last frame of latent ``start``, decoded and encoded alone, [B, C, 1, H, W]."""
        codec = self.components.codec
        with torch.autocast(self.device.type, enabled=False):  # the codec is meant for float32
            frames = codec.decode(clip[:, :, : start + 1], codec.new_state())
            return codec.encode(frames[:, :, -1:].clamp(-1, 1)).to(clip)

    def _judged(self, clip: Tensor, anchor: Tensor | None, start: int, batch: Batch) -> tuple[Tensor, Batch]:
        """The window of a rollout that teacher and critic see: see the module header."""
        part = clip[:, :, start : start + batch.video_BCFHW.shape[2]]
        if anchor is None:
            return part, batch
        conditions = torch.cat([anchor, batch.conditions_BCFHW[:, :, 1:]], 2)
        return torch.cat([anchor, part[:, :, 1:]], 2), batch._replace(conditions_BCFHW=conditions)

    def _exit_step(self, generator: torch.Generator) -> int:
        return int(torch.randint(len(self.components.stream.timesteps), (1,), generator=generator))

    def _score_level(self, count: int, generator: torch.Generator) -> Tensor:
        return self.levels((count,), generator).clamp(0.02, 0.98).to(self.device)

    def _context(self, network: WanTransformer, prompts: list[str]) -> TextContext:
        """Of teacher or critic, in the words as they learned them."""
        return network.embed_text(self.teacher_prompts.encode(prompts)[0])

    def critic_step(self, step: int, turn: int, generator: torch.Generator) -> Tensor:
        """Fits the critic to what the student makes now."""
        values = self.backward(lambda draws: {"loss": self._critic_loss(step, turn, draws)}, generator)
        rate = rate_factor(step, self.config)
        apply_gradients(self.critic_optimizers, list(self.critic.parameters()), rate, self.config.clip)
        return values["loss"]

    def _critic_loss(self, step: int, turn: int, generator: torch.Generator) -> Tensor:
        batch = self.batch(step, 1 + turn)
        with self.autocast():
            clip, _ = self.roll_out(batch, self._exit_step(generator), generator)
            start = self._window_start(batch, generator)
            clip, batch = self._judged(clip, self._anchor(clip, start) if start else None, start, batch)
            level = self._score_level(len(clip), generator)
            noise = self.gaussian_noise(tuple(clip.shape), generator, clip.device)
            x = flow.add_noise(clip, noise, level.view(-1, 1, 1, 1, 1))
            text = self._context(self.critic, batch.prompts)
            v = self.bidirectional_velocity(self.critic, x, level, batch.conditions_BCFHW, text)
        return (v.float() - flow.velocity(clip, noise)).square().mean()

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The student's loss, and what it is made of."""
        batch = self.batch(step)
        exit_step = self._exit_step(generator)
        level = self.components.stream.schedule().levels[exit_step]
        with self.autocast():
            clip, noisy = self.roll_out(batch, exit_step, generator)
            levels = torch.full((len(clip), clip.shape[2]), level, device=self.device)
            x0 = flow.to_x0(
                noisy, self.forcing_velocity(batch, clip, noisy, levels, 1, detach_history=True).float(), level
            )
            start = self._window_start(batch, generator)
            anchor = self._anchor(clip, start) if start else None
            x0, judged = self._judged(x0, anchor, start, batch)
            gradient = self._gradient(x0.detach(), judged, generator)
        per_frame = 0.5 * (x0 - (x0 - gradient).detach()).square().mean((1, 3, 4))  # [B, F]
        chunk = self.components.stream.chunk
        rewards = chunk_scores(self._scores(clip, batch), chunk, self.components.codec.temporal)
        weights = chunk_weights(rewards[:, start // chunk :][:, : x0.shape[2] // chunk], self.options.tau)
        return {
            "loss": (per_frame * weights.repeat_interleave(chunk, 1)).mean(),
            "score_gap": gradient.abs().mean(),
            "worst_weight": weights.max(1).values.mean(),
            **{f"reward_chunk_{i}": reward for i, reward in enumerate(rewards.mean(0))},
        }

    @torch.no_grad()
    def _gradient(self, x0: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Normalised difference of the fake and the (guided) real score's clean estimates."""
        level = self._score_level(len(x0), generator)
        at = level.view(-1, 1, 1, 1, 1)
        x = flow.add_noise(x0, self.gaussian_noise(tuple(x0.shape), generator, x0.device), at)
        free = self.options.guidance_free
        blank = batch.conditions_BCFHW.clone()
        if free != "text":
            blank[:, :, 1:] = 0
        words = batch.prompts if free == "garment" else [self.options.negative_prompt] * len(x0)

        def clean(network: WanTransformer, conditions: Tensor, prompts: list[str]) -> Tensor:
            v = self.bidirectional_velocity(network, x, level, conditions, self._context(network, prompts))
            return flow.to_x0(x, v.float(), at)

        fake = clean(self.critic, batch.conditions_BCFHW, batch.prompts)
        real = clean(self.teacher, batch.conditions_BCFHW, batch.prompts)
        if self.options.guidance != 1:
            uncond = clean(self.teacher, blank, words)
            real = uncond + self.options.guidance * (real - uncond)
        scale = (x0 - real).abs().mean((1, 2, 3, 4), keepdim=True).clamp_min(1e-4)
        return (fake - real) / scale

    @torch.no_grad()
    def _scores(self, clip: Tensor, batch: Batch) -> Tensor:
        """The reward of every frame, [B, T], measured against the reference without its noise."""
        codec = self.components.codec
        frames = codec.decode(clip, codec.new_state())
        reference = codec.decode(batch.reference_BCFHW, codec.new_state())[:, :, 0]
        return self.reward(frames, reference)

    def debug_inputs(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The student's batch, and the critic's samples."""
        tensors, facts = super().debug_inputs(step)
        samples = [self.batch(step, 1 + turn).samples for turn in range(self.options.critic_ratio)]
        return tensors, {**facts, "critic_samples": samples}

    def update(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Some critic steps, then one of the student."""
        critic = [self.critic_step(step, turn, generator) for turn in range(self.options.critic_ratio)]
        return {**super().update(step, generator), "critic_loss": torch.stack(critic).mean()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Write a streamed sheet."""
        self.sample_stream(path)
