"""The scorecard's metrics: ``METRICS`` measure a stream, ``SWITCH_METRICS`` a switch of clothes in one.

Each is a function of a case (frames, the parser's reading of them, and the same for the truth) with its formula, range
and direction. faults.py has the input that each must tell from ground truth. docs/scorecard-metrics.md is made from
these.
"""

from __future__ import annotations

from quickchange.evaluate.scorecard.metrics import garment, identity, motion, paired, preserve, prompt, switch
from quickchange.evaluate.scorecard.metrics.base import Case, Metric, Shot, Tracks
from quickchange.evaluate.scorecard.metrics.switch import SwitchCase

METRICS: tuple[Metric[Case], ...] = (
    *garment.METRICS,
    *preserve.METRICS,
    *identity.METRICS,
    *motion.METRICS,
    *prompt.METRICS,
    *paired.METRICS,
)
SWITCH_METRICS: tuple[Metric[SwitchCase], ...] = switch.METRICS

__all__ = ["METRICS", "SWITCH_METRICS", "Case", "Metric", "Shot", "SwitchCase", "Tracks"]
