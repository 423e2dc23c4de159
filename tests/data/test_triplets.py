"""Folders of real triplets: what becomes of good samples, and that every kind of bad one is named and left out."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import tiny
from quickchange.data.buckets import Size, make_buckets
from quickchange.data.latents import load_groups
from quickchange.data.triplets import BadSampleError, TripletFolder, encode_triplets, read_clip, resample
from quickchange.media.images import fit_garment
from quickchange.media.video import Mp4Writer
from quickchange.model.codec import LightCodec
from quickchange.train.config import Recipe, StageConfig, TextConfig, TripletConfig
from quickchange.train.run import run
from quickchange.train.source import SKIPPED, data_origin, encode_data, holds_triplets, load_pixels, open_triplets

CPU = torch.device("cpu")
BUCKETS = make_buckets(24, 16, (8, 8))
FRAMES = 9


def greys(count: int, width: int, height: int) -> NDArray[np.uint8]:
    """Frame k is grey of value 8 k, so that a decoded frame tells its number; its left third is dark."""
    video = np.repeat(np.arange(count, dtype=np.uint8) * 8, height * width * 3).reshape(count, height, width, 3).copy()
    video[:, :, : width // 3] //= 2
    return video


def write(
    folder: Path,
    name: str,
    *,
    width: int = 48,
    height: int = 32,
    count: int = 12,
    fps: float = 24,
    still: Size | None = None,
) -> None:
    """A good triplet, but for what is asked otherwise."""
    path = folder / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with Mp4Writer(path, width, height, fps) as writer:
        writer.write(greys(count, width, height))
    Image.fromarray(greys(1, *(still or Size(width, height)))[0]).save(folder / f"{name}_src.png")
    Image.new("RGB", (20, 60), (200, 30, 30)).save(folder / f"{name}_cloth.png")


def caption(folder: Path, *names: str) -> None:
    texts = {f"{name}.mp4": {"dynamic": f"{name} waves", "static": "a room"} for name in names}
    (folder / "captions.json").write_text(json.dumps(texts))


def open_folder(folder: Path, buckets: tuple[Size, ...] = BUCKETS) -> TripletFolder:
    return TripletFolder(folder, buckets, fps=24, frames=FRAMES, garment_box=(0.0, 0.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good samples of different shape, and one of every bad kind."""
    folder = tmp_path_factory.mktemp("triplets")
    good = ("wide", "more/tall")
    bad = (
        "no_src",
        "no_cloth",
        "no_video",
        "no_text",
        "blank_text",
        "unread",
        "cut",
        "short",
        "slow",
        "shape",
        "small",
    )
    for name in (*good, *bad, "bad_src"):
        write(folder, name)
    write(folder, "more/tall", width=32, height=48)
    (folder / "no_src_src.png").unlink()
    (folder / "no_cloth_cloth.png").unlink()
    (folder / "no_video.mp4").unlink()
    (folder / "unread.mp4").write_bytes(b"not a video")
    whole = (folder / "cut.mp4").read_bytes()  # the index is at the front, so the header still reads
    (folder / "cut.mp4").write_bytes(whole[: whole.index(b"mdat") + 40])
    (folder / "bad_src_src.png").write_bytes(b"not a picture")
    write(folder, "short", count=8)
    write(folder, "slow", fps=10)
    write(folder, "shape", still=Size(32, 48))
    write(folder, "small", width=12, height=8)
    caption(folder, *(n for n in (*good, *bad, "bad_src") if not n.endswith("_text")))
    texts = json.loads((folder / "captions.json").read_text())
    texts["blank_text.mp4"] = {"dynamic": " ", "static": "a room"}
    (folder / "captions.json").write_text(json.dumps(texts))
    return folder


