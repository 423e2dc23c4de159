"""HGC-Bench at tiny size: public layout and manifest, live switches, judges that answer, fail or are missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from quickchange.engine.studio import Studio
from quickchange.errors import InputError
from quickchange.evaluate.paper import hgc
from quickchange.evaluate.paper.hgc import HgcSample, as_table, read_samples, run_hgc, stream, summarise
from quickchange.evaluate.paper.judges import Judge, Metric, NotMeasurableError
from quickchange.evaluate.paper.judges.base import WEIGHTS_VARIABLE
from quickchange.evaluate.types import Frames


class Recorder(Judge):
    """Scores with the garment's mean; refuses dark garments."""

    name = "recorder"
    metrics = (Metric(name="identity", column="ID (Cur)", low=0, high=255, higher_is_better=True, source="here"),)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Frames, Frames, Frames, str]] = []

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        self.seen.append((frames, reference, garment, prompt))
        if garment.mean() < 10:
            raise NotMeasurableError("recorder: too dark")
        return {"identity": float(garment.mean())}


@pytest.fixture(scope="module")
def studio() -> Studio:
    return tiny.studio()


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((tiny.HEIGHT, tiny.WIDTH, 3), value, np.uint8)).save(path)


def public_layout(folder: Path, count: int = 3) -> Path:
    rows = []
    for i in range(count):
        write_image(folder / f"samples/{i}_src.png", 100 + i)
        write_image(folder / f"samples/{i}_cloth.png", 50 * i)
        caption = {"en_short": f"she waves {i}"} if i else {"en_short": ["she waves 0", "a room, a red shirt"]}
        rows.append([f"./HGC-Bench/samples/{i}_src.png", f"samples/{i}_cloth.png", json.dumps({"caption": caption})])
    with (folder / "meta_data.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["src_image", "cloth_image", "prompt"], *rows])
    return folder


def test_the_public_table_is_read(tmp_path: Path) -> None:
    samples = read_samples(public_layout(tmp_path))
    assert [sample.prompt for sample in samples] == ["she waves 0", "she waves 1", "she waves 2"]
    assert samples[1].reference == tmp_path / "samples/1_src.png"
    assert samples[1].garments == (tmp_path / "samples/1_cloth.png",)


def test_a_manifest_may_have_several_garments(tmp_path: Path) -> None:
    entry = {"id": "a", "reference": "p.png", "garments": ["x.png", "y.png"], "prompt": "turns"}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    [sample] = read_samples(tmp_path)
    assert sample == HgcSample("a", tmp_path / "p.png", (tmp_path / "x.png", tmp_path / "y.png"), "turns")


def manifest(**change: object) -> Callable[[Path], object]:
    entry = {"reference": "p.png", "garments": ["x.png"], "prompt": "", **change}
    return lambda folder: (folder / "manifest.json").write_text(json.dumps([entry]))


def table(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "meta_data.csv").write_text(text)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "neither meta_data.csv nor manifest.json"),
        (manifest(garments=[]), "at least one garment"),
        (manifest(reference="../p.png"), "leads out of the folder"),
        (manifest(reference="/etc/passwd"), "leads out of the folder"),
        (manifest(prompt=3), "prompt is 3"),
        (table("src_image,prompt\n"), "no column cloth_image"),
        (table("src_image,cloth_image,prompt\n"), "lists no sample"),
        (table("src_image,cloth_image,prompt\na.png,b.png,she waves\n"), "sample 0: prompt is not JSON"),
    ],
)
def test_folders_in_another_form_are_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=message):
        read_samples(tmp_path)


def test_every_garment_is_streamed_and_the_switch_is_live(studio: Studio, tmp_path: Path) -> None:
    for name, value in (("p", 90), ("x", 20), ("y", 230)):
        write_image(tmp_path / f"{name}.png", value)
    sample = HgcSample("a", tmp_path / "p.png", (tmp_path / "x.png", tmp_path / "y.png"), "")
    parts, seconds = stream(studio, sample, chunks=2)
    assert [len(part) for part in parts] == [21, 21]  # a segment of its own for each: 9 + 12 frames
    assert seconds > 0
    alone, _ = stream(studio, HgcSample("a", sample.reference, sample.garments[:1], ""), chunks=2)
    np.testing.assert_array_equal(parts[0], alone[0])
    with studio.open(sample.reference, sample.garments[0], "", hgc.SEED, cutout=False) as session:
        shown = [next(session) for _ in range(2)]
        session.wear(sample.garments[1], cutout=False)
        shown += [next(session)]
    np.testing.assert_array_equal(parts[1][:9], shown[-1].frames)


def test_a_run_scores_reports_what_is_missing_and_writes_both_files(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    judge, out = Recorder(), tmp_path / "out"
    record = run_hgc(studio, public_layout(tmp_path / "bench"), out, [judge, "musiq", "amplitude"], limit=2, chunks=1)
    assert len(judge.seen) == 2
    frames, reference, garment, prompt = judge.seen[1]
    assert frames.shape == (9, tiny.HEIGHT, tiny.WIDTH, 3)
    assert (reference.mean(), garment.mean(), prompt) == (101, 50, "she waves 1")
    assert record["metrics"]["identity"]["mean"] == 50  # of the one that could be judged
    assert record["metrics"]["identity"]["n"] == 1
    assert record["failed"] == {"recorder": {"0000": "recorder: too dark"}}
    assert record["metrics"]["amplitude"]["n"] == 2
    assert record["metrics"]["fps"]["mean"] > 0
    assert "visual_quality" not in record["metrics"]
    assert "get them from" in record["missing"]["musiq"]
    assert record["complete"] is False
    assert json.loads((out / "hgc.json").read_text()) == record
    text = (out / "hgc.md").read_text()
    assert "missing: musiq: weights not found" in text
    assert "2 of 240" in text


def test_several_garments_count_as_one_sample(studio: Studio, tmp_path: Path) -> None:
    for name, value in (("p", 90), ("x", 20), ("y", 230)):
        write_image(tmp_path / f"{name}.png", value)
    entry = {"reference": "p.png", "garments": ["x.png", "y.png"], "prompt": ""}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    record = run_hgc(studio, tmp_path, tmp_path / "out", [Recorder()], chunks=1)
    assert record["samples"][0]["scores"]["identity"] == 125
    assert record["metrics"]["identity"]["n"] == 1


def test_the_table_stands_beside_the_papers() -> None:
    metric = Recorder.metrics[0]
    rows = [{"id": str(i), "garments": 1, "scores": {"identity": 0.4 + 0.1 * i}, "failed": {}} for i in range(3)]
    record = summarise(rows, [metric], {"gme": "no weights"})
    lines = as_table(record).splitlines()
    assert lines[0].startswith("| method | ID (Cur) | text (GME) |")
    assert (
        "| FashionChameleon 5B | 0.4911 | 0.6839 | 0.7771 | 0.9969 | 0.7483 | 4.6833 | 3.925 | 4.7625 | 23.8 |" in lines
    )
    assert "| **this run** | 0.5 | - | - | - | - | - | - | - | - |" in lines
    low, high = (record["metrics"]["identity"][name] for name in ("ci_low", "ci_high"))
    assert low < 0.5 < high


def test_judges_are_named_on_the_command_line() -> None:
    assert hgc.parse_judges("musiq, vlm") == ("musiq", "vlm")
    assert len(hgc.parse_judges(None)) == 6
    with pytest.raises(InputError, match="lpips"):
        hgc.parse_judges("lpips")
