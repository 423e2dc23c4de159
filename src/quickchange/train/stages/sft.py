"""Teacher stage: in-context, bidirectional flow matching on mismatched reference-garment pairs.

docs/method.md section 3.

[reference | garment | noisy video] in one sequence; conditions at timestep 0, never noised, their outputs unused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from quickchange.data.latents import Latents
from quickchange.engine.components import Components
from quickchange.errors import RecipeError
from quickchange.model import flow
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import TextContext, WanTransformer
from quickchange.train.config import StageConfig
from quickchange.train.initial import initialise_small
from quickchange.train.inputs import Inputs, exporter, require_same
from quickchange.train.options import option
from quickchange.train.sampling import sample_teacher
from quickchange.train.stages.latent import (
    LEVEL_WEIGHT_DOC,
    LatentOptions,
    LatentStage,
    LevelWeight,
    level_weight,
    save_clip_sheet,
)
from quickchange.train.tuning import Tuning, apply_tuning, merged


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(LatentOptions):
    """Options of the teacher."""

    static_share: float = option(0.3, "share of captions that describe person and scene beside the motion")
    level_weight: LevelWeight = option("uniform", LEVEL_WEIGHT_DOC)
    tuning: Tuning = option("full", "what may change; anything but full freezes the text encoder too")
    lora_rank: int = option(16, "rank of the adapters")
    lora_alpha: float | None = option(None, "their scale times the rank; default: the rank")


class TeacherStage(LatentStage):
    """Flow-matching loss of the whole clip at one noise level."""

    name = "sft"
    Options = TeacherOptions

    def __init__(
        self,
        components: Components,
        latents: Latents | Sequence[Latents],
        config: StageConfig,
        device: torch.device,
        export: Callable[[WanTransformer], None],
    ) -> None:
        model, options = self.make_network(components), cast(TeacherOptions, config.options)
        apply_tuning(model, options.tuning, options.lora_rank, options.lora_alpha, muon=config.muon > 0)
        self.adapted = options.tuning == "lora"
        if options.tuning != "full":
            components.prompts.module.requires_grad_(False)
        super().__init__(components, latents, config, device, export, model)
        self.weight = level_weight(options.level_weight, self.shift)

    @classmethod
    def build(cls, inputs: Inputs) -> TeacherStage:
        """From scratch with a tokenizer of the captions' own, or from ``init``'s network and text encoder."""
        recipe, config, init, device = inputs.recipe, inputs.config, inputs.init, inputs.device
        torch.manual_seed(config.seed)
        tuning = cast(TeacherOptions, config.options).tuning
        if init is None and tuning != "full":
            raise RecipeError(f"tuning is {tuning!r}, which changes a trained network a little; name one with --init")
        codec, latents = inputs.latents
        size = replace(recipe.transformer, channel_std=max(latents, key=len).channel_std())
        if init is None:
            model = WanTransformer(size)
            initialise_small(model)
            corpus = [text for group in latents for pair in group.prompts for text in pair]
            prompts = PromptEncoder.create(corpus, **asdict(recipe.text)).to(device)
            components = Components(stream=recipe.stream, transformer=model.to(device), codec=codec, prompts=prompts)
        else:
            components = inputs.stored(init)
            model = components.transformer
            require_same("transformer", init, model.config, size, ("channel_std",))
            if model.config.channel_std is not None:
                model.config = size
                model.channel_std = torch.tensor(size.channel_std, device=device)[:, None, None, None]
        export = exporter(components, inputs.folder / inputs.name / "model")
        stage = cls(components, latents, config, device, export)
        stage.recipe |= inputs.describe("stream", "transformer", "text")
        return stage

    @staticmethod
    def make_network(components: Components) -> WanTransformer:
        """The network to train; a variant of the teacher may make another one of it."""
        return components.transformer

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Flow-matching loss of whole clips."""
        batch = self.batch(step)
        video = batch.video_BCFHW
        levels = self.levels((len(video),), generator).to(self.device)
        noise = self.gaussian_noise(tuple(video.shape), generator, video.device)
        x = flow.add_noise(video, noise, levels.view(-1, 1, 1, 1, 1))
        with self.autocast():
            v = self.velocity(x, levels, batch.conditions_BCFHW, self.text(batch.prompts))
        error_B = (v.float() - flow.velocity(video, noise)).square().mean((1, 2, 3, 4))
        return {"loss": (error_B * self.weight(levels)).mean()}

    def velocity(self, x_BCFHW: Tensor, levels_B: Tensor, conditions_BCFHW: Tensor, text: TextContext) -> Tensor:
        """The stage's own network's velocity for the whole clip."""
        return self.bidirectional_velocity(self.model, x_BCFHW, levels_B, conditions_BCFHW, text)

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Twenty Euler steps from noise for four training clips: reference, garment, frames of sample and truth."""
        index = self.shown()
        video = self.latents.video[index].float().to(self.device)
        conditions = torch.cat([self.latents.reference[index], self.latents.garment[index]], 2).float().to(self.device)
        prompts = [self.latents.prompts[i][0] for i in index.tolist()]
        ask = self.whole_clip_velocity
        made = sample_teacher(self.model, self.components, conditions, prompts, frames=video.shape[2], velocity=ask)
        save_clip_sheet(self.components, conditions, [made, video], path)

    def finish(self) -> None:
        """Exports the network as one of plain weights: adapters are merged."""
        self.export(merged(self.model) if self.adapted else self.model)
