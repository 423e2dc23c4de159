"""The light codec: streaming equals one-shot, bit for bit, and bad clips are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickchange.model.codec import LightCodec, LightCodecConfig

TINY = LightCodecConfig(latent_channels=6, spatial=8, encoder_widths=(8, 8), decoder_widths=(8, 8))


def codec() -> LightCodec:
    torch.manual_seed(0)
    return LightCodec(TINY).eval().requires_grad_(False)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 99))
def test_any_cut_into_chunks_gives_the_same_bits(cuts: list[int], seed: int) -> None:
    model = codec()
    z = torch.randn(1, 6, sum(cuts), 2, 3, generator=torch.Generator().manual_seed(seed))
    whole = model.decode(z, model.new_state())
    state = model.new_state()
    parts = torch.cat([model.decode(part, state) for part in z.split(cuts, 2)], 2)
    assert torch.equal(whole, parts)
    assert whole.shape == (1, 3, 1 + 4 * (sum(cuts) - 1), 16, 24)


def test_two_sessions_do_not_disturb_each_other() -> None:
    model = codec()
    a, b = torch.randn(2, 1, 6, 4, 2, 3).unbind()
    alone = model.decode(a, model.new_state())
    first, second = model.new_state(), model.new_state()
    mixed = []
    for x, y in zip(a.split(1, 2), b.split(1, 2), strict=True):
        mixed.append(model.decode(x, first))
        model.decode(y, second)
    assert torch.equal(alone, torch.cat(mixed, 2))


def test_decoding_remembers_the_past_and_only_the_past() -> None:
    model = codec()
    z = torch.randn(1, 6, 3, 2, 3)
    other_past, other_future = z.clone(), z.clone()
    other_past[:, :, 1] += 1
    other_future[:, :, 2] += 1
    out = model.decode(z, model.new_state())
    assert not torch.equal(out[:, :, 5:], model.decode(other_past, model.new_state())[:, :, 5:])
    assert torch.equal(out[:, :, :5], model.decode(other_future, model.new_state())[:, :, :5])


def test_encoding_is_causal_with_the_first_frame_alone() -> None:
    model = codec()
    clip = torch.rand(1, 3, 9, 16, 24) * 2 - 1
    torch.testing.assert_close(model.encode(clip)[:, :, :1], model.encode(clip[:, :, :1]))
    torch.testing.assert_close(model.encode(clip)[:, :, :2], model.encode(clip[:, :, :5]))


def test_statistics_and_weights_survive_the_disk(tmp_path: Path) -> None:
    model = codec()
    model.set_config(
        LightCodecConfig(
            **{k: getattr(TINY, k) for k in ("latent_channels", "spatial", "encoder_widths", "decoder_widths")},
            latents_mean=(0.5,) * 6,
            latents_scale=(2.0,) * 6,
        )
    )
    model.save_pretrained(tmp_path)
    clip = torch.rand(1, 3, 5, 16, 24) * 2 - 1
    assert torch.equal(LightCodec.from_pretrained(tmp_path).encode(clip), model.encode(clip))
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 4, 5, 16, 24), "4 channels"), ((1, 3, 4, 16, 24), "4 frames"), ((1, 3, 5, 15, 24), "24x15")],
)
def test_bad_clips_are_named(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec().encode(torch.zeros(shape))


def test_latents_of_another_codec_are_named() -> None:
    model = codec()
    with pytest.raises(ValueError, match="5 channels"):
        model.decode_raw(torch.zeros(1, 1, 5, 2, 2), model.new_state())
