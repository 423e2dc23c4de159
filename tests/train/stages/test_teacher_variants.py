"""Variants of the teacher: what each may change, and that what it leaves behind is an ordinary model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiments.evidence.concat import ConcatTeacherStage, ConcatTransformer, concat_velocity

import tiny
from quickchange.data.latents import Latents, load_groups, save_latents
from quickchange.engine.components import Components
from quickchange.errors import ModelError
from quickchange.model import flow
from quickchange.model.attention import SequenceAttention
from quickchange.model.transformer import WanTransformer
from quickchange.train.config import StageConfig
from quickchange.train.loop import step_generator, train
from quickchange.train.sampling import bidirectional_velocity, make_rotary, roles_of, sample_teacher
from quickchange.train.stages.dmd import DmdStage
from quickchange.train.stages.sft import TeacherStage
from quickchange.train.stages.teacher_forcing import TeacherForcingStage
from quickchange.train.tuning import merged

CPU = torch.device("cpu")
FRAMES = 6
PROMPTS = [(f"she waves {i}", "a person in a room") for i in range(5)]


def latents(count: int = 5, height: int = 2, width: int = 3) -> Latents:
    generator = torch.Generator().manual_seed(0)
    video, reference, again, garment = (
        torch.randn(count, 4, frames, height, width, generator=generator).half() for frames in (FRAMES, 1, 1, 1)
    )
    return Latents(video, reference, again, garment, PROMPTS[:count])


def trainable(grid: tuple[int, int] | None = (2, 3), std: tuple[float, ...] | None = None) -> Components:
    parts = tiny.components()
    torch.manual_seed(1)
    parts.transformer = WanTransformer(replace(parts.transformer.config, grid=grid, channel_std=std))
    return parts


def teacher(
    parts: Components | None = None,
    data: Latents | list[Latents] | None = None,
    kind: type[TeacherStage] = TeacherStage,
    **options: object,
) -> TeacherStage:
    parts = parts or trainable()
    torch.manual_seed(2)
    config = StageConfig(
        steps=3,
        batch=2,
        learning_rate=1e-2,
        warmup=0,
        save_every=1,
        sample_every=9,
        options=kind.Options.from_dict(options),
    )
    return kind(parts, data or latents(), config, CPU, lambda _: None)


def moved(stage: TeacherStage, steps: int = 2) -> set[str]:
    """Names of parameters that steps change; of the text encoder under "text"."""
    everything = {
        f"{part}.{name}": p for part, module in stage.trained.items() for name, p in module.named_parameters()
    }
    before = {name: p.detach().clone() for name, p in everything.items()}
    for step in range(steps):
        stage.update(step, step_generator(0, step))
    return {name.removeprefix("transformer.") for name, p in everything.items() if not torch.equal(before[name], p)}


def predict(network: WanTransformer) -> torch.Tensor:
    rotary, parts = make_rotary(network, 2, 3, CPU), tiny.components()
    x = torch.randn(2, 4, FRAMES, 2, 3, generator=torch.Generator().manual_seed(3))
    data = latents()
    conditions = torch.cat([data.reference[:2], data.garment[:2]], 2).float()
    text = network.embed_text(parts.prompts.encode(["she waves", "he turns"])[0])
    with torch.no_grad():
        velocity = concat_velocity if isinstance(network, ConcatTransformer) else bidirectional_velocity
        return velocity(network, rotary, x, torch.tensor([0.3, 0.9]), conditions, text)


def test_attention_tuning_moves_projections_and_norms_of_attention_only() -> None:
    stage = teacher(tuning="attention")
    expected = {
        f"blocks.{i}.attn{j}.{name}"
        for i in range(2)
        for j in (1, 2)
        for name in (
            *(f"to_{x}.{kind}" for x in ("q", "k", "v", "out.0") for kind in ("weight", "bias")),
            *("norm_q.weight", "norm_k.weight"),
        )
    }
    assert moved(stage) == expected


def test_lora_moves_adapters_only_and_starts_as_no_change() -> None:
    plain = trainable()
    before = predict(plain.transformer)
    stage = teacher(plain, tuning="lora", lora_rank=3, lora_alpha=6)
    torch.testing.assert_close(predict(stage.model), before)
    names = moved(stage)
    assert len(names) == 2 * 2 * (4 + 4 + 2)  # A and B of every linear layer of two blocks
    assert all(re.fullmatch(r"blocks\.\d\.(attn[12]|ffn)\..*\.lora_[AB]\.default\.weight", name) for name in names)
    assert not torch.allclose(predict(stage.model), before, atol=1e-3)


def test_full_tuning_moves_nearly_everything() -> None:
    names = moved(teacher(drop=0.0))
    assert {"proj_out.weight", "patch_embedding.weight", "blocks.0.ffn.net.2.weight"} < names
    assert any(name.startswith("text.") for name in names)


def test_merged_adapters_are_an_ordinary_network_of_the_same_function() -> None:
    stage = teacher(trainable(std=(0.5, 1.0, 1.5, 2.0)), tuning="lora", lora_rank=3, lora_alpha=6)
    moved(stage)
    plain = merged(stage.model)
    assert set(plain.state_dict()) == set(trainable().transformer.state_dict())
    torch.testing.assert_close(predict(plain), predict(stage.model), atol=1e-5, rtol=1e-5)
    linear: Any = stage.model.get_submodule("blocks.1.ffn.net.2")
    a, b = (getattr(linear, name)["default"].weight.double() for name in ("lora_A", "lora_B"))
    expected = linear.base_layer.weight.double() + 6 / 3 * b @ a
    torch.testing.assert_close(
        plain.get_parameter("blocks.1.ffn.net.2.weight").double(), expected, atol=1e-6, rtol=1e-6
    )


def test_adapters_resume_average_and_export(tmp_path: Path) -> None:
    straight = teacher(tuning="lora", lora_rank=2)
    assert train(straight, tmp_path / "a")
    done, last, model = False, straight, tmp_path / "model"

    def save(parts: Components, network: Any) -> None:
        replace(parts, transformer=network).save_pretrained(model)

    while not done:  # a new stage resumes after every step
        parts = trainable()
        last = teacher(parts, tuning="lora", lora_rank=2)
        last.export = partial(save, parts)
        done = train(last, tmp_path / "b", minutes=0)
    assert [json.loads(line)["loss"] for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()] == [
        json.loads(line)["loss"] for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    ]
    a, b = straight.model.state_dict(), last.model.state_dict()
    assert any(".lora_A." in key for key in a)
    assert all(torch.equal(a[key], b[key]) for key in a)
    # What was exported is the averaged network, readable as any model is.
    last.average.swap()
    exported = Components.from_pretrained(tmp_path / "model").transformer
    torch.testing.assert_close(predict(exported), predict(last.model), atol=1e-5, rtol=1e-5)
    assert last.components.transformer is last.model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuning": "half"}, '"full" or "attention" or "lora"'),
        ({"tuning": "lora", "lora_rank": 0}, "rank"),
        ({"kind": ConcatTeacherStage, "tuning": "lora"}, "ConcatTransformer"),
        ({"conditioning": "cross"}, "unknown options"),
        ({"pairs": "both"}, '"mismatched" or "matched"'),
        ({"drop": 0.6, "drop_prompt": 0.5}, "sum to at most 1"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teacher(**options)


@pytest.mark.parametrize("std", [None, (0.5, 1.0, 1.5, 2.0)])
def test_a_concatenating_network_starts_blind_to_its_conditions(std: tuple[float, ...] | None) -> None:
    """With zeros for the new inputs it is the trained network on the video alone."""
    model = trainable(std=std).transformer
    wide = ConcatTransformer.from_in_context(model)
    assert wide.patch_embedding.weight.shape[1] == 12
    text = model.embed_text(tiny.components().prompts.encode(["she waves", "he turns"])[0])
    x = torch.randn(2, 4, FRAMES, 2, 3, generator=torch.Generator().manual_seed(3))
    attention = SequenceAttention(make_rotary(model, 2, 3, CPU), torch.arange(2, 2 + FRAMES))
    with torch.no_grad():
        time = model.embed_time(torch.tensor([300.0, 900.0])[:, None].expand(-1, FRAMES))
        alone = model(x, time, text, attention, roles_of(FRAMES, CPU)[2:])
    torch.testing.assert_close(predict(wide), alone, atol=1e-5, rtol=1e-5)


def test_a_concatenating_teacher_trains_learns_its_conditions_and_returns_from_disk(tmp_path: Path) -> None:
    parts = trainable(std=(0.5, 1.0, 1.5, 2.0))
    stage = teacher(parts, kind=ConcatTeacherStage, drop=0.0)
    assert isinstance(stage.model, ConcatTransformer)
    names = moved(stage)
    assert {"patch_embedding.weight", "blocks.1.attn1.to_q.weight"} < names
    assert stage.model.patch_embedding.weight[:, 4:].abs().max() > 0
    batch, level = stage.batch(0), torch.full((2,), 0.8)
    text = stage.text(batch.prompts)
    other = batch.conditions_BCFHW.clone()
    other[:, :, 1] += 1
    told = [stage.velocity(batch.video_BCFHW, level, c, text) for c in (batch.conditions_BCFHW, other)]
    assert not torch.allclose(told[0], told[1], atol=1e-3)
    parts.transformer = stage.model
    stage.export = lambda _: parts.save_pretrained(tmp_path)
    stage.finish()
    loaded = ConcatTransformer.from_pretrained(tmp_path / "transformer")
    assert torch.equal(predict(loaded), predict(stage.model))
    with pytest.raises(ModelError):  # and no stream is made of it
        Components.from_pretrained(tmp_path)
    stage.sample(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


class Straight(WanTransformer):
    """Knows the clip: goes from any noise straight to the garment, plus one for the heavier of two prompts."""

    quiet = 0.0

    def forward(self, x, time, text, attention, roles):  # type: ignore[no-untyped-def]
        told = x[:, :, 1:2].expand_as(x) + text.keys[0].abs().sum((1, 2, 3)).gt(self.quiet).view(-1, 1, 1, 1, 1)
        return (x - told) / time.level_BF[:, None, :, None, None].clamp_min(1e-6)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_walks_the_whole_path_and_extrapolates_from_no_conditions(guidance: float) -> None:
    """On a straight path Euler is exact, and what is told and free of conditions is known."""
    parts = trainable()
    network = Straight(parts.transformer.config)
    network.load_state_dict(parts.transformer.state_dict())
    with torch.no_grad():
        weights = [network.embed_text(parts.prompts.encode([p])[0]).keys[0].abs().sum() for p in ("", "she waves")]
    network.quiet = float(sum(weights)) / 2
    heavier = weights[1] > weights[0]  # which of the two prompts the network answers with one more
    data = latents()
    conditions = torch.cat([data.reference[:2], data.garment[:2]], 2).float()
    out = sample_teacher(
        network, parts, conditions, ["she waves"] * 2, frames=FRAMES, steps=5, guidance=guidance, seed=1
    )
    assert out.shape == (2, 4, FRAMES, 2, 3)
    told = conditions[:, :, 1:].expand_as(out) + float(heavier)
    free = torch.full_like(out, float(not heavier))
    torch.testing.assert_close(out, free + guidance * (told - free), atol=1e-3, rtol=1e-3)


def test_sampling_is_a_function_of_its_seed_and_refuses_what_does_not_fit() -> None:
    parts, data = trainable(), latents()
    conditions = torch.cat([data.reference[:2], data.garment[:2]], 2)
    make = lambda seed: sample_teacher(parts.transformer, parts, conditions, ["a", "b"], frames=3, steps=2, seed=seed)  # noqa: E731
    assert torch.equal(make(1), make(1))
    assert not torch.equal(make(1), make(2))
    with pytest.raises(ValueError, match="one prompt per clip"):
        sample_teacher(parts.transformer, parts, conditions, ["a"], frames=3)
    with pytest.raises(ValueError, match="at least 1"):
        sample_teacher(parts.transformer, parts, conditions, ["a", "b"], frames=3, steps=0)


def test_matched_references_are_the_first_frame_on_its_own() -> None:
    """A causal codec: the first latent of a clip is the encoding of its first frame alone."""
    codec = tiny.components().codec
    frames = torch.rand(2, 3, 9, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(codec.encode(frames)[:, :, :1], codec.encode(frames[:, :, :1]), atol=1e-5, rtol=1e-5)
    batch = teacher(pairs="matched", reencoded_share=1.0, reference_noise=0.0).batch(0)
    assert torch.equal(batch.conditions_BCFHW[:, :, 0], batch.video_BCFHW[:, :, 0])
    other = teacher(reencoded_share=1.0, reference_noise=0.0).batch(0)
    assert torch.equal(other.video_BCFHW, batch.video_BCFHW)
    assert not torch.equal(other.conditions_BCFHW[:, :, 0], other.video_BCFHW[:, :, 0])


def many(stage: TeacherStage) -> Iterator[tuple[bool, bool, bool]]:
    """(prompt dropped, garment dropped, caption with the static part) of many samples."""
    for step in range(400):
        batch = stage.batch(step)
        for prompt, garment in zip(batch.prompts, batch.conditions_BCFHW[:, :, 1], strict=True):
            yield prompt == "", not garment.any(), prompt.startswith("a person")


def test_drops_come_in_the_asked_shares() -> None:
    drawn = list(many(teacher(drop=0.1, drop_prompt=0.2, drop_garment=0.3)))
    share = {kind: np.mean([row[:2] == kind for row in drawn]) for kind in {row[:2] for row in drawn}}
    assert share == {
        (True, True): pytest.approx(0.1, abs=0.04),
        (True, False): pytest.approx(0.2, abs=0.04),
        (False, True): pytest.approx(0.3, abs=0.04),
        (False, False): pytest.approx(0.4, abs=0.04),
    }


def test_captions_are_mixed_for_the_teacher_and_full_in_distillation() -> None:
    mixed, full = teacher(drop=0.0), teacher(drop=0.0, static_share=1.0)
    shares = [np.mean([row[2] for row in many(stage)]) for stage in (mixed, full)]
    assert shares == [pytest.approx(0.3, abs=0.05), 1]
    assert [kind.Options().static_share for kind in (TeacherForcingStage, DmdStage)] == [1, 1]  # type: ignore[attr-defined]


def test_a_batch_is_of_one_size_and_sizes_come_in_proportion() -> None:
    groups = [latents(1, 4, 1), latents(4, 2, 3)]
    stage = teacher(trainable(grid=None), groups)
    drawn = [tuple(stage.batch(step).video_BCFHW.shape[3:]) for step in range(300)]
    assert drawn == [tuple(stage.batch(step).video_BCFHW.shape[3:]) for step in range(300)]
    assert np.mean([size == (4, 1) for size in drawn]) == pytest.approx(0.2, abs=0.07)
    losses = {drawn[step]: stage.update(step, step_generator(0, step))["loss"] for step in range(12)}
    assert set(losses) == {(4, 1), (2, 3)}
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("kind", [TeacherForcingStage, DmdStage])
def test_students_train_on_several_sizes(kind: Any) -> None:
    groups, parts = [latents(3, 4, 1), latents(3, 2, 3)], trainable(grid=None)
    config = StageConfig(steps=9, batch=1, learning_rate=1e-3, options=kind.Options())
    extra = [trainable(grid=None).transformer] if kind is DmdStage else []
    stage = kind(parts, *extra, groups, config, CPU, lambda _: None)
    seen = set()
    for step in range(5):
        seen.add(tuple(stage.batch(step).video_BCFHW.shape[3:]))
        assert torch.isfinite(stage.update(step, step_generator(0, step))["loss"])
    assert seen == {(4, 1), (2, 3)}


def test_groups_of_latents_survive_the_disk(tmp_path: Path) -> None:
    groups, path = [latents(2, 4, 1), latents(3, 2, 3)], tmp_path / "latents.safetensors"
    save_latents(groups, path, "here")
    for kept, loaded in zip(groups, load_groups(path), strict=True):
        assert loaded.prompts == kept.prompts
        assert all(
            torch.equal(getattr(kept, k), getattr(loaded, k))
            for k in ("video", "reference", "reference_reencoded", "garment")
        )


def test_the_loss_is_flow_matching_of_the_whole_clip() -> None:
    """Against the formula, with the stage's own draws repeated."""
    stage = teacher(drop=0.0)
    got = stage.losses(0, step_generator(0, 0))["loss"]
    generator, batch = step_generator(0, 0), stage.batch(0)
    video = batch.video_BCFHW
    level = torch.as_tensor(flow.warp(1 - torch.rand(2, generator=generator), stage.shift))
    noise = stage.gaussian_noise(tuple(video.shape), generator, CPU)
    at = level.view(-1, 1, 1, 1, 1)
    v = stage.velocity((1 - at) * video + at * noise, level, batch.conditions_BCFHW, stage.text(batch.prompts))
    expected = (v - (noise - video)).square().mean()
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=0)  # the stage computes in bfloat16
