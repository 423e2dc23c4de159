from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quickchange.model.wan_codec import WanCodec

pytest.importorskip("diffusers")

LATENTS = 6
Z = 4


def tiny_vae(**changes: Any) -> Any:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    config: dict[str, Any] = {
        "base_dim": 8, "decoder_base_dim": 8, "z_dim": Z, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
        "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12, "out_channels": 12,
        "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [0.5, 1.5, 1.0, 2.0],
    } | changes  # fmt: skip
    make: Any = AutoencoderKLWan
    return make(**config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    return WanCodec(tiny_vae()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(1, Z, LATENTS, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.rand(2, 3, 13, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def whole(codec: WanCodec, latents: Tensor) -> Tensor:
    return codec.decode(latents, codec.new_state())


def scale(codec: WanCodec, z: Tensor, inverse: bool = False) -> Tensor:
    mean, std = (torch.tensor(codec.vae.config[n]).view(-1, 1, 1, 1) for n in ("latents_mean", "latents_std"))
    return z * std + mean if inverse else (z - mean) / std


def test_sizes_come_from_the_config(codec: WanCodec) -> None:
    assert (codec.latent_channels, codec.spatial, codec.temporal) == (Z, 16, 4)
    old = WanCodec(tiny_vae(is_residual=False, in_channels=3, out_channels=3, patch_size=None))
    assert old.spatial == 8
    assert old.decode(torch.zeros(1, Z, 2, 2, 2), old.new_state()).shape == (1, 3, 5, 16, 16)


def test_decode_equals_diffusers(codec: WanCodec, latents: Tensor, whole: Tensor) -> None:
    expected = codec.vae.decode(scale(codec, latents, inverse=True)).sample
    assert whole.shape == (1, 3, 1 + 4 * (LATENTS - 1), 32, 32)
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=0)
    assert whole.abs().max() <= 1


def test_encode_equals_diffusers(codec: WanCodec, clip: Tensor) -> None:
    expected = scale(codec, codec.vae.encode(clip).latent_dist.mode())
    torch.testing.assert_close(codec.encode(clip), expected, atol=1e-5, rtol=0)


@given(cuts=st.sets(st.integers(1, LATENTS - 1)))
@settings(max_examples=12)
def test_any_split_decodes_bit_for_bit(codec: WanCodec, latents: Tensor, whole: Tensor, cuts: set[int]) -> None:
    state = codec.new_state()
    pieces = [latents[:, :, a:b] for a, b in pairwise([0, *sorted(cuts), LATENTS])]
    frames = [codec.decode(piece, state) for piece in pieces]
    assert [f.shape[2] for f in frames[1:]] == [4 * p.shape[2] for p in pieces[1:]]
    assert torch.equal(torch.cat(frames, 2), whole)


@given(cuts=st.sets(st.integers(0, 2)))
@settings(max_examples=8)
def test_any_split_encodes_bit_for_bit(codec: WanCodec, clip: Tensor, cuts: set[int]) -> None:
    state = codec.new_encoder_state()
    borders = [0, *(1 + 4 * c for c in sorted(cuts)), clip.shape[2]]
    pieces = [codec.encode(clip[:, :, a:b], state) for a, b in pairwise(borders)]
    assert torch.equal(torch.cat(pieces, 2), codec.encode(clip))


def test_interleaved_sessions_do_not_disturb_each_other(codec: WanCodec, latents: Tensor, whole: Tensor) -> None:
    other = latents.flip(2)
    expected = codec.decode(other, codec.new_state())
    a, b = codec.new_state(), codec.new_state()
    mine, theirs = [], []
    for f in range(LATENTS):
        mine.append(codec.decode(latents[:, :, f : f + 1], a))
        codec.encode(mine[-1][:, :, :1])
        theirs.append(codec.decode(other[:, :, f : f + 1], b))
    assert torch.equal(torch.cat(mine, 2), whole)
    assert torch.equal(torch.cat(theirs, 2), expected)


def test_memory_is_constant(codec: WanCodec, latents: Tensor) -> None:
    def size(state: Any) -> int:
        return sum(t.untyped_storage().nbytes() for t in state.features if isinstance(t, Tensor))

    state = codec.new_state()
    codec.decode(latents[:, :, :3], state)
    before = size(state)
    for _ in range(3):
        codec.decode(latents, state)
    assert size(state) == before > 0


def test_round_trip_through_files(codec: WanCodec, latents: Tensor, whole: Tensor, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path / "vae")
    names = sorted(p.name for p in (tmp_path / "vae").iterdir())
    assert names == ["config.json", "diffusion_pytorch_model.safetensors"]
    again = WanCodec.from_pretrained(tmp_path / "vae")
    assert not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again.decode(latents, again.new_state()), whole)


def test_dtype(latents: Tensor) -> None:
    codec = WanCodec(tiny_vae()).to(torch.bfloat16)
    assert codec.decode(latents[:, :, :2], codec.new_state()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 5, 32, 32), "4 channels"),
        ((1, 3, 4, 32, 32), "4 frames; expected 1 \\+ 4 n"),
        ((1, 3, 5, 32, 24), "24x32; expected width and height to be multiples of 16"),
    ],
)
def test_encode_refuses(codec: WanCodec, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, Z + 1, 1, 2, 2), (1, Z, 0, 2, 2), (Z, 1, 2, 2)])
def test_decode_refuses(codec: WanCodec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"takes \\[B, {Z}, F >= 1, H, W\\]"):
        codec.decode(torch.zeros(shape), codec.new_state())


def test_streams_refuse_what_does_not_continue_them(codec: WanCodec, clip: Tensor, latents: Tensor) -> None:
    state = codec.new_encoder_state()
    codec.encode(clip[:, :, :1], state)
    with pytest.raises(ValueError, match="goes on with 5 frames; expected a multiple of 4"):
        codec.encode(clip[:, :, :5], state)
    with pytest.raises(ValueError, match=r"\(1, 32, 32\); this stream began with \(2, 32, 32\)"):
        codec.encode(clip[:1, :, :4], state)
    decoder = codec.new_state()
    codec.decode(latents, decoder)
    with pytest.raises(ValueError, match="take a new state"):
        codec.decode(latents[..., :1], decoder)


def test_construction_refuses() -> None:
    with pytest.raises(ValueError, match="compresses time by 2"):
        WanCodec(tiny_vae(temperal_downsample=[False, False, True]))
    with pytest.raises(ValueError, match="latents_std has 1 values"):
        WanCodec(tiny_vae(latents_std=[1.0]))
