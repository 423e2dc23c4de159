"""The scorecard of a tiny random model: streams, JSON and page."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

# One software rendering thread; must be set before the first context.
os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np
import pytest

import tiny
from quickchange.evaluate.protocol import held_out_seeds
from quickchange.evaluate.scorecard.card import as_text, drift_of, goodness, scorecard
from quickchange.evaluate.scorecard.cases import renderer_for
from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS
from quickchange.evaluate.scorecard.report import write_report
from quickchange.evaluate.scorecard.score import (
    DRIFTING,
    QUICK,
    TRUTH,
    VARIANTS,
    Row,
    Rows,
    Settings,
    mean_of,
    run,
    with_options,
)
from quickchange.evaluate.types import Frames
from quickchange.parsing.reading import Reading
from quickchange.parsing.truth import reading_of
from quickchange.world import render_clip, sample_spec
from quickchange.world.split import held_out

SETTINGS = Settings(seeds=2, before=1, after=1, prompted=2, drift=24, drift_seeds=1, windows=2, window=9)
FULL_ROW = {metric.name: 0.5 for metric in METRICS}


class FakeReader:
    """Reads every frame as one true frame of the world; counts frames."""

    def __init__(self) -> None:
        renderer = renderer_for(tiny.WIDTH, tiny.HEIGHT)
        self.truth, self.read = reading_of(render_clip(renderer, sample_spec(0), frames=1)), 0

    def __call__(self, frames: Frames) -> Reading:
        self.read += len(frames)
        t = self.truth

        def again(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, len(frames), 0)

        attributes = {name: again(values) for name, values in t.attributes.items()}
        return Reading(again(t.ids), again(t.confidence), again(t.keypoints), attributes)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return run(tiny.studio(), FakeReader(), SETTINGS, quiet=True)


@pytest.fixture(scope="module")
def card(rows: Rows) -> dict[str, Any]:
    return scorecard(rows, SETTINGS, "tiny")


def test_all_that_is_promised_is_measured(rows: Rows) -> None:
    seeds = held_out_seeds(2)
    assert all(held_out(seed) for seed in seeds)
    assert list(rows.quality) == seeds
    assert all(row.keys() == {metric.name for metric in METRICS} for row in rows.quality.values())
    assert set(rows.switches) == {*VARIANTS, TRUTH}
    assert all(list(by_seed) == seeds for by_seed in rows.switches.values())
    assert list(rows.drift) == seeds[:1]
    assert rows.starts == [0, 15]
    assert [set(row) for row in rows.drift[seeds[0]]] == [set(DRIFTING)] * 2
    assert len(rows.speeds) == 1
    assert rows.speeds[0] > 0
    assert len(rows.sheets) == 3  # switches of both seeds, and the long stream
    rows_of_switches = 1 + len(VARIANTS)
    assert rows.sheets[0][1].shape == (tiny.HEIGHT * rows_of_switches, tiny.WIDTH * 10, 3)


def test_the_json_has_the_keys_of_the_protocol(card: dict[str, Any]) -> None:
    assert set(VARIANTS) <= card["switch"].keys()
    for variant in VARIANTS:
        assert {"success", "pose_jump", "frames_to_change"} <= card["switch"][variant].keys()
    assert {
        "garment_high",
        "garment_low",
        "preserve",
        "identity",
        "amplitude_ratio",
        "smoothness",
        "drift",
    } <= card.keys()
    assert {"prompt", "sharpness", "psnr", "fps", "preserve_rate", "identity_rate"} <= card.keys()
    assert (card["model"], card["protocol"], card["seeds"]) == ("tiny", 1, held_out_seeds(2))
    assert card["settings"]["before"] == 1
    again = json.loads(json.dumps(card, allow_nan=False))
    assert {name: again[name] for name in ("switch", "intervals", "rows")} == {
        name: card[name] for name in ("switch", "intervals", "rows")
    }


def leaves(tree: dict[str, Any], ends: dict[str, Any]) -> list[tuple[Any, Any]]:
    found = []
    for name, part in ends.items():
        found += leaves(tree[name], part) if isinstance(part, dict) else [(tree[name], part)]
    return found


def test_intervals_bracket_their_figures(card: dict[str, Any]) -> None:
    pairs = leaves(card, card["intervals"])
    assert len(pairs) > len(METRICS) + len(SWITCH_METRICS) * len(VARIANTS)
    for value, (low, high) in pairs:
        assert (value is None) == (low is None) == (high is None)
        assert value is None or low <= value <= high


def test_what_says_nothing_is_null() -> None:
    nothing: Row = dict.fromkeys(FULL_ROW, math.nan)
    card = scorecard(Rows(quality={1: nothing, 2: nothing}), Settings(drift=0), "m")
    assert card["garment_high"] is None
    assert card["intervals"]["garment_high"] == [None, None]
    assert card["drift"] is None
    assert card["rows"]["quality"]["1"]["psnr"] is None
    json.dumps(card, allow_nan=False)
    assert "garment_high" in as_text(card)


def test_figures_are_means_or_medians_over_seeds_that_say_something() -> None:
    values = {1: 0.2, 2: 0.4, 3: 0.9, 4: math.nan}
    rows = Rows(quality={seed: {**FULL_ROW, "garment_high": v, "amplitude_ratio": v} for seed, v in values.items()})
    card = scorecard(rows, Settings(drift=0), "m")
    assert card["garment_high"] == pytest.approx(0.5)
    assert card["amplitude_ratio"] == pytest.approx(0.4)
    rates = Rows(quality={seed: {**FULL_ROW, "identity": v} for seed, v in ((1, 0.96), (2, 0.94), (3, math.nan))})
    assert scorecard(rates, Settings(drift=0), "m")["identity_rate"] == 0.5


def windows(first: float, last: float, **other: tuple[float, float]) -> list[Row]:
    both = {**dict.fromkeys(DRIFTING, (first, last)), **other}
    return [{name: pair[side] for name, pair in both.items()} for side in (0, 1)]


def test_drift_by_hand() -> None:
    rows = Rows(drift={1: windows(1.0, 0.8, amplitude_ratio=(0.5, 4.0)), 2: windows(0.5, 0.1)}, starts=[0, 50])
    assert goodness("amplitude_ratio", 4.0) == goodness("amplitude_ratio", 0.25) == 0.25
    assert goodness("amplitude_ratio", 0.0) == 0
    assert drift_of(rows, "identity")[0] == pytest.approx((0.8 + 0.1) / (1.0 + 0.5))
    assert drift_of(rows, "amplitude_ratio")[0] == pytest.approx((0.25 + 0.1) / (0.5 + 0.5))
    rows.quality = {1: FULL_ROW, 2: FULL_ROW}
    card = scorecard(rows, SETTINGS, "m")
    assert card["drift"] == pytest.approx(0.35)  # the worst
    assert card["drift_by_metric"]["identity"] == pytest.approx(0.6)
    assert card["drift_curve"]["identity"] == [0.75, 0.45]


def test_a_seed_without_a_figure_at_either_end_is_left_out_of_drift() -> None:
    rows = Rows(drift={1: windows(1.0, 0.8), 2: windows(0.5, math.nan)})
    assert drift_of(rows, "preserve")[0] == pytest.approx(0.8)
    assert np.isnan(drift_of(Rows(drift={1: windows(0.0, 0.5)}), "preserve")[0])


def test_the_report_is_one_page_that_needs_nothing_else(rows: Rows, card: dict[str, Any], tmp_path: Path) -> None:
    write_report(card, rows.sheets, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert not re.search(r"<(link|script|iframe)", page)
    sources = re.findall(r"<img class='(\w+)' alt='[^']*' src='([^']{0,22})", page)
    assert [kind for kind, _ in sources] == ["plot"] * 3 + ["sheet"] * len(rows.sheets)
    assert {start for _, start in sources} == {"data:image/png;base64,"}
    for name in [metric.name for metric in METRICS] + [metric.name for metric in SWITCH_METRICS]:
        assert f"<td>{name}</td>" in page
    assert page.count("<html") == page.count("</html>") == 1


def test_names_in_the_report_are_escaped(card: dict[str, Any], tmp_path: Path) -> None:
    write_report({**card, "model": "<b>&"}, [], tmp_path / "r.html")
    assert "Scorecard of &lt;b&gt;&amp;" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_text_has_every_table(card: dict[str, Any]) -> None:
    text = as_text(card)
    for word in ("quality", "switch", "drift: last window", "worst of these", *VARIANTS, "tiny, 2 seeds, protocol 1"):
        assert word in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_options_replace_what_they_name() -> None:
    assert with_options(True, seeds=None, drift=None) == QUICK
    assert with_options(False, seeds=3, variants=("full",)) == Settings(seeds=3, variants=("full",))
    assert with_options(True, drift=0).drift == 0
    with pytest.raises(ValueError, match="at least two windows"):
        with_options(False, drift=50)
    with pytest.raises(ValueError, match="at least one"):
        with_options(False, variants=())


def test_means_leave_out_what_is_not_finite() -> None:
    assert mean_of([1.0, math.nan, 3.0]) == 2
    assert math.isnan(mean_of([math.nan]))
