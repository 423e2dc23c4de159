"""The stages' losses on a random model: what they depend on, and what they must not."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

import tiny
from quickchange.data.latents import Clips, Latents, encode_clips, load_groups, mirror_text, save_latents
from quickchange.engine.components import Components
from quickchange.model import flow
from quickchange.model.codec import LightCodec
from quickchange.model.transformer import TextContext, TransformerConfig, WanTransformer
from quickchange.train.checkpoints import save_checkpoint
from quickchange.train.config import StageConfig, read_parser_recipe, read_recipe
from quickchange.train.loop import step_generator
from quickchange.train.optim import rate_factor
from quickchange.train.options import options_table
from quickchange.train.rewards import DetailReward, chunk_scores, chunk_weights
from quickchange.train.stage import Stage
from quickchange.train.stages.dmd import DmdStage
from quickchange.train.stages.latent import LatentStage
from quickchange.train.stages.sft import TeacherStage
from quickchange.train.stages.teacher_forcing import TeacherForcingStage
from quickchange.train.stages.vae import CodecStage, reconstruction_loss, start_from_components

CPU = torch.device("cpu")
FRAMES = 21  # six latents, two chunks


def clips(count: int = 4) -> Clips:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (count, FRAMES, tiny.HEIGHT, tiny.WIDTH, 3), dtype=np.uint8)
    stills = rng.integers(0, 256, (2, count, tiny.HEIGHT, tiny.WIDTH, 3), dtype=np.uint8)
    prompts = [("The person waves with the left hand.", "A man.")] * count
    return Clips(video, video[..., 0] % 4, stills[0], stills[1], prompts, list(range(count)))


@pytest.fixture(scope="module")
def latents() -> Latents:
    return encode_clips(clips(), tiny.components().codec, CPU)


def config(kind: type[Stage], **options: object) -> StageConfig:
    return StageConfig(steps=4, batch=2, learning_rate=1e-3, options=kind.Options.from_dict(options))


def trainable() -> Components:
    parts = tiny.components()
    parts.transformer.requires_grad_(True)
    return parts


def forcing(latents: Latents, **options: object) -> TeacherForcingStage:
    return TeacherForcingStage(trainable(), latents, config(TeacherForcingStage, **options), CPU, lambda _: None)


@pytest.mark.parametrize("kind", [TeacherStage, TeacherForcingStage])
def test_a_step_changes_network_and_text_encoder(latents: Latents, kind: type[LatentStage]) -> None:
    stage = kind(trainable(), latents, config(kind, drop=0.0), CPU, lambda _: None)
    before = {name: [p.detach().clone() for p in m.parameters()] for name, m in stage.trained.items()}
    values = stage.update(0, step_generator(0, 0))
    assert values["loss"] > 0
    for name, module in stage.trained.items():
        moved = [not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)]
        assert np.mean(moved) > 0.8, name


def test_a_step_is_a_function_of_seed_and_step(latents: Latents) -> None:
    a, b = (forcing(latents).update(3, step_generator(0, 3))["loss"] for _ in range(2))
    other = forcing(latents).update(4, step_generator(0, 4))["loss"]
    assert a == b != other


def test_mirrored_clips_have_mirrored_prompts(latents: Latents) -> None:
    assert len(latents) == 8
    assert latents.prompts[0][0] == "The person waves with the left hand."
    assert latents.prompts[4][0] == "The person waves with the right hand."
    assert mirror_text(mirror_text("left of the right one, bright")) == "left of the right one, bright"


def test_latents_survive_the_disk(latents: Latents, tmp_path: Path) -> None:
    save_latents(latents, tmp_path / "latents.safetensors")
    (loaded,) = load_groups(tmp_path / "latents.safetensors")
    assert loaded.prompts == latents.prompts
    assert torch.equal(loaded.reference_reencoded, latents.reference_reencoded)


def test_dropped_samples_lose_prompt_and_garment(latents: Latents) -> None:
    batch = forcing(latents, drop=1.0).batch(0)
    assert batch.prompts == ["", ""]
    assert batch.conditions_BCFHW[:, :, 1].abs().max() == 0
    assert batch.conditions_BCFHW[:, :, 0].abs().max() > 0


@pytest.mark.parametrize("chunks", [2, 5])  # 11 latent frames hold three chunks: the fourth outgrows them
def test_one_parallel_pass_equals_the_cached_rollout(latents: Latents, chunks: int) -> None:
    """What distillation differentiates is what the student streamed: the exit step of every chunk, recomputed in the
    teacher-forcing layout, gives the rollout's own clean estimates."""
    stage = forcing(latents, drop=0.0, reference_noise=0.0)
    batch = stage.batch(0)
    steps = 2
    with torch.no_grad():
        rollout = stage.make_rollout(2, torch.float32)
        rollout.say(stage.text(batch.prompts))
        rollout.conditions(batch.conditions_BCFHW[:, :, :1], batch.conditions_BCFHW[:, :, 1:])
        clean, noisy = [], []
        generator = torch.Generator().manual_seed(1)
        for _ in range(chunks):
            clean.append(rollout.chunk(generator, steps=steps).clone())
            noisy.append(rollout.last_input.clone())
        clip, x = torch.cat(clean, 2), torch.cat(noisy, 2)
        level = stage.components.stream.schedule().levels[steps - 1]
        v = stage.forcing_velocity(batch, clip, x, torch.full((2, 3 * chunks), level), 1, detach_history=True)
    torch.testing.assert_close(flow.to_x0(x, v, level), clip, atol=1e-4, rtol=1e-4)


