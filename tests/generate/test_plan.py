"""A plan that cannot be generated cannot be made, whoever asks for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickchange.errors import InputError
from quickchange.generate import MAX_SEED
from quickchange.generate.plan import Garment, Plan
from quickchange.serve.protocol import messages

GARMENT = Garment(np.zeros((50, 40, 3), np.uint8))


def plan(folder: Path, **fields: Any) -> Plan:
    whole: dict[str, Any] = {
        "reference": np.zeros((60, 40, 3), np.uint8),
        "garment": GARMENT,
        "switches": ((1.0, GARMENT), (2.0, GARMENT)),
        "prompt": " she turns ",
        "seconds": 3.0,
        "seed": 3,
        "out": folder / "v.mp4",
        "sheet": None,
        "scale": None,
    }
    return Plan(**(whole | fields))


def test_a_sound_plan_is_made_and_its_prompt_trimmed(tmp_path: Path) -> None:
    assert plan(tmp_path).prompt == "she turns"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"seconds": 0.0}, "seconds is 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": MAX_SEED + 1}, "seed is"),
        ({"scale": 0}, "scale is 0"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"switches": ((0.0, GARMENT),)}, "after the start"),
        ({"switches": ((math.nan, GARMENT),)}, "after the start"),
        ({"switches": ((3.0, GARMENT),)}, "beyond the end"),
        ({"switches": ((1.0, GARMENT), (1.0, GARMENT))}, r"two switches at 1 s \(garment 2, garment 3\)"),
        ({"switches": ((2.0, GARMENT), (1.0, GARMENT))}, "expected growing times"),
        ({"out": Path("v.avi")}, "does not end in .mp4"),
        ({"out": Path("/nowhere/at/all/v.mp4")}, "does not exist"),
    ],
)
def test_a_plan_that_cannot_be_generated_is_refused(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        plan(tmp_path, **fields)


def test_a_seed_that_the_command_line_takes_the_page_can_repeat() -> None:
    assert messages.Open(person="a", garment="b", seed=MAX_SEED).seed == MAX_SEED
    with pytest.raises(ValueError, match="seed"):
        messages.Open(person="a", garment="b", seed=MAX_SEED + 1)
