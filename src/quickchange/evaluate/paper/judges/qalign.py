"""Q-Align: quality of the video as a model's choice among five words, from "excellent" to "bad" (the paper's Smooth.).

The public checkpoint (q-future/one-align, mPLUG-Owl2) exists in transformers only as remote code that comes with the
weights, which this project does not run; pyiqa carries a copy of that code, but cannot be installed beside what is
pinned here (it wants opencv-python next to opencv-python-headless and some forty packages more). So Q-Align is reached
through an OpenAI-compatible endpoint that serves it, or another vision-language model, with log-probabilities:

    QUICKCHANGE_QALIGN_URL=http://localhost:8001/v1  QUICKCHANGE_QALIGN_MODEL=q-future/one-align

Figures of a model other than one-align are not Q-Align's. The score is the published one: the mean of 1, 0.75, 0.5,
0.25, 0 over the words' probabilities. Source: Wu et al., Q-Align, ICML 2024.
"""

from __future__ import annotations

import math
from typing import Any

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import Judge, Metric, spread_out
from quickchange.evaluate.paper.judges.endpoint import Endpoint, picture, words
from quickchange.evaluate.types import Frames

LEVELS = {"excellent": 1.0, "good": 0.75, "fair": 0.5, "poor": 0.25, "bad": 0.0}
QUESTION = "How would you rate the quality of this video?"
OPENING = (
    "Answer by completing the sentence with one word, excellent, good, fair, poor or bad: The quality of the video is"
)


def level_score(choice: dict[str, Any]) -> float:
    """Mean level, in [0, 1], over the probabilities that the first token's ``logprobs`` give the five words.

    Raises:
        InputError: no log-probabilities, or none of the words among them.
    """
    try:
        offered = choice["logprobs"]["content"][0]["top_logprobs"]
        pairs = [(str(item["token"]).strip().lower(), float(item["logprob"])) for item in offered]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError("qalign: the endpoint gives no log-probabilities; serve the model with logprobs on") from error
    weights: dict[str, float] = dict.fromkeys(LEVELS, 0.0)
    for token, logarithm in pairs:
        # A word may be cut into tokens: its beginning stands for it where no other word begins so.
        fits = [level for level in LEVELS if token and level.startswith(token)]
        if len(fits) == 1:
            weights[fits[0]] += math.exp(logarithm)
    total = sum(weights.values())
    if total <= 0:
        raise InputError(f"qalign: none of {', '.join(LEVELS)} among the likeliest words {[t for t, _ in pairs][:5]}")
    return sum(LEVELS[level] * weight for level, weight in weights.items()) / total


class QAlignJudge(Judge):
    """Shows up to ``most`` frames in order and reads the level.

    Raises:
        InputError: no endpoint is set.
    """

    name = "qalign"
    metrics = (
        Metric(
            name="smoothness",
            column="Smooth",
            low=0.0,
            high=1.0,
            higher_is_better=True,
            source="Wu et al., Q-Align: Teaching LMMs for Visual Scoring via Discrete Text-Defined Levels, ICML 2024",
        ),
    )

    def __init__(self, device: str = "cpu", most: int = 8, endpoint: Endpoint | None = None) -> None:
        super().__init__(device)
        self.endpoint = endpoint or Endpoint.from_environment("QUICKCHANGE_QALIGN", "qalign")
        self.most = most

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        shown = [picture(frames[i], longest=448) for i in spread_out(len(frames), self.most)]
        choice = self.endpoint.ask(
            [words(QUESTION), *shown, words(OPENING)], max_tokens=1, logprobs=True, top_logprobs=20
        )
        return {"smoothness": level_score(choice)}