def test_the_past_of_a_student_stores_nothing_for_the_backward_pass(latents: Latents) -> None:
    """Its keys and values come from a cache: stored activations would be memory for nothing."""
    stage = forcing(latents, drop=0.0)
    batch = stage.batch(0)
    video = batch.video_BCFHW
    levels = torch.full((2, video.shape[2]), 0.5)

    def stored(detach: bool) -> tuple[int, Tensor]:
        count = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal count
            count += tensor.numel() * (not isinstance(tensor, nn.Parameter))
            return tensor

        stage.model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            v = stage.forcing_velocity(batch, video, video, levels, 1, detach_history=detach)
        v.square().mean().backward()
        gradient = stage.model.get_parameter("blocks.0.attn1.to_q.weight").grad
        assert gradient is not None
        return count, v

    apart, joint = stored(True), stored(False)
    torch.testing.assert_close(apart[1], joint[1], atol=1e-5, rtol=1e-5)
    assert apart[0] < 0.75 * joint[0]


def distillation(latents: Latents, **options: object) -> DmdStage:
    parts = trainable()
    teacher = tiny.components().transformer
    return DmdStage(parts, teacher, latents, config(DmdStage, critic_ratio=1, **options), CPU, lambda _: None)


def test_the_reward_compares_with_a_clean_reference(latents: Latents) -> None:
    """With the noisy one, grain would be the target."""
    seen: list[Tensor] = []

    def reward(frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        seen.append(reference_BCHW)
        return frames_BCTHW.mean((1, 3, 4))

    noisy, clean = distillation(latents, reference_noise=0.9), distillation(latents, reference_noise=0.0)
    for stage in (noisy, clean):
        stage.reward = reward  # type: ignore[assignment]
        for step in range(4):
            batch = stage.batch(step)
            stage._scores(batch.video_BCFHW, batch)
    assert any(
        not torch.equal(noisy.batch(step).conditions_BCFHW, clean.batch(step).conditions_BCFHW) for step in range(4)
    )
    assert all(torch.equal(one, two) for one, two in zip(seen[:4], seen[4:], strict=True))


def test_equal_scores_give_no_gradient(latents: Latents) -> None:
    """The critic starts as the teacher: without guidance their difference, and so the student's loss, is zero."""
    stage = distillation(latents, guidance=1.0)
    assert stage.losses(0, step_generator(0, 0))["loss"] == 0


def test_a_distillation_step_moves_student_and_critic_but_not_the_teacher(latents: Latents) -> None:
    stage = distillation(latents, guidance=3.0)
    parts = {"student": stage.model, "critic": stage.critic, "teacher": stage.teacher}
    before = {name: module.proj_out.weight.detach().clone() for name, module in parts.items()}
    values = stage.update(0, step_generator(0, 0))
    moved = {name: not torch.equal(before[name], module.proj_out.weight) for name, module in parts.items()}
    assert moved == {"student": True, "critic": True, "teacher": False}
    assert values["critic_loss"] > 0


@pytest.mark.parametrize("chunks", [2, 3])
def test_the_students_gradient_is_fake_minus_real_weighted_by_chunk(
    latents: Latents, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With networks that answer with known clean clips: sign, guidance, normalisation and weights, window by window."""
    stage = distillation(latents, guidance=3.0, tau=0.5, chunks=chunks, drop=0.0)
    generator = torch.Generator().manual_seed(3)
    shape = (2, 4, 6, *latents.video.shape[3:])
    fake, told, free = (torch.randn(shape, generator=generator) for _ in range(3))
    student = torch.randn((2, 4, 3 * chunks, *shape[3:]), generator=generator, requires_grad=True)
    starts = []

    def score(network: object, x: torch.Tensor, level: torch.Tensor, conditions: torch.Tensor, *_: object) -> object:
        known = fake if network is stage.critic else told if conditions[:, :, 1].abs().max() > 0 else free
        return (x - known) / level.view(-1, 1, 1, 1, 1)

    def forced(batch: object, clip: object, noisy: torch.Tensor, levels: torch.Tensor, *_: object,
               **__: object) -> torch.Tensor:  # fmt: skip
        return (noisy - student) / levels[:, None, :, None, None]

    def start(*_: object) -> int:
        starts.append(0 if chunks == 2 else 3)
        return starts[-1]

    rewards = -torch.arange(1 + 4 * (3 * chunks - 1)).float().repeat(2, 1) / 10
    monkeypatch.setattr(stage, "bidirectional_velocity", score)
    monkeypatch.setattr(stage, "forcing_velocity", forced)
    monkeypatch.setattr(stage, "_window_start", start)
    monkeypatch.setattr(stage, "_scores", lambda *_: rewards)
    stage.losses(0, step_generator(0, 0))["loss"].backward()

    first = starts[0]
    x0 = student.detach()[:, :, first : first + 6].clone()
    if first:  # the window's first latent is not the student's
        x0[:, :, :1] = 0
    real = free + 3 * (told - free)
    weights = torch.softmax(-chunk_scores(rewards, 3, 4)[:, first // 3 :][:, :2] / 0.5, 1) * 2
    expected = (fake - real) * weights.repeat_interleave(3, 1)[:, None, :, None, None] / student[:, :, :6].numel()
    assert student.grad is not None
    got = student.grad[:, :, first : first + 6]
    assert weights[0, 1] > 1.5 * weights[0, 0]
    part = slice(1 if first else 0, None)
    ratio = (got / expected)[:, :, part]  # 1 / mean |x0 - real|, one number per clip
    assert ratio.min() > 0
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1, :1].expand_as(ratio), rtol=1e-3, atol=0)
    if not first:
        scale = (x0 - real).abs().mean((1, 2, 3, 4))
        torch.testing.assert_close(ratio[:, 0, 0, 0, 0], 1 / scale, rtol=1e-3, atol=0)
    assert student.grad[:, :, first + 6 :].abs().sum() == 0
    assert student.grad[:, :, : first + (1 if first else 0)].abs().sum() == 0


def test_teacher_and_critic_hear_the_words_as_they_learned_them(latents: Latents) -> None:
    parts, teacher, words = trainable(), tiny.components().transformer, tiny.components().prompts
    with torch.no_grad():
        for parameter in words.module.parameters():
            parameter.add_(0.3)
    stage = DmdStage(parts, teacher, latents, config(DmdStage, critic_ratio=1), CPU, lambda _: None, None, words)
    heard = stage._context(stage.teacher, ["she turns"])
    own = stage.teacher.embed_text(parts.prompts.encode(["she turns"])[0])
    taught = stage.teacher.embed_text(words.encode(["she turns"])[0])
    assert all(torch.equal(a, b) for a, b in zip(heard.values, taught.values, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(heard.values, own.values, strict=True))


def test_rollouts_longer_than_the_clips_are_judged_window_by_window(latents: Latents) -> None:
    stage = distillation(latents, guidance=2.0, chunks=4)
    assert latents.video.shape[2] == 6  # two chunks
    batch = stage.batch(0)
    with stage.autocast():
        clip, _ = stage.roll_out(batch, 1, torch.Generator().manual_seed(0))
    assert clip.shape[2] == 12
    starts = {stage._window_start(batch, torch.Generator().manual_seed(i)) for i in range(30)}
    assert starts == {0, 3, 6}
    anchor = stage._anchor(clip, 3)
    part, judged = stage._judged(clip, anchor, 3, batch)
    assert torch.equal(part[:, :, 1:], clip[:, :, 4:9])
    assert torch.equal(part[:, :, :1], judged.conditions_BCFHW[:, :, :1])  # the clip starts at its reference
    assert torch.equal(judged.conditions_BCFHW[:, :, 1], batch.conditions_BCFHW[:, :, 1])
    codec = stage.components.codec
    last = codec.decode(clip, codec.new_state())[:, :, 12]  # frame 4 n is the last of latent n
    torch.testing.assert_close(anchor, codec.encode(last[:, :, None].clamp(-1, 1)))
    for step in range(4):
        values = stage.update(step, step_generator(0, step))
        assert all(value.isfinite() for value in values.values())
    assert {f"reward_chunk_{i}" for i in range(4)} <= values.keys()
    with pytest.raises(ValueError, match="chunks is 1"):
        distillation(latents, chunks=1)


def test_every_stage_draws_its_samples(latents: Latents, tmp_path: Path) -> None:
    stages = [
        TeacherStage(trainable(), latents, config(TeacherStage), CPU, lambda _: None),
        forcing(latents),
        distillation(latents),
    ]
    for stage in stages:
        with torch.no_grad():
            stage.sample(tmp_path / f"{stage.name}.png")
        assert (tmp_path / f"{stage.name}.png").stat().st_size > 1000


def test_codec_starts_as_principal_components_and_learns() -> None:
    data, codec = clips(), tiny.components().codec
    assert isinstance(codec, LightCodec)
    codec.requires_grad_(True)
    start_from_components(codec, data)
    stage = CodecStage(codec, data, config(CodecStage, frames=9), CPU, lambda: None)
    last_layer = codec.encoder.refine[-1]
    assert isinstance(last_layer, nn.Conv2d)
    assert last_layer.weight.abs().max() == 0
    first = stage.update(0, step_generator(0, 0))["loss"]
    for step in range(1, 15):
        last = stage.update(step, step_generator(0, step))["loss"]
    assert last < first
    stage.finish()
    spread = encode_clips(data, codec, CPU).video.float().std((0, 2, 3, 4))
    assert len(codec.config.latents_mean) == 4
    assert spread.mean() == pytest.approx(1, abs=0.5)


def test_reconstruction_loss_minds_its_weights() -> None:
    target = torch.zeros(1, 3, 1, 4, 4)
    wrong_left = target.clone()
    wrong_left[..., 0] = 1
    heavy_left, heavy_right = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    heavy_left[..., 0], heavy_right[..., 3] = 5, 5
    assert reconstruction_loss(wrong_left, target, heavy_left) > reconstruction_loss(wrong_left, target, heavy_right)


@given(st.permutations([-3.0, -1.0, 0.0]), st.floats(0.1, 2.0))
def test_worse_chunks_weigh_more_and_weights_average_to_one(rewards: list[float], tau: float) -> None:
    scores = torch.tensor([rewards[i] for i in (0, *[0] * 8, *[1] * 12, *[2] * 12)])[None]
    weights = chunk_weights(chunk_scores(scores, 3, 4), tau)[0]
    assert weights.mean() == pytest.approx(1, abs=1e-4)
    assert weights.argsort(descending=True).tolist() == np.argsort(rewards).tolist()
    assert weights.max() / weights.sort().values[1] == pytest.approx(np.exp(2 / tau), rel=1e-3)


def test_detail_reward_is_best_at_the_reference() -> None:
    reference = torch.rand(1, 3, 16, 16)
    blurred = torch.nn.functional.avg_pool2d(reference, 3, 1, 1)
    grainy = reference + 0.5 * torch.randn(reference.shape)
    scores = DetailReward()(torch.stack([reference, blurred, grainy], 2), reference)[0]
    assert scores[0] == 0
    assert scores[1] < -0.1
    assert scores[2] < -0.1


def test_the_shipped_recipes_are_readable() -> None:
    folder = Path(__file__).parents[3] / "configs"
    for name in ("mini", "nano", "tiny"):
        assert set(read_recipe(folder / f"{name}.toml").stages) >= {"vae", "sft", "tf", "dmd"}, name
    for name in ("parser", "tiny"):
        read_parser_recipe(folder / f"{name}.toml")


def test_the_large_recipe_has_the_papers_numbers() -> None:
    recipe = read_recipe(Path(__file__).parents[3] / "configs" / "wan5b.toml")
    config = recipe.transformer
    assert config == TransformerConfig()  # Wan's own sizes
    assert (recipe.stream.width, recipe.stream.height, recipe.stream.window, recipe.stream.shift) == (704, 1280, 23, 5)
    assert recipe.stream.garment_box == (0, 0, 1, 1)
    assert (recipe.codec.latent_channels, recipe.text.dim, recipe.triplets.frames) == (48, 4096, 81)
    sft, tf, dmd = (recipe.stages[name] for name in ("sft", "tf", "dmd"))
    rates = [sft.learning_rate * rate_factor(step, sft) for step in (0, 199, 1099, 1100, 2299)]
    assert rates == pytest.approx([5e-8, 1e-5, 1e-5, 5e-6, 5e-6])
    assert (sft.steps, sft.batch, sft.betas, sft.weight_decay) == (2300, 64, (0.9, 0.999), 0.01)
    assert (tf.steps, tf.batch, tf.learning_rate, tf.betas) == (4000, 64, 1e-6, (0.0, 0.999))
    assert (dmd.steps, dmd.learning_rate, dmd.ema, dmd.ema_start) == (400, 2e-6, 0.99, 200)
    wanted = {"critic_rate": 4e-7, "critic_ratio": 5, "tau": 0.2, "reward": "aesthetic"}
    # uncond + 4 (cond - uncond) is the public cond + 3 (cond - uncond); only the text is left out.
    wanted |= {"guidance": 4.0, "guidance_free": "text", "static_share": 1.0}
    assert wanted.items() <= asdict(dmd.options).items()
    taught = {"drop": 0.0, "drop_prompt": 0.1, "level_weight": "bell", "static_share": 0.3}
    assert taught.items() <= asdict(sft.options).items()
    assert {"level_weight": "bell", "static_share": 1.0}.items() <= asdict(tf.options).items()
    assert [stage.clip for stage in (sft, tf, dmd)] == [1, 10, 10]
    assert dmd.ema_ramp is False
    for stage in (sft, tf, dmd):
        assert stage.batch % (8 * stage.accumulate) == 0
        options = asdict(stage.options)
        assert options["train_text"] is False
        assert options["caption_order"] == "dynamic-static"


def test_the_guide_names_every_setting() -> None:
    text = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    settings = {f.name for f in fields(StageConfig)} - {"options"}
    assert [name for name in sorted(settings) if f"`{name}`" not in text] == []
    assert options_table() in text, "run scripts/training_options.py"


@pytest.mark.parametrize("reason", ["train_text", "tuning", "distillation"])
def test_a_text_encoder_that_does_not_learn_stays_and_is_not_stored(
    latents: Latents, tmp_path: Path, reason: str
) -> None:
    if reason == "distillation":
        stage: LatentStage = distillation(latents, drop=0.0)
    else:
        options = {"train_text": False} if reason == "train_text" else {"tuning": "attention"}
        stage = TeacherStage(trainable(), latents, config(TeacherStage, drop=0.0, **options), CPU, lambda _: None)
    assert set(stage.trained) == {"transformer"}
    before = [p.clone() for p in stage.components.prompts.module.parameters()]
    stage.update(0, step_generator(0, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, stage.components.prompts.module.parameters(), strict=True))
    with safe_open(save_checkpoint(stage, 1, tmp_path), "pt") as stored:
        assert not any(".text." in name for name in stored.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no toml", "not valid TOML"),
        ("[stream]\nwidth = 16", r"\[codec\]"),
        ("[stream]\nwdth = 16\n[codec]\n[transformer]\n[text]\ndim = 8", "wdth"),
        (
            "[stream]\nwidth = 16\nheight = 16\n[codec]\n[transformer]\n[text]\n"
            "[stages.tf]\nsteps = 1\nbatch = 1\nlearning_rate = 1e-3\nhistroy_noise = 1",
            "histroy_noise",
        ),
        (
            "[stream]\nwidth = 16\nheight = 16\n[codec]\n[transformer]\n[text]\ndim = 8\n"
            "[stages.sft]\nsteps = 1\nbatch = 1\nlearning_rate = 1e-3\ndrop = 0.2\ntau = 0.2",
            r"\[stages\.sft\] has unknown settings \['tau'\]; expected some of .*'static_share', 'steps', 'train_text'",
        ),
    ],
)
def test_bad_recipes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


@pytest.mark.parametrize(
    ("free", "garment", "words"), [("both", False, "blurry"), ("garment", False, None), ("text", True, "blurry")]
)
def test_the_unconditional_branch_goes_without_what_the_option_says(
    latents: Latents, free: str, garment: bool, words: str | None
) -> None:
    """Public code leaves out the text alone, and puts a negative prompt in its place."""
    stage = distillation(latents, drop=0.0, guidance_free=free, negative_prompt="blurry")
    batch, asked = stage.batch(0), list[tuple[Tensor, list[str]]]()
    prompts: list[list[str]] = []
    context = stage._context

    def note(network: WanTransformer, words: list[str]) -> TextContext:
        prompts.append(words)
        return context(network, words)

    stage._context = note  # type: ignore[assignment]

    def velocity(network: nn.Module, x: Tensor, level: Tensor, conditions: Tensor, text: object) -> Tensor:
        asked.append((conditions, prompts[-1]))
        return torch.zeros_like(x)

    stage.bidirectional_velocity = velocity  # type: ignore[assignment, method-assign]
    stage._gradient(batch.video_BCFHW, batch, step_generator(0, 0))
    conditions, said = asked[-1]
    assert torch.equal(conditions[:, :, :1], batch.conditions_BCFHW[:, :, :1])
    assert torch.equal(conditions[:, :, 1:], batch.conditions_BCFHW[:, :, 1:]) == garment
    assert said == (batch.prompts if words is None else [words] * 2)


def test_captions_come_in_the_order_of_the_option(latents: Latents) -> None:
    said = [forcing(latents, drop=0.0, static_share=1.0, caption_order=o).batch(0).prompts[0] for o in
            ("static-dynamic", "dynamic-static")]  # fmt: skip
    assert said[0].startswith("A ")
    assert said[1].startswith("The person")
