"""Judges by name: a missing judge is named, with the way to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges import JUDGES, WeightsNotFoundError, judge_class, open_judges
from quickchange.evaluate.paper.judges.base import WEIGHTS_VARIABLE, spread_out, weights_path


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (WEIGHTS_VARIABLE, "QUICKCHANGE_VLM_URL", "QUICKCHANGE_QALIGN_URL"):
        monkeypatch.delenv(name, raising=False)


def test_without_weights_and_endpoints_only_the_flow_works_and_the_rest_says_why() -> None:
    judges, missing = open_judges(list(JUDGES))
    assert [judge.name for judge in judges] == ["amplitude"]
    assert set(missing) == set(JUDGES) - {"amplitude"}
    for name in ("arcface", "gme", "musiq"):
        assert "weights not found at" in missing[name]
        assert "get them from" in missing[name]
        assert f"${WEIGHTS_VARIABLE}" in missing[name]
    assert "QUICKCHANGE_VLM_URL" in missing["vlm"]
    assert "QUICKCHANGE_QALIGN_URL" in missing["qalign"]


def test_metric_names_are_unique_and_judges_carry_their_names() -> None:
    classes = {name: judge_class(name) for name in JUDGES}
    assert all(kind.name == name for name, kind in classes.items())
    names = [metric.name for kind in classes.values() for metric in kind.metrics]
    assert len(names) == len(set(names)) >= 8
    assert all(metric.source for kind in classes.values() for metric in kind.metrics)


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(InputError, match=r"acrface.*arcface"):
        open_judges(["acrface"])


def test_weights_path_names_the_place_they_belong(weights: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"x: weights not found at .*weights/x/y.onnx, get them from there"):
        weights_path("x", "x/y.onnx", "there")
    (weights / "x").mkdir()
    (weights / "x" / "y.onnx").write_bytes(b"")
    assert weights_path("x", "x/y.onnx", "there") == weights / "x" / "y.onnx"


@pytest.mark.parametrize(("count", "most"), [(1, 4), (4, 4), (81, 8), (5, 100)])
def test_spread_out_has_first_and_last(count: int, most: int) -> None:
    picks = spread_out(count, most)
    assert picks[0] == 0
    assert picks[-1] == count - 1
    assert len(picks) == min(count, most)
