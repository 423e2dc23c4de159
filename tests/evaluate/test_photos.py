"""Garment photos on the person, measured on a tiny studio."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import tiny
from quickchange.errors import InputError
from quickchange.evaluate.photos import NOTHING_WORN, Garment, PhotoResult, photo_paths, prepare, run, score, table
from quickchange.evaluate.scorecard.metrics.base import Shot
from quickchange.parsing.reading import ATTRIBUTES, LABELS, Reading

UPPER = LABELS.index("upper")


def reading(frames: np.ndarray, worn: bool = True) -> Reading:  # type: ignore[type-arg]
    ids = np.zeros(frames.shape[:3], np.uint8)
    if worn:
        ids[:, 2:14, 4:20] = UPPER
    attributes = {name: np.eye(len(names), dtype=np.float32)[[0] * len(frames)] for name, names in ATTRIBUTES.items()}
    return Reading(ids, np.ones(ids.shape, np.float32), np.zeros((len(frames), 17, 3), np.float32), attributes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("tee-0", (200, 30, 40)), ("tee-1", (30, 60, 200)), ("shoe-0", (90, 90, 90))):  # on white
        picture = np.full((60, 48, 3), 255, np.uint8)
        picture[12:50, 8:40] = colour
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def garments(folder: Path) -> list[Garment]:
    return [prepare(tiny.studio(), path) for path in photo_paths(folder, ["tee"])]


def test_pictures_are_found_by_kind(folder: Path) -> None:
    assert [path.stem for path in photo_paths(folder)] == ["shoe-0", "tee-0", "tee-1"]
    assert [path.stem for path in photo_paths(folder, ["tee"])] == ["tee-0", "tee-1"]
    with pytest.raises(InputError, match="begins with hat"):
        photo_paths(folder, ["hat"])
    with pytest.raises(InputError, match="has no picture"):
        photo_paths(folder / "nowhere")


def test_worn_as_shown_is_ideal_and_the_other_photo_is_not(folder: Path) -> None:
    red, blue = garments(folder)
    worn = np.full((6, tiny.HEIGHT, tiny.WIDTH, 3), 255, np.uint8)
    worn[:, 2:14, 4:20] = (200, 30, 40)
    shot = Shot(worn, reading(worn))
    right, wrong = score(red, [red, blue], shot, 1), score(blue, [red, blue], shot, 1)
    assert right.colour < 3
    assert (right.nearest, wrong.nearest) == (1, 0)
    assert wrong.colour > 30
    assert right.detail > 0.8


def test_one_photo_alone_has_no_others_to_be_nearer_than(folder: Path) -> None:
    red, _ = garments(folder)
    worn = np.full((4, tiny.HEIGHT, tiny.WIDTH, 3), 200, np.uint8)
    assert np.isnan(score(red, [red], Shot(worn, reading(worn)), 1).nearest)


def test_a_white_garment_is_seen(tmp_path: Path) -> None:
    picture = np.full((60, 48, 3), 120, np.uint8)
    picture[12:50, 8:40] = 252
    Image.fromarray(picture).save(tmp_path / "tee-9.png")
    found = prepare(tiny.studio(), tmp_path / "tee-9.png")
    assert found.colours[0][1][0] > 95  # L*


def test_a_frame_without_a_garment_is_the_worst(folder: Path) -> None:
    red, blue = garments(folder)
    bare = np.zeros((4, tiny.HEIGHT, tiny.WIDTH, 3), np.uint8)
    found = score(red, [red, blue], Shot(bare, reading(bare, worn=False)), 1)
    assert (found.colour, found.nearest, found.detail) == (NOTHING_WORN, 0, 0)


def test_the_protocol_writes_table_figures_and_picture(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run(tiny.studio(), reading, photo_paths(folder, ["tee"]), out, {"commit": "abc"}, people=2)
    record = json.loads((out / "photos.json").read_text())
    assert record["commit"] == "abc"
    assert [(r["photo"], r["seed"]) for r in record["results"]] == [
        (name, seed) for name in ("tee-0", "tee-1") for seed in record["seeds"]
    ]
    assert (out / "photos.md").read_text() == text
    assert text.splitlines()[2].startswith("| tee | 2 | ")
    picture = cv2.imread(str(out / "photos.png"))
    assert picture is not None
    assert picture.shape == (3 * tiny.HEIGHT, 2 * tiny.WIDTH, 3)


def test_the_table_averages_by_kind() -> None:
    figures = {"tee-0": (4.0, 1.0, 0.5), "tee-1": (8.0, 0.0, 0.7), "hat-0": (3.0, 1.0, 1.0)}
    rows = [PhotoResult(name, 1, *values) for name, values in figures.items()]
    lines = table(rows).splitlines()
    assert lines[2].startswith("| hat | 1 | 3.0 (3.0-3.0) | 1.00")
    assert lines[3].startswith("| tee | 2 | 6.0 (4.0-8.0) | 0.50")
    assert lines[4].startswith("| all | 3 | 5.0 ")
