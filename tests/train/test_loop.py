"""The training loop: averaging, rates, pictures, a stop at bad numbers; on a stage that fits a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from lines import Line, curve
from quickchange.train.checkpoints import latest, load_checkpoint
from quickchange.train.config import StageConfig
from quickchange.train.loop import DivergedError, train
from quickchange.train.optim import Average, rate_factor


def newest(folder: Path) -> Path:
    found = latest(folder)
    assert found
    return found


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
    assert load_checkpoint(Line(), newest(tmp_path / "b")) == 5
    train(Line(), tmp_path / "b")
    train(Line(), tmp_path / "a")
    assert curve(tmp_path / "b") == curve(tmp_path / "a")


def test_a_finished_run_leaves_pictures_and_nothing_temporary(tmp_path: Path) -> None:
    train(Line(), tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert names - events == {
        "checkpoint-000010.safetensors",
        "checkpoint-000012.safetensors",
        "metrics.jsonl",
        "curves.png",
        "sample-000012.png",
    }


def test_fresh_ignores_what_is_there(tmp_path: Path) -> None:
    train(Line(steps=3), tmp_path)
    train(Line(), tmp_path, fresh=True)
    assert [row["step"] for row in curve(tmp_path)] == list(range(1, 13))


def test_a_checkpoint_past_the_last_step_is_refused_and_one_at_it_exports(tmp_path: Path) -> None:
    train(Line(), tmp_path)
    kept = curve(tmp_path)
    with pytest.raises(ValueError, match=r"at step 12, past steps = 11; set steps to at least 12, .* --fresh"):
        train(Line(steps=11), tmp_path)
    assert curve(tmp_path) == kept
    again = Line()
    assert train(again, tmp_path)
    assert again.exported == 1


def test_a_checkpoint_of_another_stage_is_refused(tmp_path: Path) -> None:
    train(Line(steps=1), tmp_path)
    other = Line()
    other.name = "circle"
    with pytest.raises(ValueError, match="circle"):
        train(other, tmp_path)


def test_training_fits_the_line(tmp_path: Path) -> None:
    stage = Line(steps=150, save_every=150)
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


@given(
    st.lists(st.tuples(st.integers(1, 300), st.floats(0.01, 4.0)), max_size=4, unique_by=lambda pair: pair[0]),
    st.integers(0, 40),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_milestones_scale_the_rate_from_their_step_on(
    pairs: list[tuple[int, float]], warmup: int, decay: float
) -> None:
    pairs = sorted(pairs)
    with_them, without = (
        StageConfig(steps=300, batch=1, learning_rate=1.0, warmup=warmup, decay=decay, milestones=tuple(milestones))
        for milestones in (pairs, [])
    )
    for step in range(300):
        expected = 1.0
        for start, factor in pairs:
            if start <= step:
                expected = factor
        assert rate_factor(step, with_them) == pytest.approx(expected * rate_factor(step, without))
        assert rate_factor(step, with_them) > 0


def test_the_papers_two_stage_decay() -> None:
    config = StageConfig(
        steps=2300,
        batch=64,
        learning_rate=1e-5,
        warmup=200,
        decay=0.0,
        milestones=[[1100, 0.5]],  # type: ignore[arg-type]
    )
    rates = [config.learning_rate * rate_factor(step, config) for step in (0, 99, 199, 1099, 1100, 2299)]
    assert rates == pytest.approx([5e-8, 5e-6, 1e-5, 1e-5, 5e-6, 5e-6])


def test_averaging_may_start_later() -> None:
    """Before ``ema_start`` the average is the live weights; then it lags behind, less and less than its decay."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average({"m": model}, 0.5, start=3)
    seen = []
    for step in range(6):
        with torch.no_grad():
            model.weight.add_(1)
        average.update(step)
        seen.append(average.weights["m.weight"].item())
    assert seen[:3] == [1, 2, 3]
    expected = 3.0
    for since, live in enumerate((4, 5, 6)):
        decay = min(0.5, (1 + since) / (10 + since))
        expected = decay * expected + (1 - decay) * live
        assert seen[3 + since] == pytest.approx(expected)


