"""The scorecard from rows per seed: figures with bootstrap 95 % intervals, as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from quickchange.evaluate.scorecard.metrics import METRICS, SWITCH_METRICS, Metric
from quickchange.evaluate.scorecard.metrics.preserve import PRESERVED
from quickchange.evaluate.scorecard.score import DRIFTING, PROTOCOL, TRUTH, Row, Rows, Settings, mean_of
from quickchange.evaluate.statistics import UNKNOWN, Estimate, bootstrap, bootstrap_ratio

BY_NAME: dict[str, Metric[Any]] = {metric.name: metric for metric in METRICS}


def goodness(name: str, value: float) -> float:
    """A figure as one of which more is better; a ratio r becomes its closeness to 1, min(r, 1 / r)."""
    if BY_NAME[name].better != "near 1":
        return value
    return min(value, 1 / value) if value > 0 else 0.0


def drift_of(rows: Rows, name: str) -> Estimate:
    """Goodness in the last window over that in the first, means over seeds, with its interval."""
    return bootstrap_ratio([(goodness(name, w[-1][name]), goodness(name, w[0][name])) for w in rows.drift.values()])


def gathered(metrics: Sequence[Metric[Any]], rows: Sequence[Row]) -> dict[str, Estimate]:
    """Every metric over seeds, with its interval."""
    return {m.name: bootstrap([row.get(m.name, math.nan) for row in rows], m.pool) for m in metrics}


def scorecard(rows: Rows, settings: Settings, model: str) -> dict[str, Any]:
    """The scorecard as plain data.

    Figures are numbers or None. ``intervals`` has [low, high] at the same places.

    Args:
        rows: what was measured.
        settings: of the run.
        model: its name.
    """
    quality = gathered(METRICS, list(rows.quality.values()))
    for name in ("preserve", "identity"):
        kept = [float(row[name] >= PRESERVED) for row in rows.quality.values() if np.isfinite(row[name])]
        quality[f"{name}_rate"] = bootstrap(kept, "mean")
    switch = {variant: gathered(SWITCH_METRICS, list(by_seed.values())) for variant, by_seed in rows.switches.items()}
    by_metric = {name: drift_of(rows, name) for name in DRIFTING} if rows.drift else {}
    known = {name: figure for name, figure in by_metric.items() if np.isfinite(figure[0])}
    drift = min(known.values(), default=UNKNOWN)
    tree: dict[str, Any] = {
        "switch": switch,
        **quality,
        "drift": drift,
        "drift_by_metric": by_metric,
        "fps": bootstrap(rows.speeds, "median"),
    }
    curves = {
        name: [plain(mean_of([windows[i][name] for windows in rows.drift.values()])) for i in range(len(rows.starts))]
        for name in (DRIFTING if rows.drift else ())
    }
    return {
        "protocol": PROTOCOL,
        "model": model,
        "seeds": sorted(rows.quality),
        "settings": asdict(settings),
        **_map(tree, lambda figure: plain(figure[0])),
        "drift_curve": {"starts": rows.starts, **curves},
        "intervals": _map(tree, lambda figure: [plain(figure[1]), plain(figure[2])]),
        "rows": {
            "quality": {str(seed): _plain_row(row) for seed, row in rows.quality.items()},
            "switch": {
                variant: {str(seed): _plain_row(row) for seed, row in by_seed.items()}
                for variant, by_seed in rows.switches.items()
            },
        },
    }


def plain(value: float) -> float | None:
    """A rounded number, or None for nan, which JSON does not have."""
    return round(float(value), 6) if math.isfinite(value) else None


def _plain_row(row: Row) -> dict[str, float | None]:
    return {name: plain(value) for name, value in row.items()}


def _map(tree: dict[str, Any], convert: Any) -> dict[str, Any]:
    return {name: _map(value, convert) if isinstance(value, dict) else convert(value) for name, value in tree.items()}


def cell(value: float | None, ends: Sequence[float | None], digits: int) -> str:
    """``0.912 (0.880-0.940)``; a dash where nothing could be measured."""
    if value is None:
        return "-"
    low, high = ends
    around = "" if low is None or high is None else f" ({low:.{digits}f}-{high:.{digits}f})"
    return f"{value:.{digits}f}{around}"


def tables(card: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of the scorecard's tables: quality, switches (one column per variant), drift."""
    ends = card["intervals"]
    names = [name for name in card["intervals"] if name in BY_NAME or name.endswith("_rate")]
    quality = [
        [name, cell(card[name], ends[name], _digits(name)), _better(name)] for name in names
    ]  # fmt: skip
    quality += [["fps", cell(card["fps"], ends["fps"], 1), "higher"]]
    variants = sorted(card["switch"], key=lambda name: name == TRUTH)
    switch = [
        [metric.name, *(cell(card["switch"][v][metric.name], ends["switch"][v][metric.name], metric.digits)
                        for v in variants), metric.better]
        for metric in SWITCH_METRICS
    ]  # fmt: skip
    found = [("quality", ["metric", "figure", "better"], quality), ("switch", ["metric", *variants, "better"], switch)]
    if card["drift_by_metric"]:
        drift = [
            [name, cell(value, ends["drift_by_metric"][name], 3)] for name, value in card["drift_by_metric"].items()
        ]
        drift.append(["worst of these", cell(card["drift"], ends["drift"], 3)])
        found.append(
            (f"drift: last window / first window of {card['settings']['drift']} frames", ["metric", "ratio"], drift)
        )
    return found


def _digits(name: str) -> int:
    return BY_NAME[name].digits if name in BY_NAME else 3


def _better(name: str) -> str:
    return BY_NAME[name].better if name in BY_NAME else f"higher (share of seeds at {PRESERVED} or more)"


def as_text(card: dict[str, Any]) -> str:
    """The tables for a terminal."""
    lines = [f"{card['model']}, {len(card['seeds'])} seeds, protocol {card['protocol']}", ""]
    for title, head, body in tables(card):
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        lines.append(title)
        lines += ["  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
                  for row in [head, *body]]  # fmt: skip
        lines.append("")
    return "\n".join(lines)
