"""How well a reward's scores follow a known error: rank correlations, with intervals over clips.

Frames of one clip resemble each other, so clips are resampled, never frames. Pure: arrays in, figures out. Needs scipy
(extra bench).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from quickchange.evaluate.statistics import Estimate, bootstrap, bootstrap_clusters
from quickchange.evaluate.types import Indices

Values = NDArray[np.floating]
FEWEST = 3  # frames of which a rank correlation says anything


@dataclass(frozen=True)
class Scored:
    """A reward's scores of frames with a truth.

    Attributes:
        score: [N].
        error: [N], true error, 0 or more.
        clip: i64[N], which clip each frame belongs to.
        family: [N], how each frame was degraded.
    """

    score: Values
    error: Values
    clip: Indices
    family: NDArray[np.str_]

    def part(self, chosen: NDArray[np.bool_]) -> Scored:
        """The chosen frames, bool[N]."""
        return Scored(self.score[chosen], self.error[chosen], self.clip[chosen], self.family[chosen])


def follows(score: Values, error: Values) -> float:
    """Spearman correlation of the score with minus the error, -1 to 1.

    At 1, a better score always means less error. nan where either is the same everywhere, or for fewer than 3 frames.
    """
    if len(score) < FEWEST or np.ptp(score) == 0 or np.ptp(error) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(score), rankdata(-error))[0, 1])


def pooled(scored: Scored, draws: int = 1000) -> Estimate:
    """``follows`` over the frames of all clips together."""
    return bootstrap_clusters(lambda at: follows(scored.score[at], scored.error[at]), scored.clip, draws)


def within_clips(scored: Scored) -> Estimate:
    """Mean over clips of ``follows`` inside each clip, which matters where a reward weighs chunks of one rollout."""
    clips = (scored.part(scored.clip == one) for one in np.unique(scored.clip))
    return bootstrap([follows(clip.score, clip.error) for clip in clips], "mean")


def by_depth(score: Values, clip: Indices, depth: Indices) -> list[Estimate]:
    """Mean score over clips, by chunk of the stream.

    Args:
        score: [N].
        clip: i64[N], which clip each frame belongs to.
        depth: i64[N], chunk from 0. Every clip has all chunks.
    """
    return [
        bootstrap([float(score[(depth == d) & (clip == one)].mean()) for one in np.unique(clip)], "mean")
        for d in range(int(depth.max()) + 1)
    ]


def agreement(scored: Scored, generated: str, draws: int = 1000) -> dict[str, Any]:
    """Every figure of a reward, as plain data; correlations as {value, low, high}.

    Args:
        scored: all frames.
        generated: beginning of the names of families that a model made; they are also measured separately.
        draws: bootstrap resamples.
    """
    made = scored.part(np.char.startswith(scored.family, generated))
    families = {}
    for name in dict.fromkeys(scored.family.tolist()):
        part = scored.part(scored.family == name)
        families[name] = {
            "follows": named(pooled(part, draws)),
            "error": float(part.error.mean()),
            "score": float(part.score.mean()),
            "frames": len(part.score),
        }
    return {
        "overall": named(pooled(scored, draws)),
        "within_clips": named(within_clips(scored)),
        "generated": named(pooled(made, draws)),
        "generated_within_clips": named(within_clips(made)),
        "families": families,
    }


def named(figure: Estimate) -> dict[str, float | None]:
    """An estimate as JSON; None for nan."""
    rounded = [round(x, 4) if np.isfinite(x) else None for x in figure]
    return dict(zip(("value", "low", "high"), rounded, strict=True))
