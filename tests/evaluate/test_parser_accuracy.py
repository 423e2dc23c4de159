"""Accuracy measures on readings with a known right answer, and the bundled parser on a held-out clip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quickchange.commands.loading import parser_folder
from quickchange.errors import InputError
from quickchange.evaluate.parser_accuracy import label_iou, mean_interval, measure, recoded, score, summarise, table
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.model.codec import LightCodec, LightCodecConfig
from quickchange.parsing.network import ParserConfig, PersonParser
from quickchange.parsing.reading import ATTRIBUTES, Reading
from quickchange.parsing.truth import reading_of, reference_reading
from quickchange.world import Clip, Renderer, render_clip, sample_spec


@pytest.fixture(scope="module")
def clip() -> Clip:
    spec = sample_spec(held_out_seeds(2)[1], "easy")
    return render_clip(Renderer(96, 128), spec, frames=2, fps=4, both=True)


@pytest.fixture(scope="module")
def truth(clip: Clip) -> Reading:
    return reading_of(clip)


def test_truth_comes_from_the_clip(clip: Clip, truth: Reading) -> None:
    assert np.array_equal(truth.ids, clip.ids)
    assert np.array_equal(truth.keypoints[..., 2] == 1, clip.keypoints[..., 2] == 2)
    assert truth.summary()["kind"] == clip.spec.garment_a.kind
    second = reading_of(clip, second=True)
    assert clip.ids_b is not None
    assert np.array_equal(second.ids, clip.ids_b)
    assert second.summary()["neck"] == clip.spec.garment_b.neck
    assert reference_reading(clip).summary()["kind"] == clip.spec.garment_reference.kind
    with pytest.raises(ValueError, match="both=True"):
        reading_of(dataclasses.replace(clip, ids_b=None), second=True)


def test_the_truth_scores_one_and_shifted_readings_less(truth: Reading) -> None:
    best = score(truth, truth)
    assert set(best["iou"].values()) == {1.0}
    assert best["pck"]["all"] == best["visible"]["all"] == 1
    assert best["distance"]["all"] == 0
    assert set(best["attributes"].values()) == set(best["clip_attributes"].values()) == {1.0}
    beside = truth.keypoints + np.array([6, 0, 0], np.float32)
    moved = dataclasses.replace(truth, ids=np.roll(truth.ids, 6, 2), keypoints=beside)
    worse = score(moved, truth)
    assert worse["iou"]["upper"] < 0.9
    assert worse["distance"]["all"] == pytest.approx(6, abs=1e-3)
    assert worse["pck"]["all"] == 0  # more than a tenth of the torso, less than one of the silhouette
    assert worse["pck_silhouette"]["all"] == 1


def test_iou_by_hand() -> None:
    read, truth = np.array([[3, 3, 0, 0]], np.uint8), np.array([[3, 0, 0, 1]], np.uint8)
    assert label_iou(read, truth) == {"background": 1 / 3, "skin": 0.0, "upper": 0.5}


def test_labels_that_some_seeds_lack_are_averaged_over_the_others() -> None:
    part = {"iou": {"upper": 0.5}}, {"iou": {"upper": 0.7, "skirt": 0.2}}
    summary = summarise(part)["iou"]
    assert summary["upper"]["mean"] == pytest.approx(0.6)
    assert summary["skirt"] == {"mean": 0.2, "low": 0.2, "high": 0.2, "n": 1}


def test_intervals_hold_the_mean_and_narrow_with_more_seeds() -> None:
    values = np.random.default_rng(0).random(400)
    many, few = mean_interval(list(values)), mean_interval(list(values[:20]))
    assert many["low"] < many["mean"] < many["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]


def test_the_shipped_parser_reads_a_held_out_clip(clip: Clip, truth: Reading) -> None:
    parser = PersonParser.from_pretrained(parser_folder(None))
    found = score(parser.read(clip.frames), truth)
    assert min(found["iou"][name] for name in ("background", "skin", "hair", "upper")) > 0.8
    assert found["pck"]["all"] > 0.8
    noise = np.random.default_rng(0).integers(0, 256, clip.frames.shape, dtype=np.uint8)
    assert score(parser.read(noise), truth)["iou"].get("upper", 0) < 0.5
    assert sum(found["attributes"].values()) / len(ATTRIBUTES) > 0.7


def test_the_table_names_every_figure(truth: Reading) -> None:
    record: dict[str, object] = {name: summarise([score(truth, truth)]) for name in ("rendered", "codec")}
    text = table(record)
    assert "| iou upper | 1.000 (1.000-1.000) | 1.000 (1.000-1.000) |" in text
    assert text.count("attributes") == 2 * len(ATTRIBUTES)


def test_the_protocol_writes_what_it_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parser = PersonParser(ParserConfig(widths=(8, 8, 8, 8), attribute_width=8))
    codec = LightCodec(LightCodecConfig(latent_channels=4, spatial=8, encoder_widths=(8,), decoder_widths=(8,)))
    record = measure(parser, codec, tmp_path, count=1, width=32, height=48)
    written = json.loads((tmp_path / "accuracy.json").read_text())
    assert written == record
    assert written["seeds"] == held_out_seeds(1)
    assert written["frames_per_seed"] == 9
    assert written["codec"] != written["rendered"]
    assert Image.open(tmp_path / "overlays.png").size == (32 * 3 * 8, 48 * 3)


def test_recoding_keeps_the_form() -> None:
    codec = LightCodec(LightCodecConfig(latent_channels=4, spatial=8, encoder_widths=(8,), decoder_widths=(8,)))
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
    out = recoded(frames, codec)
    assert (out.shape, out.dtype) == (frames.shape, np.uint8)


def test_a_missing_parser_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--parser"):
        parser_folder(tmp_path)
