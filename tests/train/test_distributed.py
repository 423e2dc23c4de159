"""Several processes, accumulated pieces and recomputed blocks give the run that one process gives at once.

Two gloo processes are started once, through torchrun; everything is compared with one process within float tolerance,
since sums are taken in another order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import shares
from lines import Line, curve
from quickchange.train import distributed
from quickchange.train.checkpoints import checkpoints
from quickchange.train.loop import train

STEPS = 2  # a checkpoint after each
NAMES = tuple(shares.OPTIONS)


class Runs(NamedTuple):
    """Folders with a folder for every stage: trained by one process, by two, begun by one and ended by two."""

    one: Path
    two: Path
    taken_over: Path


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shares.leave_out_curves(patch.setattr)
        yield


def begin(folder: Path, source: Path) -> None:
    """Makes ``folder`` a run that stopped where ``source``, a stage's finished run, was at its first checkpoint."""
    folder.mkdir(parents=True)
    shutil.copy(checkpoints(source)[0], folder)
    shutil.copy(source / "metrics.jsonl", folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("runs")
    made = Runs(root / "one", root / "two", root / "taken_over")
    for name in NAMES:
        assert train(shares.stage(name, made.one / name, STEPS), made.one / name)
        begin(made.taken_over / name, made.one / name)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", shares.__file__]
    command += [str(made.two), str(STEPS), str(made.taken_over), str(STEPS)]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    return made


def assert_same_curve(folder: Path, expected: Path) -> None:
    rows = curve(folder)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for row, right in zip(rows, curve(expected), strict=True):
        assert row == pytest.approx(right, rel=1e-3, abs=1e-6)


def assert_same_files(folder: Path, expected: Path) -> None:
    """Final weights and checkpoints: the same names, and values as near as float allows."""
    names = [path.relative_to(expected) for path in sorted(expected.rglob("*.safetensors"))]
    assert [path.relative_to(folder) for path in sorted(folder.rglob("*.safetensors"))] == names
    assert any(name.parts[0] == "model" for name in names)
    for name in names:
        a, b = load_file(folder / name), load_file(expected / name)
        assert a.keys() == b.keys()
        for key, value in a.items():
            near = torch.isclose(value.double(), b[key].double(), rtol=2e-3, atol=2e-5)
            assert near.all(), f"{name}: {key} differs in {(~near).sum()} of {near.numel()} places"


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_what_one_does(runs: Runs, name: str) -> None:
    assert_same_curve(runs.two / name, runs.one / name)
    assert_same_files(runs.two / name, runs.one / name)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_resume_what_one_began(runs: Runs, name: str) -> None:
    assert_same_curve(runs.taken_over / name, runs.one / name)
    assert_same_files(runs.taken_over / name, runs.one / name)


@pytest.mark.parametrize("name", NAMES)
def test_one_process_resumes_what_two_began(runs: Runs, name: str, tmp_path: Path) -> None:
    begin(tmp_path / name, runs.two / name)
    assert train(shares.stage(name, tmp_path / name, STEPS), tmp_path / name)
    assert_same_curve(tmp_path / name, runs.one / name)
    assert_same_files(tmp_path / name, runs.one / name)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_process_alone_writes(runs: Runs, name: str) -> None:
    """Any other process would have failed on the way (shares.py); here: nothing is there twice, or left over."""

    def kinds(folder: Path) -> list[str]:
        return sorted(p.name.partition(".tfevents")[0] for p in folder.iterdir())

    assert kinds(runs.two / name) == kinds(runs.one / name)


@pytest.mark.parametrize("name", ["sft", "tf", "dmd"])
@pytest.mark.parametrize("setting", [{"accumulate": 2}, {"checkpointing": True}], ids=str)
def test_pieces_and_recomputing_do_not_show(runs: Runs, name: str, setting: dict[str, int], tmp_path: Path) -> None:
    begin(tmp_path / name, runs.one / name)  # neither is another recipe
    assert train(shares.stage(name, tmp_path / name, STEPS, **setting), tmp_path / name)
    assert_same_curve(tmp_path / name, runs.one / name)
    assert_same_files(tmp_path / name, runs.one / name)


@pytest.mark.parametrize(("processes", "accumulate"), [(3, 1), (2, 4), (1, 3)])
def test_a_batch_that_cannot_be_divided_is_refused(
    monkeypatch: pytest.MonkeyPatch, processes: int, accumulate: int
) -> None:
    monkeypatch.setattr(distributed, "size", lambda: processes)
    with pytest.raises(ValueError, match=f"batch is 4; expected a multiple of .* = {processes} x {accumulate}"):
        Line(batch=4, accumulate=accumulate)


def test_a_stage_that_does_not_divide_its_batch_says_so() -> None:
    class Whole(Line):
        divides = False

    with pytest.raises(ValueError, match="train it in one process with accumulate = 1"):
        Whole(accumulate=2)
