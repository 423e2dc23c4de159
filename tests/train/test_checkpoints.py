"""Checkpoints and resume: same bits after any end of a process, retention, recipes that changed, damaged runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lines
from lines import Line, curve
from quickchange.errors import CheckpointError
from quickchange.train.checkpoints import changes, checkpoints, latest, load_checkpoint, metadata, save_checkpoint
from quickchange.train.loop import train


def run_until(folder: Path, number: int) -> int:
    """Starts the line as a process and sends a signal after its second checkpoint; returns the exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, lines.__file__, str(folder), "0.02"], env=environment)
    until = time.monotonic() + 120
    while latest(folder) is None or latest(folder).name < "checkpoint-000010":  # type: ignore[union-attr]
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(60)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert train(Line(steps=40, log_every=1), folder)
    return folder


def assert_same_end(folder: Path, unbroken: Path) -> None:
    assert curve(folder) == curve(unbroken)
    a, b = load_file(latest(folder)), load_file(latest(unbroken))  # type: ignore[arg-type]
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_a_killed_run_resumes_with_the_same_bits(tmp_path: Path, unbroken: Path, number: int, code: int | None) -> None:
    got = run_until(tmp_path, number)
    assert got == code if code is not None else got != 0
    done = int(metadata(latest(tmp_path))["step"])  # type: ignore[arg-type]
    assert 10 <= done < 40
    if number != signal.SIGKILL:  # the step was finished and saved
        assert curve(tmp_path)[-1]["step"] == done
    assert train(Line(steps=40, log_every=1), tmp_path)
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("muon", [0.0, 0.05])
def test_resuming_after_every_step_changes_nothing(tmp_path: Path, muon: float) -> None:
    assert train(Line(muon=muon), tmp_path / "a")
    while not train(Line(muon=muon), tmp_path / "b", minutes=0):
        pass
    assert_same_end(tmp_path / "b", tmp_path / "a")


def test_the_newest_are_kept(tmp_path: Path) -> None:
    train(Line(steps=12, save_every=2, keep=3), tmp_path)
    kept = [f"checkpoint-0000{number}.safetensors" for number in ("08", "10", "12")]
    assert [path.name for path in checkpoints(tmp_path)] == kept


def test_a_file_without_a_recipe_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint-000010.safetensors"
    save_file({}, file, {"step": "10", "stage": "line"})
    with pytest.raises(CheckpointError, match=r"checkpoint-000010.safetensors records no recipe; .*--fresh"):
        load_checkpoint(Line(), file)


def test_a_changed_recipe_is_refused_by_name_unless_fresh(tmp_path: Path) -> None:
    train(Line(steps=4), tmp_path)
    with pytest.raises(ValueError, match=r"stage.learning_rate: 0.1 -> 0.2.*--fresh"):
        train(Line(learning_rate=0.2), tmp_path)
    before = latest(tmp_path)
    assert before is not None
    train(Line(steps=4, learning_rate=0.2), tmp_path, fresh=True)
    assert load_checkpoint(Line(learning_rate=0.2), before) == 4


def test_more_steps_and_other_intervals_are_no_other_recipe(tmp_path: Path) -> None:
    train(Line(steps=4, decay=0.0), tmp_path)
    longer = Line(steps=12, decay=0.0, save_every=3, sample_every=6, log_every=4, keep=1)
    assert train(longer, tmp_path)
    straight = Line(steps=12, decay=0.0)
    train(straight, tmp_path / "straight")
    assert curve(tmp_path) == curve(tmp_path / "straight")


def test_what_counts_as_a_change() -> None:
    before = {"stage": {"steps": 3, "ema": 0.9, "options": {"tau": 0.2}}, "data": "a", "init": None}
    assert changes(before, before) == []
    options = {"tau": 0.2, "drop": 0.1}
    now = {"stage": {"steps": 9, "ema": 0.9, "newer": 1, "options": options}, "data": "b", "init": None}
    assert changes(before, now) == ["data: a -> b", "stage.options.drop: absent -> 0.1"]


def test_other_sizes_are_named(tmp_path: Path) -> None:
    path = save_checkpoint(Line(), 0, tmp_path)
    stage = Line()
    stage.trained["model"].blocks = torch.nn.ModuleList([torch.nn.Linear(3, 5)])
    with pytest.raises(ValueError, match=r"live.model.blocks.0.weight as \[3, 3\]; expected \[5, 3\]"):
        load_checkpoint(stage, path)
