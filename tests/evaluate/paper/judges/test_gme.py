"""GME with a tiny random Qwen2-VL, stored under the names of the public checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import NotMeasurableError, WeightsNotFoundError
from quickchange.evaluate.paper.judges.gme import FOLDER, GmeEmbedder, GmeJudge

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def write_model(folder: Path, drop: str = "") -> Qwen2VLForConditionalGeneration:
    """A model directory with weights named as Qwen2-VL's first releases named them: visual.*, model.*, no head."""
    words = ["[UNK]", "system", "user", "assistant", "You", "are", "a", "helpful", "red", "blue", "shirt", "Find", "an"]
    vocabulary = {word: i for i, word in enumerate([*words, *SPECIAL])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(SPECIAL))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, temporal_patch_size=2).save_pretrained(folder)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        },
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=vocabulary["<|image_pad|>"],
        vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"],
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config).eval()
    config.save_pretrained(folder)
    stored = {}
    for name, value in model.model.state_dict().items():
        kind, _, rest = name.partition(".")
        stored[f"visual.{rest}" if kind == "visual" else f"model.{rest}"] = value.contiguous()
    save_file({k: v for k, v in stored.items() if k != drop}, folder / "model.safetensors", {"format": "pt"})
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / FOLDER
    path.mkdir()
    write_model(path)
    return path


@pytest.fixture(scope="module")
def embedder(folder: Path) -> GmeEmbedder:
    return GmeEmbedder(folder, least=4, most=16)


def picture(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (56, 84, 3), dtype=np.uint8)


def test_texts_are_the_last_hidden_state_of_the_chat(embedder: GmeEmbedder, tmp_path: Path) -> None:
    reference = write_model(tmp_path)
    ids = embedder._ids("red shirt", "You are a helpful")
    marks = embedder.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert marks == [
        *("<|im_start|>", "system", "You", "are", "a", "helpful", "<|im_end|>"),
        *("<|im_start|>", "user", "red", "shirt", "<|im_end|>", "<|im_start|>", "assistant", "<|endoftext|>"),
    ]
    with torch.no_grad():
        hidden = reference(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
    torch.testing.assert_close(embedder.text("red shirt", "You are a helpful"), F.normalize(hidden, dim=0))


def test_images_have_one_token_for_every_28_pixels_squared(embedder: GmeEmbedder, tmp_path: Path) -> None:
    reference = write_model(tmp_path)
    seen = embedder.images(images=[picture(0)], return_tensors="pt")
    ids = embedder._ids("<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>", "You are a helpful assistant.")
    with torch.no_grad():
        hidden = reference(
            input_ids=ids,
            mm_token_type_ids=(ids == embedder.image_token).int(),
            output_hidden_states=True,
            **seen,
        ).hidden_states[-1][0, -1]
    torch.testing.assert_close(embedder.image(picture(0)), F.normalize(hidden, dim=0), atol=1e-5, rtol=1e-4)


def test_what_is_embedded_matters(embedder: GmeEmbedder) -> None:
    vectors = [
        embedder.text("red shirt"),
        embedder.text("blue shirt"),
        embedder.image(picture(0)),
        embedder.image(picture(1)),
    ]
    assert all(float(vector.norm()) == pytest.approx(1, abs=1e-5) for vector in vectors)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
    assert not torch.allclose(vectors[2], vectors[3], atol=1e-6)


def test_the_judge_averages_over_frames(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKCHANGE_WEIGHTS", str(folder.parent))
    judge = GmeJudge(most=2)
    frames = np.stack([picture(0), picture(2), picture(1)])
    score = judge.score(frames, frames[0], frames[0], "red shirt")["text"]
    text = judge.embedder.text("red shirt")
    expected = np.mean([float(judge.embedder.image(picture(i)) @ text) for i in (0, 1)])
    assert score == pytest.approx(expected, abs=1e-6)
    with pytest.raises(NotMeasurableError, match="prompt is empty"):
        judge.score(frames, frames[0], frames[0], " ")


def test_missing_or_partial_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKCHANGE_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match="Alibaba-NLP"):
        GmeJudge()
    write_model(tmp_path, drop="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(InputError, match=r"1 weights are missing, .*layers\.1\.mlp\.up_proj"):
        GmeEmbedder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not a Qwen2-VL model directory"):
        GmeEmbedder(tmp_path)
