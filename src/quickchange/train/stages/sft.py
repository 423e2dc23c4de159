"""Teacher stage: in-context, bidirectional flow matching on mismatched reference-garment pairs.

docs/method.md section 3.

[reference | garment | noisy video] in one sequence; conditions at timestep 0, never noised, their outputs unused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from quickchange.data.latents import Latents
from quickchange.engine.components import Components
from quickchange.model import flow
from quickchange.model.transformer import TextContext, WanTransformer
from quickchange.train.concat import ConcatTransformer
from quickchange.train.config import StageConfig
from quickchange.train.sampling import sample_teacher
from quickchange.train.stages.latent import LatentStage, save_clip_sheet
from quickchange.train.tuning import apply_tuning, merged


class TeacherStage(LatentStage):
    """Flow-matching loss of the whole clip at one noise level.

    Options of ``LatentStage`` and: ``conditioning`` "in_context" or, as a baseline, "channel_concat" (concat.py);
    ``tuning`` "full", "attention" or "lora", with ``lora_rank`` and ``lora_alpha`` (tuning.py). Anything but full
    tuning freezes the text encoder too.
    """

    name = "sft"
    static_share_default = 0.3

    def __init__(
        self,
        components: Components,
        latents: Latents | Sequence[Latents],
        config: StageConfig,
        device: torch.device,
        export: Callable[[WanTransformer], None],
    ) -> None:
        model, conditioning = components.transformer, config.options.get("conditioning", "in_context")
        if conditioning not in ("in_context", "channel_concat"):
            raise ValueError(f"conditioning is {conditioning!r}; expected in_context or channel_concat")
        if conditioning == "channel_concat":
            model = ConcatTransformer.from_in_context(model)
        apply_tuning(model, config)
        self.adapted = config.options.get("tuning", "full") == "lora"
        if config.options.get("tuning", "full") != "full":
            components.prompts.module.requires_grad_(False)
        super().__init__(components, latents, config, device, export, model)

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.batch(step)
        video = batch.video_BCFHW
        levels = self.levels((len(video),), generator).to(self.device)
        noise = self.gaussian_noise(tuple(video.shape), generator, video.device)
        x = flow.add_noise(video, noise, levels.view(-1, 1, 1, 1, 1))
        with self.autocast():
            v = self.velocity(x, levels, batch.conditions_BCFHW, self.text(batch.prompts))
        return {"loss": (v.float() - flow.velocity(video, noise)).square().mean()}

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
        made = sample_teacher(self.model, self.components, conditions, prompts, frames=video.shape[2])
        save_clip_sheet(self.components, conditions, [made, video], path)

    def finish(self) -> None:
        """Exports the network as one of plain weights: adapters are merged."""
        self.export(merged(self.model) if self.adapted else self.model)
