"""The transformer against diffusers' implementation, and the ways of attending against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quickchange.cache import CacheConfig, KVCache
from quickchange.engine.rollout import Rollout
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model.attention import (
    NUM_CONDITIONS,
    SequenceAttention,
    TeacherForcingAttention,
    chunk_causal_mask,
    teacher_forcing_mask,
)
from quickchange.model.flow import FewStepSchedule
from quickchange.model.transformer import TextContext, TransformerConfig, WanTransformer
from quickchange.train.initial import initialise_small

SIZE = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
}
HEIGHT, WIDTH, GRID, TOKENS = 4, 6, (2, 3), 6
BATCH, FRAMES, CHUNK = 2, 6, 3


def small(**changes: object) -> WanTransformer:
    torch.manual_seed(0)
    return WanTransformer(TransformerConfig(**{**SIZE, **changes})).eval().requires_grad_(False)  # type: ignore[arg-type]


def rotary() -> RotaryEmbedding:
    return RotaryEmbedding(24, GRID)


def latents(frames: int, seed: int = 1) -> Tensor:
    return torch.randn(BATCH, 4, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def prompt(model: WanTransformer) -> TextContext:
    return model.embed_text(torch.randn(BATCH, 5, 16, generator=torch.Generator().manual_seed(7)))


def roles(count: int) -> Tensor:
    return torch.full((count,), 2)


def chunk_levels(seed: int = 3) -> Tensor:
    per_chunk = torch.rand(BATCH, FRAMES // CHUNK, generator=torch.Generator().manual_seed(seed))
    return per_chunk.repeat_interleave(CHUNK, 1)


def test_equals_diffusers_with_the_same_weights_and_per_token_timesteps() -> None:
    from diffusers import WanTransformer3DModel

    make: Any = WanTransformer3DModel
    theirs = make(**SIZE, cross_attn_norm=True, qk_norm="rms_norm_across_heads", eps=1e-6).eval()
    ours = small()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, text = latents(5), torch.randn(BATCH, 7, 16)
    t = torch.rand(BATCH, 5) * 1000
    with torch.no_grad():
        expected = theirs(x, t.repeat_interleave(TOKENS, 1), text, return_dict=False)[0]
        attention = SequenceAttention(rotary(), torch.arange(5))
        got = ours(x, ours.embed_time(t), ours.embed_text(text), attention, roles(5))
    assert (expected - got).abs().max() <= 1e-5


def naive_teacher_forcing_mask(frames: int, chunk: int, tokens: int) -> Tensor:
    """docs/method.md section 4, spelled out token by token."""
    length = (NUM_CONDITIONS + frames) * tokens
    mask = torch.zeros(2 * length, 2 * length, dtype=torch.bool)
    for row in range(2 * length):
        for column in range(2 * length):
            (noisy, i), (noisy_key, j) = divmod(row, length), divmod(column, length)
            frame, frame_key = i // tokens - NUM_CONDITIONS, j // tokens - NUM_CONDITIONS
            if frame < 0:  # conditions see the conditions of their own copy
                mask[row, column] = noisy == noisy_key and frame_key < 0
            elif not noisy:  # a clean chunk sees the clean conditions, earlier clean chunks, itself
                mask[row, column] = not noisy_key and (frame_key < 0 or frame_key // chunk <= frame // chunk)
            elif noisy_key:  # a noisy chunk sees itself
                mask[row, column] = frame_key >= 0 and frame_key // chunk == frame // chunk
            else:  # and the clean past
                mask[row, column] = frame_key < 0 or frame_key // chunk < frame // chunk
    return mask


@pytest.mark.parametrize(("frames", "chunk", "tokens"), [(6, 3, 1), (4, 2, 2), (3, 1, 2)])
def test_teacher_forcing_mask_equals_the_naive_one(frames: int, chunk: int, tokens: int) -> None:
    assert torch.equal(teacher_forcing_mask(frames, chunk, tokens), naive_teacher_forcing_mask(frames, chunk, tokens))


def forcing_outputs(model: WanTransformer, noisy: Tensor, levels: Tensor) -> Tensor:
    """Masked full-sequence teacher forcing: the slow and obvious version."""
    conditions, clean = latents(NUM_CONDITIONS, 4), latents(FRAMES, 5)
    sequence = torch.cat([conditions, clean, conditions, noisy], 2)
    level = torch.cat([torch.zeros(BATCH, 2 * NUM_CONDITIONS + FRAMES), levels], 1)
    positions = torch.arange(NUM_CONDITIONS + FRAMES).repeat(2)
    attention = SequenceAttention(rotary(), positions, teacher_forcing_mask(FRAMES, CHUNK, TOKENS))
    out = model(sequence, model.embed_time(1000 * level), prompt(model), attention, roles(len(positions)))
    return out[:, :, -FRAMES:]


@pytest.mark.parametrize("copies", [1, 2])
def test_maskless_teacher_forcing_equals_the_masked_one(copies: int) -> None:
    model = small()
    noisy = [latents(FRAMES, 20 + i) for i in range(copies)]
    levels = [chunk_levels(30 + i) for i in range(copies)]
    past = NUM_CONDITIONS + FRAMES - CHUNK
    sequence = torch.cat([latents(NUM_CONDITIONS, 4), latents(FRAMES, 5)[:, :, :-CHUNK], *noisy], 2)
    level = torch.cat([torch.zeros(BATCH, past), *levels], 1)
    attention = TeacherForcingAttention(rotary(), FRAMES, CHUNK, copies)
    got = model(sequence, model.embed_time(1000 * level), prompt(model), attention, roles(sequence.shape[2]))[
        :, :, past:
    ]
    for i, part in enumerate(got.split(FRAMES, 2)):
        assert (part - forcing_outputs(model, noisy[i], levels[i])).abs().max() <= 1e-5


@pytest.mark.parametrize("window", [None, NUM_CONDITIONS + 2 * CHUNK])
@pytest.mark.parametrize("copies", [1, 2])
def test_clean_and_noisy_passes_apart_equal_the_joint_one(copies: int, window: int | None) -> None:
    model, past = small(), NUM_CONDITIONS + FRAMES - CHUNK
    noisy = torch.cat([latents(FRAMES, 20 + i) for i in range(copies)], 2)
    clean = torch.cat([latents(NUM_CONDITIONS, 4), latents(FRAMES, 5)[:, :, :-CHUNK]], 2)
    levels = torch.cat([chunk_levels(30 + i) for i in range(copies)], 1)

    def run(x: Tensor, level: Tensor, attention: TeacherForcingAttention) -> Tensor:
        return model(
            x, model.embed_time(1000 * level), prompt(model), attention, roles(past + noisy.shape[2])[-x.shape[2] :]
        )

    def attend(**part: Any) -> TeacherForcingAttention:
        return TeacherForcingAttention(rotary(), FRAMES, CHUNK, copies, window, **part)

    never = torch.zeros(BATCH, past)
    joint = model(
        torch.cat([clean, noisy], 2),
        model.embed_time(1000 * torch.cat([never, levels], 1)),
        prompt(model),
        attend(),
        roles(past + noisy.shape[2]),
    )
    memory = attend(part="clean")
    first = model(clean, model.embed_time(never), prompt(model), memory, roles(past))
    second = run(noisy, levels, attend(part="noisy", held=memory.held_kv))
    torch.testing.assert_close(torch.cat([first, second], 2), joint, atol=1e-5, rtol=1e-5)


def through_the_cache(model: WanTransformer) -> tuple[Rollout, KVCache]:
    config = CacheConfig(
        layers=2, heads=2, head_dim=24, tokens_per_frame=TOKENS, window=NUM_CONDITIONS + FRAMES, chunk=CHUNK
    )
    cache = KVCache(config, rotary(), batch=BATCH)
    rollout = Rollout(model, cache, FewStepSchedule())
    rollout.say(prompt(model))
    conditions = latents(NUM_CONDITIONS, 4)
    rollout.conditions(conditions[:, :, :1], conditions[:, :, 1:])
    return rollout, cache


def forward_chunk(model: WanTransformer, rollout: Rollout, x: Tensor, levels: Tensor) -> Tensor:
    return model(x, model.embed_time(1000 * levels), rollout.cache.text, rollout.attention, roles(CHUNK))


def test_cached_chunks_equal_the_masked_sequence() -> None:
    model = small()
    noisy, levels, clean = latents(FRAMES, 20), chunk_levels(), latents(FRAMES, 5)
    forced = forcing_outputs(model, noisy, levels)
    mask = chunk_causal_mask(FRAMES, CHUNK, TOKENS)
    attention = SequenceAttention(rotary(), torch.arange(NUM_CONDITIONS + FRAMES), mask)
    sequence = torch.cat([latents(NUM_CONDITIONS, 4), clean], 2)
    time = model.embed_time(torch.zeros(BATCH, NUM_CONDITIONS + FRAMES))
    causal = model(sequence, time, prompt(model), attention, roles(NUM_CONDITIONS + FRAMES))[:, :, NUM_CONDITIONS:]
    rollout, cache = through_the_cache(model)
    for part in (slice(0, CHUNK), slice(CHUNK, FRAMES)):
        cache.begin_chunk()
        got = forward_chunk(model, rollout, noisy[:, :, part], levels[:, part])
        assert (got - forced[:, :, part]).abs().max() <= 1e-5
        got = forward_chunk(model, rollout, clean[:, :, part], torch.zeros(BATCH, CHUNK))
        assert (got - causal[:, :, part]).abs().max() <= 1e-5
        cache.commit()


def test_preconditioning_starts_at_the_best_linear_guess() -> None:
    """With the output layer at zero, v is the least-squares prediction from x_t for channels of the given spread."""
    std = (0.5, 1.0, 2.0, 3.0)
    model = small(channel_std=std, role_embedding=True, grid=GRID)
    initialise_small(model)
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor(std).view(1, 4, 1, 1, 1)
    x0 = torch.randn(BATCH, 4, 400, HEIGHT, WIDTH, generator=generator) * scale
    noise = torch.randn(x0.shape, generator=generator)
    level = 0.3
    x = (1 - level) * x0 + level * noise
    t = torch.full((BATCH, 2), 1000 * level)
    attention = SequenceAttention(rotary(), torch.arange(2))
    v = model(x[:, :, :2], model.embed_time(t), prompt(model), attention, roles(2))
    for channel in range(4):
        best = ((noise - x0)[:, channel] * x[:, channel]).sum() / x[:, channel].square().sum()
        got = (v / x[:, :, :2])[:, channel].mean()
        assert got == pytest.approx(float(best), abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": (2, 2, 2)}, "patch_size"),
        ({"attention_head_dim": 7}, "attention_head_dim"),
        ({"channel_std": (1.0,)}, "channel_std"),
    ],
)
def test_bad_sizes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_a_latent_that_does_not_fit_the_patch_is_named() -> None:
    with pytest.raises(ValueError, match="5x6"):
        small().token_grid(5, 6)
