"""What stages are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from quickchange.train.config import Recipe, read_recipe
from quickchange.train.inputs import Inputs, teacher_prompts
from quickchange.train.stages.dmd import DmdStage

CPU = torch.device("cpu")


@pytest.fixture
def recipe() -> Recipe:
    """The tiny recipe for the tiny model."""
    whole = read_recipe(Path(__file__).parents[2] / "configs" / "tiny.toml")
    return replace(whole, stream=tiny.components().stream)


def test_distillation_holds_one_text_encoder_where_none_was_trained(tmp_path: Path) -> None:
    parts = tiny.components()
    for name in ("teacher", "student"):
        parts.save_pretrained(tmp_path / name)
    assert teacher_prompts(tmp_path / "teacher", tmp_path / "student", parts.prompts) is parts.prompts
    with torch.no_grad():
        next(parts.prompts.module.parameters()).add_(1)
    parts.save_pretrained(tmp_path / "student")
    words = teacher_prompts(tmp_path / "teacher", tmp_path / "student", parts.prompts)
    assert words is not parts.prompts
    hidden = [encoder.encode(["she waves"]).hidden_BTE for encoder in (words, tiny.components().prompts)]
    assert torch.equal(*hidden)


@pytest.mark.parametrize(
    ("precision", "train_text", "dtype"),
    [("bf16", False, torch.bfloat16), ("bf16", True, torch.float32), ("fp32", False, torch.float32)],
)
def test_a_text_encoder_that_nobody_trains_takes_half_the_memory(
    tmp_path: Path, recipe: Recipe, precision: str, train_text: bool, dtype: torch.dtype
) -> None:
    parts = tiny.components()
    parts.save_pretrained(tmp_path)
    options = DmdStage.Options.from_dict({"train_text": train_text})
    config = replace(recipe.stages["dmd"], precision=precision, options=options)
    inputs = Inputs("dmd", tmp_path, tmp_path, tmp_path, CPU, None)
    vars(inputs).update(recipe=replace(recipe, stages={"dmd": config}), latents=(parts.codec, []))
    stored = inputs.stored(tmp_path)
    assert stored.prompts.dtype == dtype
    assert stored.transformer.dtype == torch.float32
