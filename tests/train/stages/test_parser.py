"""The parser's stage: augmentation keeps pictures and truth together, and training learns what can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.fft import dctn
from torch import Tensor

from quickchange.data.parsing_frames import Frames, load_frames, pick_frames
from quickchange.model.codec import LightCodec, LightCodecConfig
from quickchange.parsing.augment import disturb, move, quantise, smear, soften
from quickchange.parsing.network import ParserConfig, ParserOutput, PersonParser, decode_places
from quickchange.parsing.reading import ATTRIBUTES, LABELS, MIRRORED
from quickchange.train.config import StageConfig, read_parser_recipe
from quickchange.train.loop import step_generator
from quickchange.train.run import run
from quickchange.train.stages.parser import LABEL_WEIGHTS, ParserStage, bumps, parser_losses
from quickchange.world import render_shards
from quickchange.world.shards import read_shard
from quickchange.world.split import held_out

CPU = torch.device("cpu")
FIRST = next(seed for seed in range(1000) if held_out(seed + 1))  # three seeds, the second of them held out
UPPER = LABELS.index("upper")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    render_shards(
        out, FIRST, 3, size=(16, 32), frames=13, processes=1, clips_per_shard=3, supersampling=1.0, quiet=True
    )
    return out


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(count: int = 24, size: int = 32) -> Frames:
    """A bright block on dark ground: its label, its middle as every keypoint, its colour as every attribute."""
    rng = np.random.default_rng(0)
    frames = np.full((count, size, size, 3), 40, np.uint8)
    ids, points = np.zeros((count, size, size), np.uint8), np.full((count, 17, 3), 2, np.float32)
    attributes = np.zeros((count, len(ATTRIBUTES)), np.int64)
    for i in range(count):
        y, x, red = *rng.integers(4, 16, 2), i % 2
        frames[i, y : y + 10, x : x + 10, 0 if red else 2] = 250
        ids[i, y : y + 10, x : x + 10], attributes[i] = UPPER, red
        points[i, :, :2] = x + 5, y + 5
    return Frames(frames, ids, points, attributes)


def stage(data: Frames, **settings: object) -> ParserStage:
    torch.manual_seed(0)
    parser = PersonParser(ParserConfig(widths=(8, 12, 16, 16), attribute_width=16))
    config = StageConfig(steps=60, batch=8, learning_rate=1e-2, warmup=5, ema=0.9, **settings)  # type: ignore[arg-type]
    return ParserStage(parser, data, config, CPU, lambda: None)


def test_training_learns_labels_places_and_attributes() -> None:
    data = shapes()
    learning = stage(data)
    for step in range(60):
        learning.update(step, step_generator(0, step))
    reading = learning.parser.read(data.frames)
    block, read = data.ids == UPPER, reading.mask("upper")
    assert (block & read).sum() / (block | read).sum() > 0.8
    assert np.abs(reading.keypoints[..., :2] - data.keypoints[..., :2]).mean() < 2
    assert reading.keypoints[..., 2].mean() > 0.8
    assert (reading.attributes["kind"].argmax(1) == data.attributes[:, 0]).mean() > 0.9


def test_a_step_is_a_function_of_seed_and_step() -> None:
    a, b = (stage(shapes()).update(3, step_generator(0, 3))["loss"] for _ in range(2))
    assert a == b != stage(shapes()).update(4, step_generator(0, 4))["loss"]


def test_precision_is_that_of_the_recipe() -> None:
    def loss(precision: str) -> Tensor:
        return stage(shapes(), precision=precision).losses(0, step_generator(0, 0))["loss"].detach()

    exact = stage(shapes())
    frames, *truth = exact.batch(0, step_generator(0, 0))
    plain = parser_losses(exact.parser.train()(frames), *truth)["loss"].detach()
    torch.testing.assert_close(loss("fp32"), plain, rtol=1e-6, atol=0)
    assert abs(loss("bf16") - plain) > 1e-5 * plain


def marked(count: int = 16) -> tuple[Tensor, Tensor, Tensor, NDArray[np.int64]]:
    """A green spot at the left wrist of every picture, and a label there."""
    frames, ids = torch.full((count, 3, 64, 48), -1.0), torch.zeros(count, 64, 48, dtype=torch.uint8)
    points = torch.zeros(count, 17, 3)
    place = np.random.default_rng(0).integers(12, 36, (count, 2))
    for i, (x, y) in enumerate(place):
        frames[i, 1, y - 1 : y + 2, x - 1 : x + 2] = 1
        ids[i, y - 1 : y + 2, x - 1 : x + 2] = UPPER
        points[i, 9] = torch.tensor([x + 0.5, y + 0.5, 2.0])
    return frames, ids, points, place


def test_moved_keypoints_stay_on_what_they_mark() -> None:
    frames, ids, points, _ = marked()
    moved, labels, keypoints = move(frames, ids, points, generator())
    sides = set()
    for i in range(len(moved)):
        side = 9 if keypoints[i, 9, 2] == 2 else 10
        sides.add(side)
        x, y = (int(v) for v in keypoints[i, side, :2])
        assert moved[i, 1, y, x] > 0
        assert labels[i, y, x] == UPPER
        assert keypoints[i, MIRRORED[side], 2] == 0
    assert sides == {9, 10}  # mirrored pictures swap left and right


def test_points_that_leave_the_picture_are_outside() -> None:
    points = torch.tensor([0.5, 0.5, 2.0]).repeat(64, 17, 1)
    _, _, moved = move(torch.zeros(64, 3, 32, 32), torch.zeros(64, 32, 32, dtype=torch.uint8), points, generator())
    inside = ((moved[..., :2] >= 0) & (moved[..., :2] < 32)).all(-1)
    assert 0 < inside.float().mean() < 1
    assert torch.equal(moved[..., 2] == 2, inside)


def test_quantising_rounds_cosine_coefficients() -> None:
    x = torch.rand(2, 3, 16, 24, generator=generator()) * 2 - 1
    step = torch.tensor([0.1, 0.3])
    out = quantise(x, step).numpy().astype(np.float64)
    growth = 1 + np.arange(8)[:, None] + np.arange(8)
    for b in range(2):
        coefficients = dctn(out[b, 1, 8:16, 16:24], norm="ortho") / (float(step[b]) * growth)
        np.testing.assert_allclose(coefficients, coefficients.round(), atol=1e-4)
    torch.testing.assert_close(quantise(x, torch.tensor([1e-6, 1e-6])), x, atol=1e-4, rtol=0)


def test_softening_and_smearing_keep_the_mean_and_lose_detail() -> None:
    x = torch.rand(1, 3, 32, 32, generator=generator())
    for effect in (soften, smear):
        assert effect(x).mean() == pytest.approx(float(x.mean()), abs=0.02)
        assert effect(x).std() < 0.7 * x.std()


def test_disturbed_pictures_differ_and_stay_in_range() -> None:
    x = torch.zeros(12, 3, 16, 16)
    out = disturb(x, generator())
    assert out.abs().max() <= 1
    assert len(out.mean((1, 2, 3)).unique()) == 12
    assert torch.equal(out, disturb(x, generator()))


def test_bumps_are_at_the_keypoints() -> None:
    points = torch.tensor([[[9.0, 21.0, 2.0], [30.0, 6.0, 2.0]]])
    target = bumps(points, 32, 48)
    torch.testing.assert_close(target.sum((2, 3)), torch.ones(1, 2))
    torch.testing.assert_close(decode_places(target.log()), points[..., :2], atol=0.5, rtol=0)


def output(places: Tensor) -> ParserOutput:
    attributes = {name: torch.zeros(1, len(classes)) for name, classes in ATTRIBUTES.items()}
    return ParserOutput(torch.zeros(1, 8, 16, 16), places, torch.zeros(1, 17), attributes)


def test_points_outside_do_not_count_and_hidden_ones_count_half() -> None:
    ids, attributes = torch.zeros(1, 16, 16, dtype=torch.uint8), torch.zeros(1, len(ATTRIBUTES), dtype=torch.int64)
    places = torch.randn(1, 17, 4, 4, generator=generator())
    points = torch.rand(1, 17, 3, generator=generator()) * 16

    def loss(visibility: list[float]) -> float:
        points[..., 2] = torch.tensor(visibility)
        return float(parser_losses(output(places), ids, points, attributes)["places"])

    first, second = loss([2.0] + [0.0] * 16), loss([0.0, 2.0] + [0.0] * 15)
    assert first != second
    assert loss([2.0, 1.0] + [0.0] * 15) == pytest.approx((first + second / 2) / 1.5, rel=1e-5)
    assert len(LABEL_WEIGHTS) == len(LABELS)


def test_picked_frames_come_with_their_own_truth(folder: Path) -> None:
    clip = next(read_shard(folder / "shard-000000.tar"))
    picked = pick_frames(clip, 4, None, 0.0, seed=1)
    assert np.array_equal(picked.frames[4], clip.reference)
    assert np.array_equal(picked.ids[4], clip.reference_ids)
    for i in range(4):
        t = next(t for t in range(13) if np.array_equal(picked.frames[i], clip.frames[t]))
        assert np.array_equal(picked.ids[i], clip.ids[t])
        assert np.array_equal(picked.keypoints[i], clip.keypoints[t])
    assert (picked.attributes[:4] == picked.attributes[0]).all()
    codec = LightCodec(LightCodecConfig(latent_channels=4, spatial=8, encoder_widths=(8,), decoder_widths=(8,)))
    coded = pick_frames(clip, 4, codec, 0.0, seed=1)
    rendered = [any(np.array_equal(frame, other) for other in clip.frames) for frame in coded.frames[:4]]
    assert rendered == [False, False, True, True]


def test_held_out_seeds_are_not_loaded(folder: Path) -> None:
    assert len(load_frames(folder, 2)) == 2 * 3  # two of three clips, two frames and the reference each


def test_the_stage_runs_from_a_recipe_to_a_parser(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    settings = "steps = 2\nbatch = 2\nlearning_rate = 1e-3\nframes = 2\n"
    recipe.write_text("[parser]\nwidths = [8, 8, 8, 8]\n[stages.parser]\n" + settings)
    assert run("parser", recipe, folder, tmp_path / "run")
    parser = PersonParser.from_pretrained(tmp_path / "run" / "parser" / "model")
    assert parser.config.widths == (8, 8, 8, 8)
    assert (tmp_path / "run" / "parser" / "metrics.jsonl").read_text().count("\n") == 2


def test_the_shipped_recipe_is_readable_and_bad_ones_are_named(tmp_path: Path) -> None:
    shipped, config = read_parser_recipe(Path(__file__).parents[3] / "configs" / "parser.toml")
    assert shipped == ParserConfig()
    assert config.steps > 100
    stage_table = "[stages.parser]\nsteps = 1\nbatch = 1\nlearning_rate = 1.0\n"
    (tmp_path / "b.toml").write_text("[parser]\ndepth = 3\n" + stage_table)
    with pytest.raises(ValueError, match="depth"):
        read_parser_recipe(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_text("[parser]\n")
    with pytest.raises(ValueError, match=r"stages\.parser"):
        read_parser_recipe(tmp_path / "c.toml")
