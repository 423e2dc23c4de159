"""Grades of a vision-language model: strict answers, asked again when malformed; Q-Align's level from probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.endpoint import Endpoint
from quickchange.evaluate.paper.judges.qalign import LEVELS, QAlignJudge, level_score
from quickchange.evaluate.paper.judges.vlm import ANSWERS, VlmJudge, parse_grades
from stub_server import StubServer

FRAMES = np.zeros((9, 16, 12, 3), np.uint8)
STILL = np.zeros((20, 20, 3), np.uint8)


def vlm(server: StubServer) -> VlmJudge:
    return VlmJudge(endpoint=Endpoint(url=server.url, model="m"))


def test_grades_are_read_and_the_three_pictures_sent(server: StubServer) -> None:
    server.answers = [server.say('{"hgc": 4, "lgc": 3, "ntp": 5}\n')]
    assert vlm(server).score(FRAMES, STILL, STILL, "") == {"hgc": 4.0, "lgc": 3.0, "ntp": 5.0}
    parts = server.requests[0]["body"]["messages"][0]["content"]
    assert [part["type"] for part in parts].count("image_url") == 3
    assert "hgc" in parts[0]["text"]
    assert server.requests[0]["authorization"] is None


def test_a_malformed_answer_is_asked_for_again(server: StubServer) -> None:
    server.answers = [server.say("I would say 4"), server.say('{"hgc": 1, "lgc": 1, "ntp": 2}')]
    assert vlm(server).score(FRAMES, STILL, STILL, "")["ntp"] == 2
    server.answers = [server.say("sorry")]
    server.requests.clear()
    with pytest.raises(InputError, match=f"{ANSWERS} answers"):
        vlm(server).score(FRAMES, STILL, STILL, "")
    assert len(server.requests) == ANSWERS


@pytest.mark.parametrize(
    "answer",
    [
        '{"hgc": 4, "lgc": 3}',
        '{"hgc": 4, "lgc": 3, "ntp": 6}',
        '{"hgc": 4, "lgc": 3, "ntp": 0}',
        '{"hgc": 4.5, "lgc": 3, "ntp": 5}',
        '{"hgc": true, "lgc": 3, "ntp": 5}',
        '{"hgc": "4", "lgc": 3, "ntp": 5}',
        '{"hgc": 4, "lgc": 3, "ntp": 5, "why": ""}',
        "[4, 3, 5]",
        'Here: {"hgc": 4, "lgc": 3, "ntp": 5}',
    ],
)
def test_only_the_exact_form_counts(answer: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting"):
        parse_grades(answer)


def choice(**probabilities: float) -> dict[str, Any]:
    offered = [{"token": word.replace("_", " "), "logprob": math.log(p)} for word, p in probabilities.items()]
    return {"logprobs": {"content": [{"top_logprobs": offered}]}}


def test_the_level_is_the_mean_over_the_words_that_count() -> None:
    assert level_score(choice(excellent=1.0)) == 1
    assert level_score(choice(Excellent=0.25, _good=0.25, fair=0.1, poor=0.05, bad=0.05, nice=0.3)) == pytest.approx(
        (0.25 * 1 + 0.25 * 0.75 + 0.1 * 0.5 + 0.05 * 0.25) / 0.7
    )
    assert level_score(choice(exc=0.5, bad=0.5)) == 0.5  # "excellent" cut into tokens
    assert sorted(LEVELS.values()) == [0, 0.25, 0.5, 0.75, 1]


def test_no_probabilities_or_no_level_is_said() -> None:
    with pytest.raises(InputError, match="log-probabilities"):
        level_score({"logprobs": None})
    with pytest.raises(InputError, match="likeliest words"):
        level_score(choice(hello=0.9))


def test_the_judge_asks_for_probabilities(server: StubServer) -> None:
    server.answers = [server.say("good", **choice(good=0.9, fair=0.1))]
    judge = QAlignJudge(endpoint=Endpoint(url=server.url, model="one-align"), most=4)
    assert judge.score(FRAMES, STILL, STILL, "")["smoothness"] == pytest.approx(0.9 * 0.75 + 0.1 * 0.5)
    body = server.requests[0]["body"]
    assert body["logprobs"] is True
    assert [part["type"] for part in body["messages"][0]["content"]].count("image_url") == 4
