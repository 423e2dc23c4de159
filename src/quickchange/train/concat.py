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

from quickchange.engine.components import load_weights
from quickchange.model.transformer import SelfAttention, TextContext, TimeEmbedding, TransformerConfig, WanTransformer


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
        self.in_context_config = config
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
        """Reads the ``transformer/`` folder that a teacher with ``conditioning = "channel_concat"`` exported."""
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
        # As in WanTransformer.forward.
        level, std = time.level_BF[:, None, :, None, None], self.latent_std
        variance = ((1 - level) * std) ** 2 + level**2
        x_in = torch.cat([x_BCFHW * variance.rsqrt(), beside_BCFHW / std.repeat(2, 1, 1, 1)], 1)
        skip = (level - (1 - level) * std**2) / variance
        out = x_BCFHW * skip - self(x_in, time, text, attention, roles_F).float() * (std * variance.rsqrt())
        return out.to(x_BCFHW.dtype)
