"""A random model small enough for tests: 24x16 pixels, two layers of width 24."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from quickchange.engine.components import Components, StreamConfig
from quickchange.engine.studio import Studio
from quickchange.media.images import PlacedGarment
from quickchange.model.codec import LightCodec, LightCodecConfig
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import TransformerConfig, WanTransformer

WIDTH, HEIGHT = 24, 16
CORPUS = ["she turns to the left", "he waves a hand slowly", "a person in a room"]


def components(window: int = 11) -> Components:
    torch.manual_seed(0)
    codec = LightCodec(LightCodecConfig(latent_channels=4, spatial=8, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    config = TransformerConfig(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        role_embedding=True,
        grid=(2, 3),
    )
    return Components(
        stream=StreamConfig(
            width=WIDTH, height=HEIGHT, fps=24, chunk=3, window=window, sink=1, timesteps=(1000.0, 500.0)
        ),
        transformer=WanTransformer(config).eval().requires_grad_(False),
        codec=codec.eval().requires_grad_(False),
        prompts=PromptEncoder.create(CORPUS, dim=8, layers=1, heads=2, vocab=300, max_tokens=12),
    )


def studio(window: int = 11) -> Studio:
    return Studio(components(window))


def garment(seed: int) -> PlacedGarment:
    """A garment that fills its canvas."""
    return PlacedGarment(image(seed))


def image(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Noise of a colour of its own."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.integers(0, 256, 3) + rng.integers(-40, 40, (height, width, 3)), 0, 255).astype(np.uint8)
