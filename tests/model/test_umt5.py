from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from quickchange.model.prompts import PromptEncoder
from quickchange.model.umt5 import TIED, UMT5Encoder, UMT5EncoderConfig, distance_buckets

MINI = Path(__file__).parents[2] / "models" / "mini"
SMALL = UMT5EncoderConfig(
    vocab_size=60,
    d_model=24,
    d_kv=12,
    d_ff=40,
    num_layers=2,
    num_heads=3,
    relative_attention_max_distance=20,
)
SHAPES = [(1, 1), (1, 5), (3, 7), (2, 31), (4, 70)]


def theirs(config: UMT5EncoderConfig = SMALL, dtype: torch.dtype = torch.float32) -> Any:
    """transformers' encoder with random weights, all of which matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = UMT5EncoderModel(UMT5Config(**asdict(config), dropout_rate=0.0)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype)


def copy_of(model: Any, config: UMT5EncoderConfig = SMALL) -> UMT5Encoder:
    return UMT5Encoder.from_state(config, {name: value.clone() for name, value in model.state_dict().items()})


def batch(prompts: int, tokens: int, *, padded: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    ids = torch.randint(0, SMALL.vocab_size, (prompts, tokens), generator=generator)
    lengths = torch.randint(1, tokens + 1, (prompts, 1), generator=generator)
    return ids, torch.arange(tokens) < (lengths if padded else torch.full_like(lengths, tokens))


def gradients(module: nn.Module, states: Tensor, mask: Tensor) -> dict[str, Tensor | None]:
    module.zero_grad()
    (states.float().pow(3) * mask[..., None]).sum().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("prompts", "tokens"), SHAPES)
def test_states_and_gradients_are_those_of_transformers_to_the_bit(prompts: int, tokens: int, padded: bool) -> None:
    model = theirs()
    ours, (ids, mask) = copy_of(model), batch(prompts, tokens, padded=padded)
    expected, states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, ours(ids, mask)
    assert torch.equal(states, expected)
    wanted, found = gradients(model, expected, mask), gradients(ours, states, mask)
    assert list(found) == list(wanted)  # optimisers and checkpoints go by order and name
    for name, gradient in found.items():
        assert gradient is not None, name
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-5, atol=1e-5, msg=name)
    with torch.no_grad():
        assert torch.equal(ours(ids, mask), model(input_ids=ids, attention_mask=mask.long()).last_hidden_state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("prompts", "tokens"), SHAPES)
def test_half_precision_is_close_to_transformers(prompts: int, tokens: int, dtype: torch.dtype) -> None:
    model = theirs(dtype=dtype)
    ids, mask = batch(prompts, tokens, padded=True)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        states = copy_of(model)(ids, mask)
    assert states.dtype == dtype
    torch.testing.assert_close(states, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_too_large_sums_stay_finite_as_in_transformers(dtype: torch.dtype) -> None:
    model = theirs(dtype=dtype)
    with torch.no_grad():
        for block in model.encoder.block:
            block.layer[1].DenseReluDense.wo.weight.mul_(3e4)
    ids, mask = batch(2, 9, padded=True)
    with torch.no_grad():
        states, expected = copy_of(model)(ids, mask), model(input_ids=ids, attention_mask=mask.long())
    assert states.isfinite().all()
    torch.testing.assert_close(states, expected.last_hidden_state, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 12), (32, 9), (8, 20), (4, 2)])
def test_distance_buckets_are_those_of_transformers(buckets: int, farthest: int) -> None:
    config = replace(SMALL, relative_attention_num_buckets=buckets, relative_attention_max_distance=farthest)
    attention = theirs(config).encoder.block[0].layer[0].SelfAttention
    place = torch.arange(200)
    expected = attention._relative_position_bucket(place[None] - place[:, None])
    found = distance_buckets(200, buckets, farthest)
    assert torch.equal(found, expected)
    assert (int(found.min()), int(found.max())) == (0, buckets - 1)


def test_a_saved_folder_is_read_by_transformers_and_by_us(tmp_path: Path) -> None:
    ours, (ids, mask) = copy_of(theirs()), batch(3, 7, padded=True)
    ours.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    model = UMT5EncoderModel.from_pretrained(tmp_path, local_files_only=True)
    again = UMT5Encoder.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = ours(ids, mask)
        assert torch.equal(model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, expected)
        assert torch.equal(again(ids, mask), expected)
    assert again.config == SMALL


@pytest.mark.parametrize("shard", ["50GB", "8KB"])
def test_a_folder_of_transformers_is_read_whole_or_in_shards(tmp_path: Path, shard: str) -> None:
    model, (ids, mask) = theirs(), batch(2, 5, padded=True)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors").is_file() == (shard == "50GB")
    states = UMT5Encoder.from_pretrained(tmp_path)(ids, mask)
    assert torch.equal(states, model(input_ids=ids, attention_mask=mask.long()).last_hidden_state)


def test_precision_of_loaded_weights(tmp_path: Path) -> None:
    copy_of(theirs()).save_pretrained(tmp_path)
    for dtype, wo in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        ours = UMT5Encoder.from_pretrained(tmp_path, dtype)
        model = UMT5EncoderModel.from_pretrained(tmp_path, dtype=dtype, local_files_only=True)
        kinds = {name: parameter.dtype for name, parameter in ours.named_parameters()}
        assert kinds == {name: parameter.dtype for name, parameter in model.named_parameters()}
        assert kinds["encoder.block.0.layer.1.DenseReluDense.wo.weight"] == wo


def test_the_embedding_may_have_either_name(tmp_path: Path) -> None:
    copy_of(theirs()).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    embedding = weights.pop("shared.weight")
    for names in ((TIED,), (TIED, "shared.weight")):
        stored = weights | {name: embedding.clone() for name in names}
        save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
        assert torch.equal(UMT5Encoder.from_pretrained(tmp_path).shared.weight, embedding)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    copy_of(theirs()).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model_type": "t5"}, "model_type of the text encoder is 't5'"),
        ({"feed_forward_proj": "relu"}, "feed_forward_proj is 'relu'"),
        ({"is_gated_act": False}, "is_gated_act of the text encoder is False"),
        ({"num_layers": 3}, "3 layers: 10 missing"),
        ({"num_layers": 1}, "10 unknown"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"relative_attention_num_buckets": 7}, "even number"),
        ({"relative_attention_max_distance": 8}, "more than the 8 distances"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=message):
            UMT5Encoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"d_model": 32}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        UMT5Encoder.from_pretrained(tmp_path)
    del config["d_kv"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"incomplete.*d_kv"):
        UMT5Encoder.from_pretrained(tmp_path)


def test_shards_outside_the_folder_are_refused(tmp_path: Path) -> None:
    copy_of(theirs()).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path.parent / "elsewhere.safetensors")
    with pytest.raises(FileNotFoundError, match="weights of the text encoder"):
        UMT5Encoder.from_pretrained(tmp_path)
    index = {"weight_map": {"shared.weight": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="same folder"):
        UMT5Encoder.from_pretrained(tmp_path)


def test_the_bundled_encoder_is_that_of_transformers() -> None:
    ours, model = (
        PromptEncoder.from_pretrained(MINI),
        UMT5EncoderModel.from_pretrained(MINI / "text_encoder", local_files_only=True),
    )
    tokens = ours.tokenize(["she turns to the left", "he waves", ""])
    with torch.no_grad():
        expected = model(input_ids=tokens.ids_BT, attention_mask=tokens.mask_BT.long()).last_hidden_state
        assert torch.equal(ours.module(*tokens), expected)


def test_loading_and_encoding_import_neither_transformers_nor_the_compiler() -> None:
    code = f"""
import sys
from quickchange.model.prompts import PromptEncoder
PromptEncoder.from_pretrained({str(MINI)!r}).encode(["she turns to the left"])
print([name for name in ("transformers", "torch._dynamo", "torch.distributed.tensor") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
