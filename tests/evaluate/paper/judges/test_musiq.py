"""MUSIQ at tiny width: against slow references, and loaded from a file of the public names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.musiq import FILE, MusiqJudge, load_musiq
from quickchange.evaluate.paper.judges.musiq_net import Attention, Musiq, MusiqConfig, StandardisedConv, pad_same

TINY = MusiqConfig(width=12, mlp=16, heads=6, layers=2)


def tiny(levels: int = 1) -> Musiq:
    torch.manual_seed(0)
    network = Musiq(MusiqConfig(width=12, mlp=16, heads=6, layers=2, levels=levels)).eval()
    for table in ("posembed_input.position_emb", "scaleembed_input.scale_emb"):
        torch.nn.init.normal_(network.transformer_encoder.get_parameter(table))
    return network


def test_filters_are_standardised_and_padded_like_tensorflow() -> None:
    conv = StandardisedConv(3, 4, 7, 2, bias=False).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    w = conv.weight.detach()
    for out in range(4):
        centred = w[out] - w[out].mean()
        w[out] = centred / (centred.norm() / (centred.numel() - 1) ** 0.5 + 1e-5)
    expected = F.conv2d(F.pad(x, (2, 3, 2, 3)), w, stride=2)  # 32 -> 16 needs 5: two left, three right
    conv.weight.data.mul_(7).add_(2)  # scale and shift of the stored filters must not matter
    torch.testing.assert_close(conv(x), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(32, 7, 2), (16, 3, 2), (33, 32, 32), (8, 1, 1), (8, 3, 1)])
def test_padding_gives_the_size_divided_by_the_stride(size: int, kernel: int, stride: int) -> None:
    padded = pad_same(torch.ones(1, 1, size, size), kernel, stride)
    assert (padded.shape[2] - kernel) // stride + 1 == -(-size // stride)


def test_attention_against_a_loop() -> None:
    layer, x = Attention(12, 3).double(), torch.randn(1, 5, 12, dtype=torch.float64)
    q, k, v = layer.query(x)[0], layer.key(x)[0], layer.value(x)[0]
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        heads.append(torch.softmax(q[:, part] @ k[:, part].T / 2, 1) @ v[:, part])
    torch.testing.assert_close(layer(x)[0], layer.out(torch.cat(heads, 1)))


def test_tokens_are_patches_at_hashed_places() -> None:
    network = tiny()
    tokens, places = network.tokens(torch.zeros(1, 3, 3 * 32, 20 * 32))
    assert tokens.shape == (1, 60, 12)
    grid = places.view(3, 20)
    assert (grid // 10)[:, 0].tolist() == [0, 3, 6]  # rows spread over the ten of the table
    assert (grid % 10)[0].tolist() == [i // 2 for i in range(20)]


def test_one_patch_changes_only_its_token() -> None:
    network, x = tiny(), torch.rand(1, 3, 64, 96)
    before, _ = network.tokens(x)
    x[:, :, 32:, 64:] = 1 - x[:, :, 32:, 64:]
    after, _ = network.tokens(x)
    assert ((before != after).any(2)[0]).tolist() == [False] * 5 + [True]


def test_the_pyramid_keeps_the_aspect() -> None:
    sizes = [tuple(level.shape[2:]) for level in tiny().pyramid(torch.zeros(1, 3, 128, 96))]
    assert sizes == [(224, 168), (384, 288), (128, 96)]


def test_a_distribution_of_marks_becomes_its_mean() -> None:
    network, x = tiny(10), torch.rand(1, 3, 64, 64)
    marks = []
    network.head.register_forward_hook(lambda _m, _i, out: marks.append(out[0]))  # type: ignore[func-returns-value]
    with torch.no_grad():
        score = float(network(x))
    weights = torch.softmax(marks[0], 0)
    assert score == pytest.approx(float(sum(w * (i + 1) for i, w in enumerate(weights))), rel=1e-5)


def test_the_judge_reads_public_names_and_scores_frames(weights: Path) -> None:
    network = tiny()
    save_file(network.state_dict(), weights / FILE)
    names = set(network.state_dict())
    assert "transformer_encoder.transformer.encoderblock_1.attention.query.weight" in names
    assert "transformer_encoder.posembed_input.position_emb" in names
    assert "block1.conv_proj.weight" in names
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)
    score = MusiqJudge().score(frames, frames[0], frames[0], "")["visual_quality"]
    with torch.no_grad():
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        assert score == pytest.approx(float(network(x).mean()) / 100, abs=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"PK\x03\x04 a pickled file")
    with pytest.raises(InputError, match="not MUSIQ weights"):
        load_musiq(tmp_path / "a.safetensors")
    state = tiny().state_dict()
    del state["embedding.bias"]
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"embedding\.bias"):
        load_musiq(tmp_path / "b.safetensors")
