"""The channel-concatenation baseline that in-context conditioning is compared with (docs/method.md section 3).

Reference and garment are not frames of the sequence: their latents are laid beside every video frame's latent along
the channels, [video | reference | garment], which widens the patch embedding from C to 3C inputs. For the evidence
only: no stream runs on it, and a Studio refuses its directory.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from quickchange.engine.components import Components, load_weights
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model import flow
from quickchange.model.attention import NUM_CONDITIONS, SequenceAttention
from quickchange.model.precondition import Preconditioner
from quickchange.model.transformer import SelfAttention, TextContext, TimeEmbedding, TransformerConfig, WanTransformer
from quickchange.train.sampling import roles_of
from quickchange.train.stages.sft import TeacherStage


class ConcatTransformer(WanTransformer):
    """A ``WanTransformer`` of 3C input channels.

    Preconditioning per channel happens here, around the widened network, since it concerns the video's C channels
    only; ``latent_std`` [C, 1, 1, 1] or None takes the place of ``config.channel_std`` and is stored with the weights.

    Args:
        config: of the in-context network.
    """

    latent_std: Tensor | None

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(replace(config, in_channels=3 * config.in_channels, channel_std=None))
        self.made_from = config
        std = config.channel_std
        self.register_buffer("latent_std", None if std is None else torch.tensor(std)[:, None, None, None])

    @staticmethod
    def from_in_context(model: WanTransformer) -> ConcatTransformer:
        """Starts from an in-context network: its weights, and zeros for what the conditions add to the input."""
        widened = ConcatTransformer(model.config).to(device=model.scale_shift_table.device, dtype=model.dtype)
        state = dict(model.state_dict())
        patch = state["patch_embedding.weight"]  # [E, C, 1, p, q]
        state["patch_embedding.weight"] = torch.cat([patch, torch.zeros_like(patch).repeat(1, 2, 1, 1, 1)], 1)
        if widened.latent_std is not None:
            state["latent_std"] = widened.latent_std
        widened.load_state_dict(state)
        return widened.train(model.training)

    @staticmethod
    def from_pretrained(folder: Path) -> ConcatTransformer:
        """Reads the ``transformer/`` folder that a ``ConcatTeacherStage`` exported."""
        config = TransformerConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = load_weights(folder)
        std = tuple(weights["latent_std"].flatten().tolist()) if "latent_std" in weights else None
        model = ConcatTransformer(replace(config, in_channels=config.out_channels, channel_std=std))
        model.load_state_dict(weights)
        return model.eval().requires_grad_(False)

    def velocity(
        self,
        x_BCFHW: Tensor,
        conditions_BCFHW: Tensor,
        time: TimeEmbedding,
        text: TextContext,
        attention: SelfAttention,
        roles_F: Tensor,
    ) -> Tensor:
        """Velocity of the video, [B, C, F, H, W], given [reference | garment] ([B, C, 2, H, W]).

        ``time``, ``attention`` and ``roles_F`` concern the F video frames alone; the rest is as in ``forward``.
        """
        frames = x_BCFHW.shape[2]
        beside_BCFHW = conditions_BCFHW.transpose(1, 2).flatten(1, 2)[:, :, None].expand(-1, -1, frames, -1, -1)
        if self.latent_std is None:
            return self(torch.cat([x_BCFHW, beside_BCFHW], 1), time, text, attention, roles_F)
        scaled = Preconditioner.at(time.level_BF, self.latent_std)
        x_in = torch.cat([x_BCFHW * scaled.c_in, beside_BCFHW / self.latent_std.repeat(2, 1, 1, 1)], 1)
        return scaled.velocity(x_BCFHW, self(x_in, time, text, attention, roles_F)).to(x_BCFHW.dtype)


def concat_velocity(
    network: WanTransformer,
    rotary: RotaryEmbedding,
    x_BCFHW: Tensor,
    levels_B: Tensor,
    conditions_BCFHW: Tensor,
    text: TextContext,
) -> Tensor:
    """``sampling.bidirectional_velocity`` for a ``ConcatTransformer``: the sequence is the video alone."""
    if not isinstance(network, ConcatTransformer):
        raise TypeError(f"network is a {type(network).__name__}; expected a ConcatTransformer")
    frames = x_BCFHW.shape[2]
    time = network.embed_time(levels_B[:, None].expand(-1, frames) * flow.TRAIN_TIMESTEPS)
    attention, roles = SequenceAttention(rotary, torch.arange(frames)), roles_of(frames, x_BCFHW.device)
    return network.velocity(x_BCFHW, conditions_BCFHW, time, text, attention, roles[NUM_CONDITIONS:])


class ConcatTeacherStage(TeacherStage):
    """The teacher stage with a ``ConcatTransformer`` made of the in-context network that it starts from."""

    whole_clip_velocity = staticmethod(concat_velocity)

    @staticmethod
    def make_network(components: Components) -> WanTransformer:
        """Widen the in-context network."""
        return ConcatTransformer.from_in_context(components.transformer)
