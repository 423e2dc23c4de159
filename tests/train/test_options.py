"""Options of the stages: typed, named when wrong, scheduled, documented."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickchange.errors import RecipeError
from quickchange.model import flow
from quickchange.train import STAGES, stage_class
from quickchange.train.options import Options, Schedule, at_step, option
from quickchange.train.stages.latent import level_weight


@dataclass(frozen=True, kw_only=True)
class Sample(Options):
    """All kinds of types."""

    count: int = option(3, "a number")
    share: float = option(0.5, "a share")
    kind: Literal["a", "b"] = option("a", "a choice")
    on: bool = option(True, "a switch")
    name: str | None = option(None, "a name")
    course: Schedule = option(0.0, "a schedule")


def test_toml_values_become_what_the_fields_say() -> None:
    made = Sample.from_dict({"share": 1, "course": [[10, 0.5], [20, 1]], "name": "x"})
    assert (made.share, made.course, made.name) == (1.0, ((10, 0.5), (20, 1.0)), "x")
    assert isinstance(made.share, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 3}, r"unknown options \['cuont'\]; expected some of \['count'"),
        ({"count": 0.5}, "count is 0.5; expected whole number"),
        ({"count": True}, "count is True; expected whole number"),
        ({"share": "much"}, "share is 'much'; expected number"),
        ({"kind": "c"}, 'kind is \'c\'; expected "a" or "b"'),
        ({"on": 1}, "on is 1; expected true or false"),
        ({"name": 7}, "name is 7; expected text"),
        ({"course": [[1]]}, r"course is \[\[1\]\]; expected number or \[\[step, value\], ...\]"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Sample.from_dict(values)


def test_schedules_hold_from_their_step_on() -> None:
    course = ((100, 0.9), (600, 0.5))
    assert [at_step(course, step) for step in (0, 99, 100, 599, 600, 9999)] == [0, 0, 0.9, 0.9, 0.5, 0.5]
    assert at_step(0.3, 7) == 0.3


@pytest.mark.parametrize("name", STAGES)
def test_every_option_is_documented(name: str) -> None:
    kind = stage_class(name)
    assert kind.name == name
    assert all(field.metadata["doc"] for field in fields(kind.Options))


def test_unknown_stages_are_named() -> None:
    with pytest.raises(RecipeError, match="stage is 'sftt'; expected one of vae, sft, tf, dmd, parser"):
        stage_class("sftt")


@given(st.floats(1.0, 10.0))
def test_the_bell_weighs_the_middle_and_keeps_the_mean(shift: float) -> None:
    weight = level_weight("bell", shift)
    levels = torch.as_tensor(flow.warp(torch.linspace(0.0005, 0.9995, 2001), shift))
    assert float(weight(levels).mean()) == pytest.approx(1, rel=0.01)
    assert weight(torch.tensor(0.5)) > weight(torch.tensor(0.8)) > weight(torch.tensor(0.99)) >= 0
    assert torch.equal(level_weight("uniform", shift)(levels), torch.ones_like(levels))
