"""The runs of the evidence: recipes as TOML, what a tiny model makes, and a report from stored figures."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from experiments.evidence import measure
from experiments.evidence.figures import STREAM_FIGURES
from experiments.evidence.measure import FIGURES, clips_and_ends, stream_columns, teacher_clips
from experiments.evidence.run import report
from experiments.evidence.runs import CHUNKS, RUNS, STEPPED, as_toml

import tiny


def test_a_recipe_reads_back_as_it_was_written() -> None:
    tables = {"name": 'a "b"', "stages": {"sft": {"steps": 2, "rate": 1e-3, "on": True}, "tf": {"levels": [1.0, 0.5]}}}
    assert tomllib.loads(as_toml(tables)) == tables


def test_a_run_needs_only_runs_before_it() -> None:
    for place, wanted in enumerate(RUNS):
        earlier = {run.name for run in RUNS[:place]}
        assert {name for name, _ in wanted.parts} | ({wanted.init} if wanted.init else set()) <= earlier


def test_a_tiny_model_is_measured_on_held_out_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "SEEDS", 1)
    monkeypatch.setattr(measure, "CHUNKS", 2)
    measure.held_out_clips.cache_clear()
    parts = tiny.components()
    clips, ends = clips_and_ends(parts)
    assert [len(clip.frames) for clip in clips] == ends[-1:]
    made = teacher_clips(parts, parts.transformer, clips, parts.stream.chunk)
    assert [frames.shape for frames in made] == [(ends[0], tiny.HEIGHT, tiny.WIDTH, 3)]
    monkeypatch.setattr(measure, "stream_figures", lambda *_: [dict.fromkeys(STREAM_FIGURES, 1.0)] * 2)
    monkeypatch.setattr(measure, "clip_figures", lambda *_: {"garment": 2.0})
    found = stream_columns(parts, tmp_path / "sheet.png")
    assert found == {f"chunk-{i + 1}.{name}": [1.0] for i in range(2) for name in STREAM_FIGURES} | {"garment": [2.0]}
    assert (tmp_path / "sheet.png").is_file()
    measure.held_out_clips.cache_clear()


def test_the_report_joins_training_seeds_and_leaves_out_unfinished_runs(tmp_path: Path) -> None:
    columns = {f"chunk-{i}.{name}": [1.0, None] for i in (1, CHUNKS // 2, CHUNKS) for name in STREAM_FIGURES}
    for seed in (0, 1):
        folder = tmp_path / "runs" / f"seed-{seed}" / STEPPED
        folder.mkdir(parents=True)
        (folder / FIGURES).write_text(json.dumps(columns), encoding="utf-8")
    report(tmp_path / "runs", "mini", tmp_path)
    record = json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))
    assert list(record["runs"]) == [STEPPED]
    assert record["runs"][STEPPED]["chunk-1.garment"] == {"mean": 1, "low": 1, "high": 1, "n": 2}
    assert len(record["held_out_seeds"]) == len(np.unique(record["held_out_seeds"])) == 64
    assert f"| {STEPPED} | 2 | 1 (1 to 1) |" in (tmp_path / "evidence.md").read_text(encoding="utf-8")
