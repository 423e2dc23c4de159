"""The parser: shapes, decoding against a slow version, disk, learning, and the bundled weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quickchange.commands.loading import parser_folder
from quickchange.parsing.network import HEATMAP, WINDOW, ParserConfig, PersonParser, decode_places
from quickchange.parsing.reading import ATTRIBUTES

TINY = ParserConfig(widths=(8, 8, 12, 16), attribute_width=16)


def tiny() -> PersonParser:
    torch.manual_seed(0)
    return PersonParser(TINY)


def noise(t: int = 2, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (t, height, width, 3), dtype=np.uint8)


def slow_place(logits: NDArray[np.float64]) -> tuple[float, float]:
    """One heatmap, cell by cell."""
    rows, columns = logits.shape
    top = max(((logits[r, c], r, c) for r in range(rows) for c in range(columns)), key=lambda cell: cell[0])
    total = x = y = 0.0
    for r in range(rows):
        for c in range(columns):
            if abs(r - top[1]) <= WINDOW and abs(c - top[2]) <= WINDOW:
                weight = float(np.exp(logits[r, c] - top[0]))
                total, x, y = total + weight, x + weight * (c + 0.5), y + weight * (r + 0.5)
    return x / total * HEATMAP, y / total * HEATMAP


def test_decoding_equals_the_slow_version() -> None:
    logits = np.random.default_rng(1).normal(size=(2, 3, 6, 9)) * 3
    logits[0, 0, 0, 8] = 20  # a peak in the corner
    fast = decode_places(torch.from_numpy(logits)).numpy()
    slow = [[slow_place(logits[b, k]) for k in range(3)] for b in range(2)]
    np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_a_second_peak_far_away_does_not_pull() -> None:
    logits = torch.full((1, 1, 8, 20), -9.0)
    logits[0, 0, 4, 2], logits[0, 0, 4, 17] = 5.0, 4.9
    x, y = decode_places(logits)[0, 0].tolist()
    assert (x, y) == pytest.approx((2.5 * HEATMAP, 4.5 * HEATMAP), abs=0.05)


def test_a_reading_has_the_promised_forms() -> None:
    reading = tiny().read(noise(3), batch=2)
    assert reading.ids.shape == (3, 32, 48)
    assert reading.ids.dtype == np.uint8
    assert reading.confidence.dtype == reading.keypoints.dtype == np.float32
    assert 1 / 8 <= reading.confidence.min() <= reading.confidence.max() <= 1
    assert ((reading.keypoints[..., 2] >= 0) & (reading.keypoints[..., 2] <= 1)).all()
    assert (reading.keypoints[..., :2] <= [48, 32]).all()
    for name in ATTRIBUTES:
        np.testing.assert_allclose(reading.attributes[name].sum(1), 1, atol=1e-5)


def test_frames_are_read_one_by_one() -> None:
    parser, frames = tiny(), noise(5)
    whole, single = parser.read(frames), parser.read(frames[3:4])
    np.testing.assert_allclose(whole.keypoints[3], single.keypoints[0], atol=1e-3)
    np.testing.assert_allclose(whole.confidence[3], single.confidence[0], atol=1e-4)


@pytest.mark.parametrize(
    "frames", [noise(1, 20, 32), noise(1)[0], noise(1).astype(np.float32), noise(1)[..., :2], noise(1)[:0]]
)
def test_other_frames_are_refused(frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected"):
        tiny().read(frames)


def test_the_disk_keeps_half_precision(tmp_path: Path) -> None:
    parser = tiny()
    parser(torch.randn(4, 3, 32, 48))  # moves the running statistics
    parser.save_pretrained(tmp_path)
    loaded = PersonParser.from_pretrained(tmp_path)
    assert loaded.config == TINY
    rounded = {k: v.half().float() if v.is_floating_point() else v for k, v in parser.state_dict().items()}
    assert all(torch.equal(rounded[k], v) for k, v in loaded.state_dict().items())
    again = PersonParser(TINY)
    again.load_state_dict(rounded)
    assert np.array_equal(again.read(noise()).ids, loaded.read(noise()).ids)


@pytest.mark.parametrize(
    "text", ['{"widths": [8, 8, 12, 16]}', '{"_class_name": "QuickchangePersonParser", "depth": 3}']
)
def test_other_configs_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        PersonParser.from_pretrained(tmp_path)


def test_bad_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="expected four"):
        ParserConfig(widths=(8, 8, 8))  # type: ignore[arg-type]


def test_the_shipped_parser_is_small() -> None:
    weights = list(parser_folder(None).glob("*.safetensors"))
    assert len(weights) == 1
    assert weights[0].stat().st_size < 4e6
