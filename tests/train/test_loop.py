"""The training loop: exact resume, averaging, a stop at bad numbers; on a stage that fits a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from quickchange.train.config import StageConfig
from quickchange.train.loop import DivergedError, Stage, load_checkpoint, train
from quickchange.train.optim import Average, rate_factor


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


def test_a_crash_that_cuts_a_line_does_not_stop_the_resume(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        train(Line(broken_at=7), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as out:
        out.write('{"step": 8, "lo')
    assert train(Line(), tmp_path)
    assert [row["step"] for row in curve(tmp_path)] == list(range(1, 13))


def test_a_bad_gradient_leaves_weights_and_checkpoint(tmp_path: Path) -> None:
    class Broken(Line):
        def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
            loss = super().losses(step, generator)["loss"]
            # finite loss, infinite gradient
            return {"loss": loss + (torch.sqrt(self.model.weight.sum() * 0) if step == 6 else 0)}

    stage = Broken()
    with pytest.raises(DivergedError, match="gradient_norm"):
        train(stage, tmp_path)
    assert torch.isfinite(stage.model.weight).all()
    assert load_checkpoint(Line(), tmp_path / "checkpoint.safetensors") == 5


def test_swapping_the_average_twice_changes_nothing_even_with_tied_weights() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    average = Average({"m": model}, 0.5)
    with torch.no_grad():
        model["a"].weight.add_(1)
    average.update(0)
    live = model["a"].weight.clone()
    held = {key: value.clone() for key, value in average.weights.items()}
    average.swap()
    assert not torch.equal(model["a"].weight, live)
    average.swap()
    assert torch.equal(model["a"].weight, live)
    assert all(torch.equal(held[key], value) for key, value in average.weights.items())
