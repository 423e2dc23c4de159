"""The training loop: exact resume, averaging, a stop at bad numbers; on a stage that fits a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from quickchange.train.config import StageConfig
from quickchange.train.loop import DivergedError, Stage, load_checkpoint, train
from quickchange.train.optim import rate_factor


class Line(Stage):
    name = "line"

    def __init__(self, steps: int = 12, broken_at: int | None = None, muon: float = 0.0) -> None:
        torch.manual_seed(0)
        config = StageConfig(
            steps=steps, batch=4, learning_rate=0.1, muon=muon, warmup=2, save_every=5, sample_every=100
        )
        model = nn.Module()
        model.blocks = nn.ModuleList([nn.Linear(3, 3)])
        super().__init__(config, {"model": model})
        self.model, self.broken_at, self.exported = model.blocks[0], broken_at, 0

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(4, 3, generator=generator) + torch.rand(())
        loss = (self.model(x) - x.flip(1)).square().mean()
        return {"loss": loss * float("nan") if step == self.broken_at else loss}

    def sample(self, path: Path) -> None:
        path.write_text("a picture")

    def finish(self) -> None:
        self.exported += 1


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("muon", [0.0, 0.05])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, muon: float) -> None:
    straight = Line(muon=muon)
    assert train(straight, tmp_path / "a")
    # Stops after every step: each call resumes from disk in a new stage, as after a crash.
    done, last = False, Line(muon=muon)
    while not done:
        last = Line(muon=muon)
        done = train(last, tmp_path / "b", minutes=0)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert torch.equal(straight.model.weight, last.model.weight)
    for key, value in straight.average.weights.items():
        assert torch.equal(value, last.average.weights[key])
    assert straight.exported == last.exported == 1


def test_steps_after_the_last_checkpoint_are_made_again(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="step 7"):
        train(Line(broken_at=7), tmp_path / "b")
    assert load_checkpoint(Line(), tmp_path / "b" / "checkpoint.safetensors") == 5
    train(Line(), tmp_path / "b")
    train(Line(), tmp_path / "a")
    assert curve(tmp_path / "b") == curve(tmp_path / "a")


def test_a_finished_run_leaves_pictures_and_nothing_temporary(tmp_path: Path) -> None:
    train(Line(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "checkpoint.safetensors",
        "metrics.jsonl",
        "curves.png",
        "sample-000012.png",
    }


def test_fresh_ignores_what_is_there(tmp_path: Path) -> None:
    train(Line(steps=3), tmp_path)
    train(Line(), tmp_path, fresh=True)
    assert [row["step"] for row in curve(tmp_path)] == list(range(1, 13))


def test_a_checkpoint_of_another_stage_is_refused(tmp_path: Path) -> None:
    train(Line(steps=1), tmp_path)
    other = Line()
    other.name = "circle"
    with pytest.raises(ValueError, match="circle"):
        train(other, tmp_path)


def test_training_fits_the_line(tmp_path: Path) -> None:
    stage = Line(steps=150)
    train(stage, tmp_path)
    rows = curve(tmp_path)
    assert rows[-1]["loss"] < 0.1 * rows[0]["loss"]


def test_rates_warm_up_hold_and_decay() -> None:
    config = StageConfig(steps=100, batch=1, learning_rate=1.0, warmup=10, decay=0.5)
    factors = [rate_factor(step, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert min(factors) > 0
