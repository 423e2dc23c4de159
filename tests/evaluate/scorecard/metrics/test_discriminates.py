"""Every metric on ground truth and on the fault that it must tell from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from quickchange.cli import main
from quickchange.evaluate.scorecard import calibrate
from quickchange.evaluate.scorecard.calibrate import Finding, Sample, Settings, as_markdown
from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS, Metric
from quickchange.evaluate.scorecard.metrics.base import distance_to_one
from quickchange.evaluate.scorecard.metrics.faults import BAD, BAD_SWITCHES

ALL: tuple[Metric[Any], ...] = (*METRICS, *SWITCH_METRICS)
NAMES = [metric.name for metric in ALL]
# (ideal, how far ground truth may be from it) where the range does not say so: people move, shades of a garment change.
IDEAL = {
    "psnr": (60.0, 0.0),
    "smoothness": (1.0, 0.08),
    "garment_colour": (0.0, 1.0),
    "colour_error": (0.0, 1.0),
    "frames_to_change": (1.0, 0.0),
    "pose_jump": (0.0, 0.01),
    "pose_step": (0.0, 0.01),
    "pose_ratio": (0.0, 2.0),
    "flicker": (0.0, 0.6),
}
DEFAULT = {"higher": (1.0, 0.001), "near 1": (1.0, 0.001), "lower": (0.0, 0.001)}


@pytest.mark.parametrize("name", NAMES)
def test_ground_truth_scores_near_the_ideal(findings: dict[str, Finding], name: str) -> None:
    ideal, within = IDEAL.get(name, DEFAULT[findings[name].metric.better])
    assert abs(findings[name].truth[0] - ideal) <= within


@pytest.mark.parametrize("name", NAMES)
def test_the_fault_scores_clearly_worse(findings: dict[str, Finding], name: str) -> None:
    metric, good, bad = findings[name].metric, findings[name].truth[0], findings[name].bad[0]
    assert metric.worse(bad, than=good)
    if metric.better == "higher":
        assert bad < 0.9 * good
    elif metric.better == "lower":
        assert bad > max(2 * good, 0.005)
    else:
        assert distance_to_one(bad) > math.log(1.5)


def test_names_are_unique_and_every_fault_is_known_and_used() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {metric.bad for metric in METRICS} <= BAD.keys()
    assert {metric.bad for metric in SWITCH_METRICS} == BAD_SWITCHES.keys()


@pytest.mark.parametrize(
    ("fault", "spared"),
    [("wrong garment", "preserve_hair"), ("shuffled", "garment_high"), ("frozen", "identity")],
)
def test_a_fault_leaves_other_metrics_alone(truths: list[Sample], fault: str, spared: str) -> None:
    [metric] = [metric for metric in METRICS if metric.name == spared]
    for sample in truths:
        assert metric.measure(sample.scene.case.showing(BAD[fault](sample.scene))) > 0.8


@pytest.mark.parametrize("fault", BAD)
def test_figures_stay_in_their_range(truths: list[Sample], fault: str) -> None:
    case = truths[0].scene.case.showing(BAD[fault](truths[0].scene))
    for metric in METRICS:
        low, high = {"0 or 1": (0.0, 1.0)}.get(metric.span) or _ends(metric.span)
        assert low <= metric.measure(case) <= high, metric.name


def _ends(span: str) -> tuple[float, float]:
    low, _, high = span.partition("..")
    return float(low), float(high or "inf")


def test_noise_is_worse_than_truth_in_all_but_a_few(truths: list[Sample]) -> None:
    case = truths[0].scene.case
    noise = case.showing(BAD["noise"](truths[0].scene))
    # The readings of noise are true ones here, so that what rests on them alone cannot see it.
    blind = {"garment_kind", "garment_sleeve", "garment_length", "garment_neck", "garment_pattern"}
    for metric in METRICS:
        if metric.name not in blind and not metric.name.startswith("prompt"):
            assert metric.worse(metric.measure(noise), than=metric.measure(case)), metric.name


def test_the_tables_name_every_metric_once(findings: dict[str, Finding], settings: Settings) -> None:
    text = as_markdown(list(findings.values()), settings, (96, 128))
    for name in NAMES:
        assert text.count(f"| `{name}`") == 1
    assert "2 held-out seeds" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_the_command_writes_them(truths: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "samples", lambda renderer, settings: iter(truths))
    assert main(["bench", "metrics", "--seeds", "2", "--out", str(tmp_path / "m.md")]) == 0
    text = (tmp_path / "m.md").read_text()
    assert "`quickchange bench metrics --seeds 2`" in text
    assert text.count("| `") == len(NAMES)


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--out", "nowhere/at/all.md"]])
def test_the_command_refuses_in_one_line(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "metrics", *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"before": 3}, {"first_chunk": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        Settings(**wrong)  # type: ignore[arg-type]