def test_events_hold_every_step_once_after_a_resume(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        train(Line(broken_at=8, log_every=1), tmp_path)  # steps 6 to 8 are logged, and made again after the resume
    train(Line(log_every=1, sample_every=6), tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"loss", "gradient_norm", "learning_rate", "clips_per_second"} <= set(events.Tags()["scalars"])
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert sorted(event.step for event in events.Scalars("loss")) == list(range(1, 13))
    assert losses == pytest.approx({row["step"]: row["loss"] for row in curve(tmp_path)})
    assert [image.step for image in events.Images("samples")] == [6, 12]


def test_a_bad_step_leaves_its_inputs(tmp_path: Path) -> None:
    class Recorded(Line):
        def debug_inputs(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
            return {"x": torch.full((2,), float(step))}, {"samples": [3, 1]}

    with pytest.raises(DivergedError, match=r"bad-000008\.safetensors.*resume from .*checkpoint-000005"):
        train(Recorded(broken_at=7), tmp_path)
    assert load_file(tmp_path / "bad-000008.safetensors")["x"].tolist() == [7, 7]
    facts = json.loads((tmp_path / "bad-000008.json").read_text())
    assert (facts["stage"], facts["step"], facts["samples"], facts["values"]["loss"]) == ("line", 7, [3, 1], "nan")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ema", 1.0),
        ("ema_start", -1),
        ("milestones", [[10, 0.5], [5, 0.1]]),
        ("milestones", [[10, 0.0]]),
        ("milestones", [10, 0.5]),
        ("precision", "fp16"),
        ("accumulate", 0),
        ("keep", 0),
    ],
)
def test_settings_out_of_range_are_named(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        StageConfig(steps=1, batch=1, learning_rate=1.0, **{setting: value})  # type: ignore[arg-type]


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
    assert load_checkpoint(Line(), newest(tmp_path)) == 5


def test_swapping_the_average_twice_changes_nothing_even_with_tied_weights() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.ModuleDict({"a": first, "b": second})
    second.weight = first.weight
    average = Average({"m": model}, 0.5)
    with torch.no_grad():
        first.weight.add_(1)
    average.update(0)
    live = first.weight.clone()
    held = {key: value.clone() for key, value in average.weights.items()}
    average.swap()
    assert not torch.equal(first.weight, live)
    average.swap()
    assert torch.equal(first.weight, live)
    assert all(torch.equal(held[key], value) for key, value in average.weights.items())


def test_noise_of_a_row_does_not_depend_on_the_division_of_the_batch() -> None:
    stage, cpu = Line(), torch.device("cpu")
    state = torch.Generator().manual_seed(3).get_state()

    def drawn(rows: slice, dim: int, shape: tuple[int, ...]) -> torch.Tensor:
        stage.rows = rows
        generator = torch.Generator()
        generator.set_state(state)
        return torch.stack([stage.gaussian_noise(shape, generator, cpu, dim) for _ in range(2)])

    whole = drawn(slice(0, 6), 0, (6, 40, 50))
    parts = [drawn(slice(first, first + 2), 0, (2, 40, 50)) for first in (0, 2, 4)]
    assert torch.equal(torch.cat(parts, 1), whole)
    assert whole.mean().abs() < 0.02
    assert whole.std() == pytest.approx(1, abs=0.02)
    between = torch.corrcoef(whole.flatten(0, 1).flatten(1))  # of all rows of both draws
    assert (between - torch.eye(12)).abs().max() < 0.1
    inner = drawn(slice(2, 4), 1, (3, 2, 5))
    assert inner.shape == (2, 3, 2, 5)


def test_every_step_reports_its_time(tmp_path: Path) -> None:
    times: list[float] = []
    assert train(Line(steps=3, pause=0.01), tmp_path, took=times.append)
    assert len(times) == 3
    assert min(times) >= 0.01


def test_the_averages_decay_may_be_constant() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = Average({"m": module}, 0.9, ramp=False)
    start = float(average.weights["m.weight"])
    with torch.no_grad():
        module.weight.fill_(start + 1)
    average.update(0)
    assert float(average.weights["m.weight"]) == pytest.approx(start + 0.1)


def test_gradients_are_clipped_at_the_setting() -> None:
    norms: list[float] = []

    def gradient_norm(stage: Line) -> float:
        return float(torch.nn.utils.get_total_norm([p.grad for p in stage.parameters if p.grad is not None]))

    for clip in (0.01, 10.0):
        stage = Line(steps=1, clip=clip)
        stage.optimizers[0].register_step_pre_hook(lambda *_, s=stage: norms.append(gradient_norm(s)))
        stage.update(0, torch.Generator().manual_seed(1))
    assert norms[0] == pytest.approx(0.01, rel=1e-3)
    assert 0.01 < norms[1] <= 10
