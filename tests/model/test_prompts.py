from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, UMT5EncoderModel

from quickchange.errors import InputError, ModelError
from quickchange.model.prompts import PromptEncoder, clean

CORPUS = [
    "she turns to the left and raises an arm",
    "a woman walks towards the camera, smiling",
    "he sways and looks up; the camera moves in slowly",
] * 5


def tiny(seed: int = 0, max_tokens: int = 24) -> PromptEncoder:
    return PromptEncoder.create(CORPUS, dim=16, layers=1, heads=2, vocab=320, max_tokens=max_tokens, seed=seed)


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return tiny()


def test_shapes_mask_scale_and_zeroed_padding(encoder: PromptEncoder) -> None:
    hidden, mask = encoder.encode(["she turns to the left", ""])
    assert hidden.shape == (2, 24, 16)
    assert mask.dtype == torch.bool
    assert mask[1].sum() == 1  # the end of text alone
    assert (hidden[~mask] == 0).all()
    assert hidden[mask].square().mean() == pytest.approx(1, abs=0.1)


def test_states_do_not_depend_on_neighbours_in_the_batch(encoder: PromptEncoder) -> None:
    alone = encoder.encode(["he sways"]).hidden_BTE
    together = encoder.encode(["he sways", CORPUS[2]]).hidden_BTE[:1]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_case_width_and_white_space_do_not_matter(encoder: PromptEncoder) -> None:
    plain, odd = (encoder.tokenize([p]).ids_BT for p in ("she turns left", "  SHE\n turns\t ｌｅｆｔ "))
    assert torch.equal(plain, odd)


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=60)
def test_every_text_has_tokens(encoder: PromptEncoder, text: str) -> None:
    ids, mask = encoder.tokenize([text])
    assert 1 <= mask.sum() <= encoder.max_tokens
    assert ids.max() < len(encoder.tokenizer)
    assert ids[0, -1] == encoder.tokenizer.eos_token_id


def test_unknown_words_are_spelled_in_bytes(encoder: PromptEncoder) -> None:
    row = encoder.tokenize(["Zwölf 🩱!"]).ids_BT[0].tolist()
    assert encoder.tokenizer.decode(row).strip() == "zwölf 🩱!"


def test_known_words_are_short(encoder: PromptEncoder) -> None:
    assert encoder.tokenize(["she turns to the left"]).mask_BT.sum() < 15


def test_too_long_a_prompt_is_cut_with_a_warning(encoder: PromptEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ids, mask = encoder.tokenize(["xyz " * 30])
    assert ids.shape == (1, 24)
    assert mask.all()
    assert ids[0, -1] == encoder.tokenizer.eos_token_id
    assert "cut to the 24" in caplog.text


def test_round_trip_through_files(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    encoder.save_pretrained(tmp_path)  # overwrites
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text_encoder", "tokenizer"]
    again = PromptEncoder.from_pretrained(tmp_path)
    assert again.max_tokens == 24
    assert not any(p.requires_grad for p in again.module.parameters())
    torch.testing.assert_close(again.encode(CORPUS[:3]).hidden_BTE, encoder.encode(CORPUS[:3]).hidden_BTE)


def test_transformers_reads_what_was_saved(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
    module = UMT5EncoderModel.from_pretrained(tmp_path / "text_encoder", local_files_only=True)
    texts = ["she turns to the left", "Zwölf 🩱!", "", "</s> he <pad>", CORPUS[2]]
    ids, mask = encoder.tokenize(texts)
    read = tokenizer(texts, padding=True, return_tensors="pt")
    assert torch.equal(read["input_ids"], ids)
    assert torch.equal(read["attention_mask"], mask.long())
    with torch.no_grad():
        assert torch.equal(
            module(**read).last_hidden_state[mask], encoder.encode(texts).hidden_BTE[:, : ids.shape[1]][mask]
        )
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert (tokenizer.model_max_length, tokenizer.padding_side) == (24, "right")


def test_settings_of_a_tokenizer_are_kept_and_read_in_either_form(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings |= {"pad_token": {"__type": "AddedToken", "content": "<pad>"}, "extra": 7}
    del settings["model_max_length"]
    file.write_text(json.dumps(settings))
    again = PromptEncoder.from_pretrained(tmp_path)
    assert (again.tokenizer.pad_token_id, again.max_tokens) == (0, 512)
    again.save_pretrained(tmp_path)
    assert json.loads(file.read_text()) == settings


def test_an_older_tokenizer_is_converted(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    folder = tmp_path / "tokenizer"
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "she", "turns"]))
    settings = {"tokenizer_class": "BertTokenizer", "eos_token": "[SEP]", "model_max_length": 20}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    again = PromptEncoder.from_pretrained(tmp_path)
    assert again.tokenize(["she turns", ""]).ids_BT.tolist() == [[2, 5, 6, 3], [2, 3, 0, 0]]
    assert again.max_tokens == 20


def test_tokenizers_that_do_not_fit_are_refused(encoder: PromptEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    folder = tmp_path / "tokenizer"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for change, message in (
        ({"pad_token": "[PAD]"}, r"pad_token of the tokenizer is '\[PAD\]'"),
        ({"eos_token": "<pad>"}, r"ends a text with \[1\]; expected \[0\]"),
    ):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=message):
            PromptEncoder.from_pretrained(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as a tokenizer"):
        PromptEncoder.from_pretrained(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="tokenizer_config"):
        PromptEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("max_tokens", [2, 8, 9])
def test_very_short_limits(max_tokens: int) -> None:
    states = tiny(max_tokens=max_tokens).encode([CORPUS[0]]).hidden_BTE
    assert states.shape == (1, max_tokens, 16)
    assert states.isfinite().all()


def test_same_seed_same_encoder_and_global_seed_untouched(encoder: PromptEncoder) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again, other = tiny(), tiny(seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert again.tokenizer.backend.get_vocab() == encoder.tokenizer.backend.get_vocab()
    assert torch.equal(again.encode(["he"]).hidden_BTE, encoder.encode(["he"]).hidden_BTE)
    assert not torch.equal(other.encode(["he"]).hidden_BTE, encoder.encode(["he"]).hidden_BTE)


def test_forward_is_differentiable() -> None:
    encoder = tiny()
    encoder.forward(*encoder.tokenize(["she turns", "he"])).hidden_BTE.pow(3).sum().backward()
    assert all(p.grad is not None for p in encoder.module.parameters())


def test_dtype_moves(encoder: PromptEncoder) -> None:
    half = tiny().to(dtype=torch.bfloat16)
    hidden, mask = half.encode(["she turns"])
    assert (half.dtype, hidden.dtype, mask.dtype) == (torch.bfloat16, torch.bfloat16, torch.bool)
    assert encoder.encode(["a"]).to(dtype=torch.float64).hidden_BTE.dtype == torch.float64


def test_wrong_calls_say_what_is_wrong(encoder: PromptEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a list"):
        encoder.tokenize("a single string")
    with pytest.raises(InputError, match="at least one"):
        encoder.encode([])
    with pytest.raises(ValueError, match="T <= 24"):
        encoder.forward(torch.zeros(1, 25, dtype=torch.long), torch.ones(1, 25, dtype=torch.bool))
    with pytest.raises(FileNotFoundError, match="text_encoder"):
        PromptEncoder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="multiple of heads"):
        PromptEncoder.create(CORPUS, dim=10, heads=4)
    with pytest.raises(ValueError, match="at least 258"):
        PromptEncoder.create(CORPUS, vocab=100)


def test_clean() -> None:
    assert clean(" a\n\tb  \ud800c ") == "a b ?c"