def test_every_bad_sample_is_named_with_its_reason_and_left_out(mixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = open_folder(mixed)
    with caplog.at_level(logging.INFO):
        groups = encode_triplets(folder, tiny.components().codec, CPU)
    reasons = {problem.name: problem.reason for problem in folder.problems}
    expected = {
        "no_src": "no_src_src.png is missing",
        "no_cloth": "no_cloth_cloth.png is missing",
        "no_video": "no_video.mp4 is missing",
        "no_text": "no caption",
        "blank_text": "no caption",
        "unread": "cannot be read as a video",
        "cut": "damaged",
        "bad_src": "not an image",
        "short": "too short: 8 frames",
        "slow": "too slow",
        "shape": "expected the same shape",
        "small": "smaller than its bucket",
    }
    assert len(folder.problems) == len(expected) == len(reasons)
    for name, text in expected.items():
        assert text in reasons[name], name
        assert f"{name}: left out: {reasons[name]}" in caplog.text
    assert "2 triplets usable, 12 left out" in caplog.text
    assert sorted(t.name for t in folder.triplets) == ["more/tall", "wide"]
    assert {tuple(g.video.shape): g.prompts for g in groups} == {  # every good sample once, none twice
        (1, 4, 3, 2, 3): [("wide waves", "a room")],
        (1, 4, 3, 3, 2): [("more/tall waves", "a room")],
    }


def test_video_and_reference_are_cropped_alike_and_the_garment_is_padded(tmp_path: Path) -> None:
    write(tmp_path, "a", width=80, height=32)
    caption(tmp_path, "a")
    folder = open_folder(tmp_path, (Size(24, 16),))
    ((triplet, sample),) = list(folder)
    assert triplet.size == (24, 16)
    assert sample.video.shape == (FRAMES, 16, 24, 3)
    # 80x32 -> 40x16 -> columns 8 to 32 of it; the dark third ends at 13, so at 5 here, in both.
    last = sample.video[-1].astype(int).mean((0, 2))
    assert last[:4].max() < 0.7 * last[8:].min()
    still = np.array(Image.open(tmp_path / "a_src.png"))
    assert sample.reference.shape == (16, 24, 3)
    assert np.abs(sample.reference.astype(int) - sample.video[0]).max() < 12
    assert still.shape == (32, 80, 3)
    # the garment keeps its shape (1:3), touches top and bottom, and white is at both sides
    red = (sample.garment[..., 0].astype(int) - sample.garment[..., 1]) > 100
    assert red.any(1).all()
    assert np.flatnonzero(red.any(0)).tolist() == list(range(10, 15))
    assert (sample.garment[:, :9] == 255).all()


def test_garments_lie_where_streams_place_theirs(tmp_path: Path) -> None:
    write(tmp_path, "a", width=48, height=32)
    caption(tmp_path, "a")
    parts, whole = recipe(), open_folder(tmp_path, (Size(24, 16),))
    box = (0.0, 0.25, 0.5, 0.75)
    folder = open_triplets(replace(parts, stream=replace(parts.stream, garment_box=box)), tmp_path, 8)
    ((_, sample),) = list(folder)
    picture = np.array(Image.open(tmp_path / "a_cloth.png"))
    expected = fit_garment(picture, np.ones(picture.shape[:2], np.float32), 24, 16, box)
    assert np.array_equal(sample.garment, expected)
    assert (sample.garment[:, 12:] == 255).all()
    assert folder.origin() != whole.origin()


def test_frames_are_those_of_the_models_rate(tmp_path: Path) -> None:
    write(tmp_path, "a", width=24, height=16, count=30, fps=48)
    clip = read_clip(tmp_path / "a.mp4", Size(24, 16), 24, FRAMES)
    seen = clip[:, :, 16:].mean((1, 2, 3)) / 8
    assert np.abs(seen - np.arange(0, 2 * FRAMES, 2)).max() < 0.6


@given(st.lists(st.floats(0.01, 0.2), min_size=1, max_size=40), st.floats(5, 60), st.integers(1, 30), st.floats(-9, 9))
def test_resampling_takes_the_nearest_frame(steps: list[float], fps: float, frames: int, start: float) -> None:
    times = [start, *(start + np.cumsum(steps)).tolist()]
    end = times[-1] + (times[-1] - times[0]) / len(steps) / 2
    last = start + (frames - 1) / fps
    try:
        chosen = resample(times, fps, frames)
    except BadSampleError:
        assert last > end
        return
    assert last < end + 1e-5
    assert chosen == sorted(chosen)
    for k, index in enumerate(chosen):
        distances = [abs(t - start - k / fps) for t in times]
        assert distances[index] <= min(distances) + 1e-9


def test_a_video_without_frames_is_too_short() -> None:
    with pytest.raises(BadSampleError, match="no frames"):
        resample([], 24, 9)


def test_captions_may_lie_beside_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "clips", "case/a")
    caption(tmp_path, "case/a")
    assert [t.prompts for t in open_folder(tmp_path / "clips").triplets] == [("case/a waves", "a room")]


