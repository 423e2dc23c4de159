"""The teacher at work: bidirectional velocity of a whole clip, and many-step sampling with guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from quickchange.engine.components import Components
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model import flow
from quickchange.model.attention import NUM_CONDITIONS, SequenceAttention
from quickchange.model.transformer import GARMENT_ROLE, REFERENCE_ROLE, VIDEO_ROLE, TextContext, WanTransformer


def roles_of(frames: int, device: torch.device) -> Tensor:
    """Roles of [reference | garment | ``frames`` video frames]."""
    return torch.tensor([REFERENCE_ROLE, GARMENT_ROLE] + [VIDEO_ROLE] * frames, device=device)


def make_rotary(network: WanTransformer, height: int, width: int, device: torch.device) -> RotaryEmbedding:
    """Rotary tables of a network for latents of this size."""
    c = network.config
    return RotaryEmbedding(c.attention_head_dim, network.token_grid(height, width), theta=c.rope_theta, device=device)


def bidirectional_velocity(
    network: WanTransformer,
    rotary: RotaryEmbedding,
    x_BCFHW: Tensor,
    levels_B: Tensor,
    conditions_BCFHW: Tensor,
    text: TextContext,
) -> Tensor:
    """The teacher's velocity of a whole clip (docs/method.md section 3).

    Args:
        network: the teacher.
        rotary: tables of its token grid.
        x_BCFHW: noisy video.
        levels_B: its noise level in [0, 1], one per clip.
        conditions_BCFHW: clean [reference | garment], F = 2.
        text: ``network.embed_text`` of the prompts.

    Returns:
        Same shape as ``x_BCFHW``.
    """
    frames, device = x_BCFHW.shape[2], x_BCFHW.device
    levels_BF, roles = levels_B[:, None].expand(-1, frames), roles_of(frames, device)
    timesteps = torch.cat([levels_B.new_zeros(len(levels_B), NUM_CONDITIONS), levels_BF], 1) * flow.TRAIN_TIMESTEPS
    attention = SequenceAttention(rotary, torch.arange(NUM_CONDITIONS + frames))
    sequence = torch.cat([conditions_BCFHW, x_BCFHW], 2)
    return network(sequence, network.embed_time(timesteps), text, attention, roles)[:, :, NUM_CONDITIONS:]


Velocity = Callable[[WanTransformer, RotaryEmbedding, Tensor, Tensor, Tensor, TextContext], Tensor]


@torch.no_grad()
def sample_teacher(
    network: WanTransformer,
    components: Components,
    conditions_BCFHW: Tensor,
    prompts: Sequence[str],
    *,
    frames: int,
    steps: int = 20,
    guidance: float = 1.0,
    seed: int = 0,
    velocity: Velocity = bidirectional_velocity,
) -> Tensor:
    """Samples clips from noise: Euler steps over warped, evenly spaced noise levels, in bfloat16 autocast.

    Args:
        network: a teacher.
        components: text encoder and flow shift that go with it; their own transformer is not used.
        conditions_BCFHW: clean latents [reference | garment], F = 2, on the network's device.
        prompts: one per clip.
        frames: latent frames of the clips.
        steps: network passes (twice that when guided).
        guidance: w in ``uncond + w (cond - uncond)``, over prompt and garment together as in distillation; 1 for none.
        velocity: how the network is asked about a whole clip.
        seed: of the noise. Every clip has noise of its own, the same in any batch that it leads.

    Returns:
        float32 latents [B, C, frames, H, W].

    Raises:
        ValueError: conditions and prompts do not belong together, or a number is out of range.
    """
    batch, channels, pair, height, width = conditions_BCFHW.shape
    if pair != NUM_CONDITIONS or len(prompts) != batch:
        raise ValueError(
            f"conditions are {tuple(conditions_BCFHW.shape)} for {len(prompts)} prompts; expected [B, C, 2, H, W] "
            f"([reference | garment]) with one prompt per clip"
        )
    if frames < 1 or steps < 1:
        raise ValueError(f"frames is {frames}, steps {steps}; expected at least 1")
    device, shift = conditions_BCFHW.device, components.stream.shift
    rotary = make_rotary(network, height, width, device)
    conditions = conditions_BCFHW.float()
    blank = torch.cat([conditions[:, :, :1], torch.zeros_like(conditions[:, :, 1:])], 2)
    levels = [float(flow.warp(1 - i / steps, shift)) for i in range(steps + 1)]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((batch, channels, frames, height, width), generator=generator).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        cond_text = network.embed_text(components.prompts.encode(prompts)[0])
        uncond_text = network.embed_text(components.prompts.encode([""] * batch)[0])
        for level, following in pairwise(levels):
            at = torch.full((batch,), level, device=device)
            v = velocity(network, rotary, x, at, conditions, cond_text).float()
            if guidance != 1:
                uncond = velocity(network, rotary, x, at, blank, uncond_text).float()
                v = uncond + guidance * (v - uncond)
            x = x + (following - level) * v
    return x
