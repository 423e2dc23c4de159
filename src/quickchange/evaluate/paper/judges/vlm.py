"""HGC, LGC and NTP: grades from 1 to 5 that a vision-language model gives (docs/method.md section 8).

The paper does not publish its prompt or its model, so figures compare only between runs with one model and this prompt
(``vlm_prompt.txt``). The model sees the reference, the garment and a contact sheet of eight frames.
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import Judge, Metric
from quickchange.evaluate.paper.judges.endpoint import Endpoint, contact, picture, words
from quickchange.evaluate.types import Frames

GRADES = ("hgc", "lgc", "ntp")
SHOWN, COLUMNS = 8, 4
ANSWERS = 3  # asked for, before an answer in the wrong form counts as a failure


def parse_grades(answer: str) -> dict[str, float]:
    """Parse an answer, which must be one JSON object of three whole numbers from 1 to 5 and nothing else.

    Raises:
        ValueError: anything else.
    """
    value = json.loads(answer)
    if not isinstance(value, dict) or set(value) != set(GRADES):
        raise ValueError(f"expected an object with {', '.join(GRADES)}")
    for name in GRADES:
        if type(value[name]) is not int or not 1 <= value[name] <= 5:
            raise ValueError(f"{name} is {value[name]!r}; expected a whole number from 1 to 5")
    return {name: float(value[name]) for name in GRADES}


class VlmJudge(Judge):
    """Grades from the endpoint of ``$QUICKCHANGE_VLM_URL``.

    Raises:
        InputError: no endpoint is set.
    """

    name = "vlm"
    metrics = tuple(
        Metric(name=name, column=name.upper(), low=1.0, high=5.0, higher_is_better=True, source=source)
        for name, source in zip(
            GRADES,
            (
                "FashionChameleon (arXiv 2605.15824): high-level garment match",
                "FashionChameleon: low-level garment match (texture, logo)",
                "FashionChameleon: non-target areas preserved",
            ),
            strict=True,
        )
    )

    def __init__(self, device: str = "cpu", endpoint: Endpoint | None = None) -> None:
        super().__init__(device)
        self.endpoint = endpoint or Endpoint.from_environment("QUICKCHANGE_VLM", "vlm")
        self.question = files(__package__).joinpath("vlm_prompt.txt").read_text(encoding="utf-8")

    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        index = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
        content = [
            words(self.question),
            words("Picture 1, the person:"),
            picture(reference),
            words("Picture 2, the garment:"),
            picture(garment),
            words("Picture 3, frames of the video in order of time:"),
            picture(contact(frames[index], COLUMNS), longest=2048),
        ]
        problem: ValueError | None = None
        for _ in range(ANSWERS):
            answer = self.endpoint.ask(content, max_tokens=64)["message"]["content"]
            try:
                return parse_grades(answer)
            except ValueError as error:
                problem = error
        raise InputError(f"vlm: {self.endpoint.model} did not give grades in {ANSWERS} answers ({problem})")