@pytest.mark.parametrize("text", ["[1, 2]", "{", '"x"'])
def test_captions_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "a")
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(ValueError, match=r"captions\.json"):
        open_folder(tmp_path)


def test_a_folder_without_a_usable_sample_says_why(tmp_path: Path) -> None:
    write(tmp_path, "a")
    with pytest.raises(ValueError, match=r"1 left out, e\.g\. a: no caption"):
        encode_triplets(open_folder(tmp_path), tiny.components().codec, CPU)


def recipe() -> Recipe:
    parts = tiny.components()
    stage = StageConfig(steps=1, batch=2, learning_rate=1e-3)
    assert isinstance(parts.codec, LightCodec)
    return Recipe(
        stream=parts.stream,
        codec=parts.codec.config,
        transformer=parts.transformer.config,
        text=TextConfig(),
        stages={"vae": stage, "sft": stage},
        triplets=TripletConfig(frames=FRAMES),
    )


def test_the_recipe_sets_sizes_and_what_was_left_out_is_written_down(mixed: Path, tmp_path: Path) -> None:
    codec = tiny.components().codec
    fixed = recipe()
    free = replace(fixed, transformer=replace(fixed.transformer, grid=None))
    assert holds_triplets(mixed)
    assert open_triplets(fixed, mixed, 8).buckets == (Size(24, 16),)
    assert set(open_triplets(free, mixed, 8).buckets) == set(BUCKETS)
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    assert data_origin(fixed, mixed, codec, weights) != data_origin(free, mixed, codec, weights)
    groups = encode_data(fixed, mixed, codec, CPU, tmp_path)
    assert [tuple(g.video.shape) for g in groups] == [(2, 4, 3, 2, 3)]
    assert len(json.loads((tmp_path / SKIPPED).read_text())) == 12
    pixels = load_pixels(fixed, mixed)
    assert pixels.video.shape == (2, FRAMES, 16, 24, 3)
    assert pixels.ids.shape == (2, FRAMES, 16, 24)


RECIPE = """
[stream]
width = 24
height = 16
[codec]
latent_channels = 4
spatial = 8
encoder_widths = [8, 8]
decoder_widths = [8, 8]
[text]
dim = 8
layers = 1
heads = 2
vocab = 300
max_tokens = 12
[transformer]
patch_size = [1, 1, 1]
num_attention_heads = 2
attention_head_dim = 12
freq_dim = 16
ffn_dim = 32
num_layers = 1
[triplets]
frames = 9
[stages.vae]
steps = 1
batch = 2
learning_rate = 1e-3
frames = 9
[stages.sft]
steps = 2
batch = 2
learning_rate = 1e-3
"""


def test_codec_and_teacher_train_on_a_folder_of_triplets(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    for stage in ("vae", "sft"):
        assert run(stage, tmp_path / "r.toml", mixed, tmp_path / "run")
    assert [len(group) for group in load_groups(tmp_path / "run" / "latents.safetensors")] == [1, 1]
    assert (tmp_path / "run" / "sft" / "model" / "model_index.json").is_file()
    (tmp_path / "r.toml").write_text(RECIPE + 'tuning = "lora"\n')
    with pytest.raises(ValueError, match="--init"):
        run("sft", tmp_path / "r.toml", mixed, tmp_path / "run")
